"""The same service as people write it around the `gliner` package: FastAPI, the model in the process, a thread pool.

python benchmarks/extract/peers/http_gliner.py FOLDER PORT
"""

import sys

import torch
import uvicorn
from fastapi import FastAPI
from gliner import GLiNER
from pydantic import BaseModel

app = FastAPI()


class Request(BaseModel):
    text: str
    labels: list[str]
    threshold: float = 0.5


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.post("/extract")
def extract(request: Request) -> dict[str, object]:
    return {"entities": model.predict_entities(request.text, request.labels, threshold=request.threshold)}


if __name__ == "__main__":
    torch.set_num_threads(2)
    model = GLiNER.from_pretrained(sys.argv[1], local_files_only=True)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
