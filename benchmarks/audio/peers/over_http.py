"""edge-tts behind FastAPI, as people write it.

    python -m benchmarks.audio.peers.over_http stream|save PORT WSS_URL

`stream` sends the sound on as it comes. `save` collects the whole MP3 and then sends it, as openai-edge-tts does by way
of a file.
"""

import sys
from collections.abc import AsyncIterator

import edge_tts
import edge_tts.communicate
import uvicorn
from fastapi import FastAPI
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

app = FastAPI()


class Request(BaseModel):
    text: str
    voice: str


async def sound(request: Request) -> AsyncIterator[bytes]:
    async for message in edge_tts.Communicate(request.text, request.voice).stream():
        if message["type"] == "audio":
            yield message["data"]


async def stream(request: Request) -> Response:
    return StreamingResponse(sound(request), media_type="audio/mpeg")


async def save(request: Request) -> Response:
    return Response(b"".join([piece async for piece in sound(request)]), media_type="audio/mpeg")


if __name__ == "__main__":
    mode, port, edge_tts.communicate.WSS_URL = sys.argv[1:]  # type: ignore[attr-defined]
    app.post("/audio")({"stream": stream, "save": save}[mode])
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")
