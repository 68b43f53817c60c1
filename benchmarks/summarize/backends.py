"""The portable build of llama.cpp beside the native one, and each of its CPU backends by itself.

    python -m benchmarks.summarize.backends --native FOLDER --portable FOLDER [--model PATH] [--rows 256] [--rounds 5]

The folders hold the libraries of a build (`llama_cpp/lib`); `make bench-backends` makes both. What a side loads is told
by the libraries themselves. A backend is forced by a folder without the others. The sides take turns, and every figure
is the median over the rounds; a ratio is taken within its round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness.folders import MODELS, ROOT, save
from benchmarks.harness.statistics import in_turns
from benchmarks.harness.table import table
from benchmarks.summarize.sides import DEFAULT_THREADS
from functions.summarize.context import LlamaContext, Options
from functions.summarize.cpu import LIBRARY_PREFIX, NATIVE, variant
from functions.summarize.tuning import pass_seconds

MODEL = MODELS / "llama-1b.gguf"
PORTABLE = "portable"
WRITTEN = 12
# The portable build must not read more slowly than this share of the native one.
LEAST_SHARE = 0.95

Figures = dict[str, float | str]


def sides(native: Path, portable: Path, scratch: Path) -> dict[str, Path]:
    """Name and folder of libraries of each."""
    found = {NATIVE: native, PORTABLE: portable}
    backends = sorted(portable.glob(f"{LIBRARY_PREFIX}*.so"), key=lambda path: path.stat().st_size)
    for backend in backends:
        name = backend.stem.removeprefix(LIBRARY_PREFIX)
        found[f"only {name}"] = scratch / name
        (scratch / name).mkdir()
        for library in portable.glob("*.so"):
            if library == backend or not library.name.startswith(LIBRARY_PREFIX):
                (scratch / name / library.name).symlink_to(library)
    return found


def child(model: Path, rows: int, threads: int) -> Figures:
    """Tokens a second of one process: `rows` read at once, then one after another written behind them."""
    context = LlamaContext(model, rows + WRITTEN, 1, Options(threads))
    pass_seconds(context, 0, rows)  # maps the weights
    read = min(pass_seconds(context, 0, rows) for _ in range(2))
    written = statistics.median(pass_seconds(context, rows + step, 1) for step in range(WRITTEN))
    return {"backend": variant(), "read": rows / read, "written": 1 / written}


def measure(folder: Path, options: argparse.Namespace) -> Figures | None:
    """None where this CPU cannot run what is in the folder."""
    command = [sys.executable, "-m", "benchmarks.summarize.backends", "--child", "--model", str(options.model)]
    done = subprocess.run(
        [*command, "--rows", str(options.rows), "--threads", str(options.threads)],
        cwd=ROOT,
        env=os.environ | {"LLAMA_CPP_LIB_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"{folder.name}: {(done.stderr.strip() or str(done.returncode)).splitlines()[-1]}", file=sys.stderr)
        return None
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def report(rounds: dict[str, list[Figures]]) -> tuple[str, float]:
    """The table, and how fast the portable build reads, as a share of the native one."""
    rows: list[list[str]] = []
    shares: dict[str, float] = {}
    for name, figures in rounds.items():
        cells = [name, str(figures[0]["backend"])]
        for key in ("read", "written"):
            speeds = [float(figure[key]) for figure in figures]
            ratios = [speed / float(base[key]) for speed, base in zip(speeds, rounds[NATIVE], strict=True)]
            cells += [f"{statistics.median(speeds):.1f}", f"{statistics.median(ratios):.3f}"]
            if key == "read":
                shares[name] = statistics.median(ratios)
        rows.append(cells)
    titles = ["libraries", "backend", "reading, tokens/s", "of native", "writing, tokens/s", "of native"]
    return table(titles, rows, texts=2), shares[PORTABLE]


def main() -> None:
    parser = argparse.ArgumentParser(description="The portable build of llama.cpp beside the native one.")
    parser.add_argument("--native", type=Path)
    parser.add_argument("--portable", type=Path)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--rows", type=int, default=256, help="tokens that are read at once")
    parser.add_argument("--threads", type=int, default=DEFAULT_THREADS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.model.resolve(), options.rows, options.threads)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        running = sides(options.native.resolve(), options.portable.resolve(), Path(scratch))
        rounds: dict[str, list[Figures]] = {name: [] for name in running}
        for number in range(options.rounds):
            for name in in_turns(running, number):
                if (figures := measure(running[name], options)) is not None:
                    rounds[name].append(figures)
                elif name in (NATIVE, PORTABLE):
                    sys.exit(f"the {name} build does not run here")
                else:
                    del running[name], rounds[name]
    text, share = report(rounds)
    print(f"\n{options.model.name}, {options.rows} tokens read at once, {options.threads} threads\n\n{text}\n")
    verdict = "met" if share >= LEAST_SHARE else "MISSED"
    print(f"- {verdict}: the portable build reads {share:.3f} times as fast as the native one, at least {LEAST_SHARE}")
    print(f"\nraw figures: {save('backends', rounds)}")


if __name__ == "__main__":
    main()
