"""What the engine adds to llama.cpp: the share of its time that is not spent in `llama_decode`.

    python -m benchmarks.summarize.overhead [--model PATH] [--stand-in PATH] [--threads 2]

Four requests at once, and one alone, write 96 tokens each; the time is taken from the first request until the last
answer, in the process of the engine, with what it takes to draw tokens, make text of them and hand them over.

Then the longest pause of a stream while another prompt of 2,000 tokens is read: by the same model, and with a stand-in
each way round, on the one thread that both models share.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

from benchmarks.harness.folders import MODELS
from benchmarks.harness.table import table
from benchmarks.summarize.sides import CONTEXT_TOKENS, DEFAULT_THREADS
from common.settings import SummarizeSettings
from functions.summarize.context import LlamaContext, Options, Row, Sampling
from functions.summarize.engine import LlamaEngine
from functions.summarize.planning import Plan
from functions.summarize.turns import Turns

MODEL = MODELS / "llama-1b.gguf"
OUTPUT_TOKENS = 96
# What is read beside a stream, and what the stream has: more than it can write meanwhile.
LONG_TOKENS, STREAM_TOKENS = 2000, 2000
# Of the stream, before the other prompt comes.
FLOWING_PIECES = 8
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


def pieces(engine: LlamaEngine, article: Sequence[int], output_tokens: int) -> AsyncGenerator[object]:
    """What an answer for `article` consists of, read along; closed by whoever goes."""
    tokens = engine.prompt.build(article)
    ticket = engine.reserve(len(tokens), Plan(0, output_tokens), None, True)
    return engine.generate(ticket, tokens, Sampling(output_tokens, 0.7, 1))


async def answer(engine: LlamaEngine) -> None:
    async with aclosing(pieces(engine, engine.tokenize(ARTICLE, False), OUTPUT_TOKENS)) as written:
        async for _ in written:
            pass


async def measure(engine: LlamaEngine, context: TimedContext, clients: int) -> list[object]:
    context.seconds, context.calls = 0.0, 0
    begun = time.perf_counter()
    await asyncio.gather(*(answer(engine) for _ in range(clients)))
    seconds = time.perf_counter() - begun
    beside = seconds - context.seconds
    return [clients, context.calls, f"{1000 * seconds / context.calls:.1f} ms", f"{beside / seconds:.2%}"]


async def worst_gap(stream: LlamaEngine, reader: LlamaEngine) -> list[object]:
    """The longest pause of what `stream` writes while `reader` reads a long prompt, and the seconds that this takes."""
    times: list[float] = []
    flows = asyncio.Event()

    async def write() -> None:
        async with aclosing(pieces(stream, stream.tokenize(ARTICLE, False), STREAM_TOKENS)) as written:
            async for _ in written:
                times.append(time.perf_counter())
                if len(times) == FLOWING_PIECES:
                    flows.set()

    writing = asyncio.create_task(write())
    writing.add_done_callback(lambda _: flows.set())
    await flows.wait()
    article = (reader.tokenize(ARTICLE, False) * LONG_TOKENS)[:LONG_TOKENS]
    begun = time.perf_counter()
    async with aclosing(pieces(reader, article, 1)) as written:
        async for _ in written:
            pass
    ended = time.perf_counter()
    is_whole = not writing.done()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    gaps = [after - before for before, after in pairwise([*times, ended]) if after > begun]
    longest = f"{max(gaps):.2f} s" if is_whole else "the stream ended before"
    return [f"{stream.name} writes, {reader.name} reads", longest, f"{ended - begun:.1f} s"]


async def gaps(main: LlamaEngine, stand_in: LlamaEngine | None) -> list[list[object]]:
    pairs = [(main, main)]
    if stand_in is not None:
        pairs += [(main, stand_in), (stand_in, main)]
    return [await worst_gap(*pair) for pair in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description="What the engine adds to llama.cpp's own time.")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--stand-in", type=Path, help="a small model on the same thread")
    parser.add_argument("--threads", type=int, default=DEFAULT_THREADS)
    options = parser.parse_args()
    settings, turns = SummarizeSettings(), Turns()

    def load(path: Path) -> tuple[LlamaEngine, TimedContext]:
        context = TimedContext(path.resolve(), CONTEXT_TOKENS, settings.parallel, Options(options.threads))
        return LlamaEngine(path.stem, settings, context, turns=turns), context

    engine, context = load(options.model)
    stand_in = load(options.stand_in)[0] if options.stand_in else None
    rows = [asyncio.run(measure(engine, context, clients)) for clients in (1, settings.parallel)]
    print(table(["requests at once", "steps", "a step", "of it outside llama_decode"], rows, texts=0))
    titles = [f"beside a prompt of {LONG_TOKENS:,} tokens", "longest pause", "the prompt takes"]
    print(f"\n{table(titles, asyncio.run(gaps(engine, stand_in)))}")


if __name__ == "__main__":
    main()
