"""What each model costs on this machine: memory, speed, and what a client gets in the time that it waits.

    python -m benchmarks.summarize.models [FILE ..] [--parallel 4] [--tuning-seconds 20] [--context N]

Without files it takes every model that `benchmarks.models.llama` has written. Each is loaded in a process of its own,
as the service does it: with what its tuning finds best here, and with the context of the preset that is of this shape.
Four articles of 400 tokens (300 words) are read, one after the other. Then the first writes, then all four.

- `load`: from an idle process to the first token, with the file in the page cache and the tuning done;
- `memory`: the most of that process, as it is resident, with the whole context in use or not;
- `read`, `write`: the median of the four articles, and of the steps that follow;
- `a summary`: 60 tokens of such an article with the closing of the prompt, by the service's planner from these figures;
- `of an article`: what the planner has the model read within 28 s and still write 60 tokens.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness.folders import CACHE, MODELS, ROOT, save
from benchmarks.harness.machine import cpu, cpu_seconds, peak_rss
from benchmarks.harness.statistics import percentile
from benchmarks.harness.table import line, table
from benchmarks.models.shapes import SHAPES
from common.settings import SummarizeSettings
from functions.summarize import tuning
from functions.summarize.context import SHARED_SEQUENCE, LlamaContext, Options, Row
from functions.summarize.model import DEFAULT_CONTEXT, PRESETS
from functions.summarize.planning import Costs, Demand, Job, Plan, Simulation

ARTICLE_TOKENS, SUMMARY_TOKENS = 400, 60
# Of a prompt, before and behind the article. The first is read when the model is loaded.
OPENING_TOKENS, CLOSING_TOKENS = 40, 24
STEPS = 12
CLIENT_SECONDS = 28.0
READ_BYTES = 1 << 24
# With less of the processors' time a figure says more about the neighbours than about the model.
LEAST_BUSY = 0.9
TITLES = (
    "model",
    "file, GB",
    "context",
    "load, s",
    "memory, GB",
    "read, tokens/s",
    "write, tokens/s",
    "four at once, tokens/s",
    "a summary of 300 words, s",
    "read of an article in 28 s, tokens",
    "tuned",
)

Figures = dict[str, float]


def child(model: Path, cells: int, options: Options, sequences: int) -> Figures:
    """All that is measured of one model, in the process that holds it."""
    begun = time.monotonic()
    context = LlamaContext(model, cells, sequences, options)
    seconds = [_decode(context, [Row(0, 0, SHARED_SEQUENCE, True)])]
    loaded = time.monotonic() - begun
    context.forget(SHARED_SEQUENCE)
    numbers = range(SHARED_SEQUENCE + 1, SHARED_SEQUENCE + 1 + sequences)
    begun, used = time.monotonic(), cpu_seconds(os.getpid())
    reading = [_decode(context, _article(number)) for number in numbers]
    busy = (cpu_seconds(os.getpid()) - used) / (time.monotonic() - begun) / options.threads
    position = ARTICLE_TOKENS
    written: dict[int, float | None] = {}
    # First one sequence goes on alone; the others are then as far as it is, but for what it has written.
    for together in ([SHARED_SEQUENCE + 1], list(numbers)):
        seconds = []
        for _ in range(STEPS):
            begins = {number: position if number == together[0] else position - STEPS for number in together}
            seconds.append(_decode(context, [Row(number, begins[number], number, True) for number in together]))
            position += 1
        written[len(together)] = percentile(seconds, 0.5)
    peak = peak_rss(os.getpid())
    measured = {
        "load": loaded,
        "peak": peak,
        "busy": busy,
        "cells": context.cells,
        "read": (percentile(reading, 0.5) or 0.0) / ARTICLE_TOKENS,
        "write": written[1] or 0.0,
        "write_all": written[sequences] or 0.0,
    }
    context.close()
    return measured


def _article(sequence: int) -> list[Row]:
    """Which tokens makes no difference, as long as the vocabulary has them."""
    last = ARTICLE_TOKENS - 1
    return [Row((index + sequence) % 1000, index, sequence, index == last) for index in range(ARTICLE_TOKENS)]


def _decode(context: LlamaContext, rows: Sequence[Row]) -> float:
    begun = time.monotonic()
    context.decode(rows)
    return time.monotonic() - begun


def measure(model: Path, cells: int, settings: SummarizeSettings) -> Figures | None:
    """None where the model cannot be used, with the reason on the standard error."""
    options = tuning.choose(model, settings)
    order = {"model": str(model), "cells": cells, "sequences": settings.parallel, "options": asdict(options)}
    _read_through(model)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.summarize.models", "--child", json.dumps(order)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip() or f"status {done.returncode}").splitlines()[-1]
        print(f"{model.name}: {said}", file=sys.stderr, flush=True)
        return None
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    if figures["busy"] < LEAST_BUSY:
        share = f"{figures['busy']:.0%}"
        print(
            f"{model.name}: it had {share} of its threads' time, something else runs here", file=sys.stderr, flush=True
        )
    return figures | {"file": model.stat().st_size, "threads": options.threads, "repack": options.repack}


def _read_through(path: Path) -> None:
    """Into the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(READ_BYTES):
            pass


