"""What the engine adds to llama.cpp: the share of its time that is not spent in `llama_decode`.

    python -m benchmarks.summarize.overhead [--model PATH] [--threads 2]

Four requests at once, and one alone, write 96 tokens each; the time is taken from the first request until the last
answer, in the process of the engine, with what it takes to draw tokens, make text of them and hand them over.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from benchmarks.harness.folders import MODELS
from benchmarks.harness.table import table
from benchmarks.summarize.sides import CONTEXT_TOKENS, DEFAULT_THREADS
from common.settings import SummarizeSettings
from functions.summarize.context import LlamaContext, Options, Row, Sampling
from functions.summarize.engine import LlamaEngine
from functions.summarize.planning import Plan

MODEL = MODELS / "llama-1b.gguf"
OUTPUT_TOKENS = 96
ARTICLE = "The council met on Monday to speak about the bridge. "


class TimedContext(LlamaContext):
    """Keeps count of the seconds that `decode` takes, and of its calls."""

    seconds = 0.0
    calls = 0

    def decode(self, rows: Sequence[Row]) -> None:
        begun = time.perf_counter()
        super().decode(rows)
        self.seconds += time.perf_counter() - begun
        self.calls += 1


async def answer(engine: LlamaEngine) -> None:
    tokens = engine.prompt.build(engine.tokenize(ARTICLE, False))
    ticket = engine.reserve(len(tokens), Plan(0, OUTPUT_TOKENS), None, True)
    async with aclosing(engine.generate(ticket, tokens, Sampling(OUTPUT_TOKENS, 0.7, 1))) as pieces:
        async for _ in pieces:
            pass


async def measure(engine: LlamaEngine, context: TimedContext, clients: int) -> list[object]:
    context.seconds, context.calls = 0.0, 0
    begun = time.perf_counter()
    await asyncio.gather(*(answer(engine) for _ in range(clients)))
    seconds = time.perf_counter() - begun
    beside = seconds - context.seconds
    return [clients, context.calls, f"{1000 * seconds / context.calls:.1f} ms", f"{beside / seconds:.2%}"]


def main() -> None:
    parser = argparse.ArgumentParser(description="What the engine adds to llama.cpp's own time.")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--threads", type=int, default=DEFAULT_THREADS)
    options = parser.parse_args()
    settings = SummarizeSettings()
    context = TimedContext(options.model.resolve(), CONTEXT_TOKENS, settings.parallel, Options(options.threads))
    engine = LlamaEngine(options.model.stem, settings, context)
    rows = [asyncio.run(measure(engine, context, clients)) for clients in (1, settings.parallel)]
    print(table(["requests at once", "steps", "a step", "of it outside llama_decode"], rows, texts=0))


if __name__ == "__main__":
    main()
