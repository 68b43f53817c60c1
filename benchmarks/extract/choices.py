"""What the defaults of /extract were chosen by: the size of batches, the length of windows, the number of threads.

    python -m benchmarks.extract.choices [--rounds 5]

The values of one choice take turns on the same loaded model; a figure is the median over the rounds, in milliseconds.
"""

import argparse
import asyncio
import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.extract.compare import MODEL, text
from benchmarks.harness.table import head, line, table
from common.settings import get_settings

BATCH_TOKENS = (0, 256, 512, 1024, 2048)
SHORT_WORDS = (20, 40, 80, 200)
WINDOW_WORDS = (128, 192, 256, 384)
LONG_WORDS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description="Batches, windows and threads of /extract, measured.")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ["FACTORY_EXTRACT__MODEL"] = str(options.model)
    from functions.extract import engine

    for threads in (2, 1):
        os.environ["FACTORY_EXTRACT__THREADS"] = str(threads)
        get_settings.cache_clear()
        loaded = engine.load(lambda _: None)
        print(f"\n{threads} threads")
        if threads == 2:
            _batches(loaded, options.rounds)
            _windows(loaded, options.rounds)
        for count in (20, 200):
            run = partial(_run, loaded, [text(Random(1), count)])
            print(f"one text of {count} words: {_turns({'': lambda: None}, run, options.rounds)['']:.0f} ms")


def _batches(loaded: Any, rounds: int) -> None:
    print("\n16 texts at once, ms a text, by the most tokens of a batch\n")
    print(head(["words", *BATCH_TOKENS]))
    for count in SHORT_WORDS:
        random = Random(count)
        # Lengths that differ by a tenth, as those of real texts do at the least.
        texts = [text(random, round(count * random.uniform(0.95, 1.05))) for _ in range(16)]
        values = {str(most): _setter(loaded, "batch_tokens", most) for most in BATCH_TOKENS}
        found = _turns(values, partial(_run, loaded, texts), rounds)
        print(line([count, *(f"{value / 16:.1f}" for value in found.values())]))
    loaded.batch_tokens = get_settings().extract.batch_tokens


def _windows(loaded: Any, rounds: int) -> None:
    print(f"\none text of {LONG_WORDS} words, ms, by the most words of a window\n")
    config = loaded._config
    values = {
        str(words): _setter(loaded, "_config", dataclasses.replace(config, max_len=words)) for words in WINDOW_WORDS
    }
    found = _turns(values, lambda: _run(loaded, [text(Random(1), LONG_WORDS)]), rounds)
    print(table(list(found), [[f"{value:.0f}" for value in found.values()]], texts=0))
    loaded._config = config


def _setter(loaded: Any, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(loaded, name, value)


def _turns(values: dict[str, Callable[[], None]], run: Callable[[], object], rounds: int) -> dict[str, float]:
    """The median milliseconds of `run` after each of `values` was set."""
    found: dict[str, list[float]] = {name: [] for name in values}
    run()
    for _ in range(rounds):
        for name, choose in values.items():
            choose()
            begun = time.perf_counter()
            run()
            found[name].append((time.perf_counter() - begun) * 1000)
    return {name: statistics.median(times) for name, times in found.items()}


def _run(loaded: Any, texts: Sequence[str]) -> None:
    from functions.extract import service
    from functions.extract.schemas import Options

    async def all_of() -> None:
        await asyncio.gather(*(service.extract(one, Options(), loaded) for one in texts))

    asyncio.run(all_of())


if __name__ == "__main__":
    main()
