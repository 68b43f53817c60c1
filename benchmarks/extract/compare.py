"""Latency of /extract's engine beside other ways to run the same GLiNER, and what loading takes.

    python -m benchmarks.extract.compare [--rounds 7] [--sides A,B] [--only WORKLOADS]

Every side is a process of its own with its model loaded. They take turns, text by text: one round asks each side once
for each workload, in a new order. A cell is the median; in brackets how many times faster than
`gliner torch` it is. `factory` needs its model prepared, which the first run does.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.harness.folders import MODELS, ROOT, save
from benchmarks.harness.news import words
from benchmarks.harness.table import table

MODEL = MODELS / "gliner-small"
PYTHONS = {
    "factory": ROOT / ".venv/bin/python",
    "gliner": ROOT / ".venv-bench-extract/bin/python",
    "fast_gliner": ROOT / ".venv-bench-extract-fast/bin/python",
}
SIDES = ["factory fp32", "factory half", "factory int8", "gliner torch", "gliner ONNX", "gliner int8", "fast_gliner"]
REFERENCE = "gliner torch"
LABELS = ["Person", "Organization", "Location"]
MANY_LABELS = [f"{word.capitalize()} kind" for word in words()[100:125]]
CHART_WORDS = (20, 80, 200, 370)


@dataclass(frozen=True)
class Workload:
    name: str
    lengths: Sequence[int]
    labels: Sequence[str] = tuple(LABELS)
    # In a row, each with a new text: the first finds the processor's caches full of what the side before it used.
    calls: int = 3


WORKLOADS = [
    *(Workload(f"{count} words, 3 labels", [count]) for count in CHART_WORDS),
    Workload("200 words, 25 labels", [200], MANY_LABELS),
    Workload("2,000 words, 3 labels", [2000], calls=1),
    Workload("32 texts of 10 to 300 words", [10 + (number * 97) % 291 for number in range(32)], calls=1),
]


@dataclass
class Worker:
    """A side's process and what it said."""

    name: str
    process: subprocess.Popen[str]
    start_seconds: float = 0.0
    load_rss: int = 0
    peak_rss: int = 0
    seconds: dict[str, list[float]] = field(default_factory=dict)
    entities: dict[str, int] = field(default_factory=dict)

    def ask(self, workload: Workload, texts: Sequence[str]) -> None:
        answer = self._exchange({"texts": list(texts), "labels": list(workload.labels)})
        self.seconds.setdefault(workload.name, []).append(answer["seconds"])
        self.entities[workload.name] = self.entities.get(workload.name, 0) + answer["entities"]
        self.peak_rss = answer["rss"]

    def warm_up(self, workload: Workload, texts: Sequence[str]) -> None:
        self._exchange({"texts": list(texts), "labels": list(workload.labels)})

    def _exchange(self, request: object) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended instead of answering: see above")
        return json.loads(line)


def start(name: str, folder: Path, threads: int) -> Worker:
    python = PYTHONS[name.partition(" ")[0]]
    begun = time.perf_counter()
    process = subprocess.Popen(
        [str(python), "-W", "ignore", "-m", "benchmarks.extract.worker", name, str(folder), str(threads)],
        cwd=ROOT,
        env={"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        sys.exit(f"{name} did not load: see above")
    return Worker(name, process, time.perf_counter() - begun, json.loads(line)["load_rss"])


def stop(worker: Worker) -> None:
    assert worker.process.stdin
    worker.process.stdin.close()
    worker.process.wait(30)


def text(random: Random, count: int) -> str:
    """`count` words as GLiNER counts them: a full stop is one."""
    chosen: list[str] = []
    left = count
    while left > 2:
        size = min(random.randint(8, 20), left - 1)
        chosen.append(" ".join(random.choices(words(), k=size)).capitalize() + ".")
        left -= size + 1
    return " ".join([*chosen, *random.choices(words(), k=left)])


def measure(workers: Sequence[Worker], workloads: Sequence[Workload], rounds: int, seed: int) -> None:
    random = Random(seed)
    for workload in workloads:
        warm_up = [text(random, count) for count in workload.lengths]
        for worker in workers:
            worker.warm_up(workload, warm_up)
    for number in range(rounds):
        for workload in workloads:
            # New for every round, so that nothing can be remembered; the same for all sides.
            calls = [[text(random, count) for count in workload.lengths] for _ in range(workload.calls)]
            for worker in random.sample(list(workers), len(workers)):
                for texts in calls:
                    worker.ask(workload, texts)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)


def loading(names: Sequence[str], folder: Path, threads: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Median seconds from the process's start until the model is loaded, and median peak RSS by then."""
    seen: dict[str, list[Worker]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            worker = start(name, folder, threads)
            stop(worker)
            seen[name].append(worker)
    return {
        name: (statistics.median(w.start_seconds for w in workers), statistics.median(w.load_rss for w in workers))
        for name, workers in seen.items()
    }


def report(workers: Sequence[Worker], workloads: Sequence[Workload], load: Mapping[str, tuple[float, float]]) -> str:
    """In milliseconds, with the ratio of the reference's figure to a side's own."""
    rows = []
    for workload in workloads:
        found = {worker.name: statistics.median(worker.seconds[workload.name]) for worker in workers}
        rows.append([f"{workload.name}, ms", *_cells(found, 1e3, "{:,.0f}")])
    rows.append(["import and load, s", *_cells({w.name: load[w.name][0] for w in workers}, 1, "{:.2f}")])
    rows.append(["peak RSS after loading, MB", *_cells({w.name: load[w.name][1] for w in workers}, 1e-6, "{:,.0f}")])
    rows.append(["peak RSS at the end, MB", *_cells({w.name: float(w.peak_rss) for w in workers}, 1e-6, "{:,.0f}")])
    return table(["", *(worker.name for worker in workers)], rows)


def _cells(found: Mapping[str, float], scale: float, form: str) -> list[str]:
    base = found.get(REFERENCE)
    return [
        form.format(value * scale) + (f" ({base / value:.2f}x)" if base and name != REFERENCE else "")
        for name, value in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency of GLiNER in several engines, side by side.")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--load-rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--only", default="", help="only workloads whose name has this in it")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    workloads = [workload for workload in WORKLOADS if options.only in workload.name]
    names = options.sides.split(",")
    # Once, so that the graphs are prepared before anything is measured.
    for name in names:
        stop(start(name, options.model, options.threads))
    load = loading(names, options.model, options.threads, options.load_rounds)
    workers = [start(name, options.model, options.threads) for name in names]
    measure(workers, workloads, options.rounds, options.seed)
    for worker in workers:
        stop(worker)
    print(report(workers, workloads, load))
    raw = {w.name: {"seconds": w.seconds, "entities": w.entities, "load": load[w.name]} for w in workers}
    print(f"\nentities found in all: {', '.join(f'{w.name} {sum(w.entities.values())}' for w in workers)}")
    print(f"raw figures: {save('extract', {'options': vars(options) | {'model': str(options.model)}, 'sides': raw})}")


if __name__ == "__main__":
    main()
