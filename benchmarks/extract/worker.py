"""One side of the comparison, as a process of its own: loads a model, then answers for texts that come on stdin.

    python -m benchmarks.extract.worker SIDE FOLDER THREADS

Each line of stdin is {"texts": [..], "labels": [..]}, each line of stdout {"seconds": .., "entities": ..}; the first
says what loading took. A text over 384 words, which `gliner` and `fast_gliner` cut off, comes to them in parts.
"""

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

# Takes texts and labels, returns the number of entities.
Run = Callable[[list[str], list[str]], int]
MOST_WORDS = 384


def parts(texts: list[str]) -> list[str]:
    """The texts, or what a caller has to make of longer ones by itself."""
    cut = []
    for text in texts:
        rest = text.split(" ")
        while rest:
            # A full stop is a word to them.
            ends = accumulate(1 + word.endswith(".") for word in rest)
            count = sum(end <= MOST_WORDS for end in ends)
            cut.append(" ".join(rest[:count]))
            rest = rest[count:]
    return cut


def factory(folder: Path, threads: int, precision: str) -> Run:
    os.environ |= {
        "FACTORY_EXTRACT__MODEL": str(folder),
        "FACTORY_EXTRACT__PRECISION": precision,
        "FACTORY_EXTRACT__THREADS": str(threads),
    }
    from functions.extract import engine, service
    from functions.extract.schemas import Options

    loaded = engine.load(lambda _: None)
    loop = asyncio.new_event_loop()

    async def all_of(texts: list[str], labels: list[str]) -> int:
        options = Options(labels=labels)

        async def one(text: str) -> int:
            found = await service.extract(text, options, loaded)
            return len(json.loads(b"[" + found.entities + b"]"))

        return sum(await asyncio.gather(*map(one, texts)))

    return lambda texts, labels: loop.run_until_complete(all_of(texts, labels))


def gliner(folder: Path, threads: int, **options: Any) -> Run:
    import torch
    from gliner import GLiNER

    torch.set_num_threads(threads)
    if options:
        import onnxruntime

        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = threads
        options |= {"load_onnx_model": True, "session_options": session_options}
    model = GLiNER.from_pretrained(str(folder), local_files_only=True, **options)

    def run(texts: list[str], labels: list[str]) -> int:
        texts = parts(texts)
        if len(texts) == 1:
            return len(model.predict_entities(texts[0], labels))
        return sum(map(len, model.inference(texts, labels)))

    return run


def fast_gliner(folder: Path, threads: int) -> Run:  # noqa: ARG001
    from fast_gliner import FastGLiNER

    model = FastGLiNER(str(folder), "model.onnx", "cpu")
    return lambda texts, labels: sum(map(len, model.predict_entities(parts(texts), labels)))


SIDES: dict[str, Callable[[Path, int], Run]] = {
    "factory fp32": lambda folder, threads: factory(folder, threads, "fp32"),
    "factory half": lambda folder, threads: factory(folder, threads, "fp32-half-embeddings"),
    "factory int8": lambda folder, threads: factory(folder, threads, "int8"),
    "gliner torch": gliner,
    "gliner ONNX": lambda folder, threads: gliner(folder, threads, onnx_model_file="model.onnx"),
    "gliner int8": lambda folder, threads: gliner(folder, threads, onnx_model_file="model_quantized.onnx"),
    "fast_gliner": fast_gliner,
}


def peak_rss() -> int:
    """Bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    name, folder, threads = sys.argv[1:]
    # What libraries print must not come between the lines of the protocol.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    begun = time.perf_counter()
    run = SIDES[name](Path(folder), int(threads))
    print(json.dumps({"load_seconds": time.perf_counter() - begun, "load_rss": peak_rss()}), file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        begun = time.perf_counter()
        entities = run(request["texts"], request["labels"])
        seconds = time.perf_counter() - begun
        print(json.dumps({"seconds": seconds, "entities": entities, "rss": peak_rss()}), file=out, flush=True)


if __name__ == "__main__":
    main()