def report(model: Path, figures: Figures, parallel: int) -> list[object]:
    """The model's line of the table."""
    alone = Simulation([Job(ARTICLE_TOKENS + CLOSING_TOKENS, SUMMARY_TOKENS)], _costs(figures), parallel)
    threads = f"{figures['threads']:.0f} threads{', repacked' if figures['repack'] else ''}"
    return [
        model.stem,
        f"{figures['file'] / 1e9:.2f}",
        f"{figures['cells']:,.0f}",
        f"{figures['load']:.1f}",
        f"{figures['peak'] / 1e9:.2f}",
        f"{1 / figures['read']:.1f}",
        f"{1 / figures['write']:.1f}",
        f"{parallel / figures['write_all']:.1f}",
        f"{alone.finish_seconds()[0]:.1f}",
        _read_in_time(figures, parallel),
        threads,
    ]


def _read_in_time(figures: Figures, parallel: int) -> str:
    room = int(figures["cells"]) - OPENING_TOKENS - CLOSING_TOKENS - SUMMARY_TOKENS
    demand = Demand(room, SUMMARY_TOKENS, CLOSING_TOKENS, CLIENT_SECONDS)
    plan = Simulation([], _costs(figures), parallel).plan(demand)
    if not isinstance(plan, Plan):
        return "none"
    if plan.article == room:
        return f"{room:,}, the whole context"
    return f"{plan.article:,}" if plan.output == SUMMARY_TOKENS else f"{plan.article:,}, and {plan.output} written"


def _costs(figures: Figures) -> Costs:
    return Costs(figures["read"], figures["read"], (figures["write"],), ARTICLE_TOKENS)


def _context(model: Path) -> int:
    """Of the preset that the file has the shape of."""
    shape = SHAPES.get(model.stem)
    preset = PRESETS.get(shape.preset if shape and shape.preset else model.stem)
    return preset.context if preset else DEFAULT_CONTEXT


def main() -> None:
    parser = argparse.ArgumentParser(description="What each model costs on this machine.")
    parser.add_argument("models", type=Path, nargs="*", help="GGUF files; none: those of the true shapes")
    parser.add_argument("--context", type=int, help="tokens; default: the preset's")
    parser.add_argument("--parallel", type=int, default=SummarizeSettings().parallel, help="sequences at once")
    parser.add_argument("--tuning-seconds", type=float, default=SummarizeSettings().tuning_seconds)
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if (order := options.child) is not None:
        print(json.dumps(child(Path(order["model"]), order["cells"], Options(**order["options"]), order["sequences"])))
        return
    models = options.models or [path for name in SHAPES if (path := MODELS / f"{name}.gguf").is_file()]
    if not models:
        sys.exit(f"no models in {MODELS}: make bench-models writes them")
    settings = SummarizeSettings(
        parallel=options.parallel, tuning_seconds=options.tuning_seconds, cache_folder=CACHE / "tuning"
    )
    raw: dict[str, Figures] = {}
    lines: list[list[object]] = []
    for model in (path.resolve() for path in models):
        figures = measure(model, options.context or _context(model), settings)
        if figures is not None:
            raw[model.stem] = figures
            lines.append(report(model, figures, options.parallel))
            print(line(lines[-1]), flush=True)
    print(f"\n{cpu()}\n\n{table(TITLES, lines)}")
    print(f"\nraw figures: {save('models', {'cpu': cpu(), 'models': raw})}")


if __name__ == "__main__":
    main()
