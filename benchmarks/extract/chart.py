"""Draws latency over words for all sides, out of the raw figures of `compare`.

.venv-bench-extract/bin/python -m benchmarks.extract.chart RAW.json OUT.png
"""

import json
import statistics
import sys
from pathlib import Path

import matplotlib

from benchmarks.extract.compare import CHART_WORDS, WORKLOADS

matplotlib.use("Agg")


def main() -> None:
    from matplotlib import pyplot

    raw, target = map(Path, sys.argv[1:])
    sides = json.loads(raw.read_text(encoding="utf-8"))["sides"]
    figure, axes = pyplot.subplots(figsize=(8, 5), dpi=120)
    for name, side in sides.items():
        times = [statistics.median(side["seconds"][workload.name]) * 1000 for workload in WORKLOADS[: len(CHART_WORDS)]]
        style = "-" if name.startswith("factory") else "--"
        axes.plot(CHART_WORDS, times, style, marker="o", label=name)
    axes.set_xlabel("words of the text, 3 labels")
    axes.set_ylabel("milliseconds, median")
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Software": None})


if __name__ == "__main__":
    main()
