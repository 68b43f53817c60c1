"""What becomes of exports of a GLiNER by other tool chains: is each rebuilt, is it the same, and what is gained?

    python -m benchmarks.extract.exports FOLDER [--only PATTERN] [--rounds 11] [--threads 2]

FOLDER is one that `benchmarks.models.exports` wrote. The export and what is rebuilt of it run in a process each, and
take turns. A difference of logits is the largest one of the spans that are there, on texts by themselves and on padded
ones side by side; an export with dynamic quantisation scales by the whole batch, so there its own answers move too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import machine
from benchmarks.harness.folders import ROOT, save
from benchmarks.harness.statistics import in_turns, percentile
from benchmarks.harness.table import table
from benchmarks.models.exports import CONFIG, INDEX, MODEL, TOKENIZER
from functions.extract.feeds import Text, feeds
from functions.extract.graph.prepare import NOT_REBUILT

# Words of the texts of a batch, and labels; of each shorter than a window, one long, and the one that is timed.
SINGLE = (([4], 1), ([420], 3), ([200], 3))
BATCH = (([40, 7, 150], 2), ([1, 30], 4))
TIMED = 2
SENTENCES = ROOT / "tests/data/entities.jsonl"
LABELS = ("Person", "Organization", "Location", "Date")
SIDES = ("export", "rebuilt")

Probe = Mapping[str, Any]


@dataclass
class Side:
    """A process with a session."""

    process: "subprocess.Popen[str]"
    figures: dict[str, float]

    def ask(self, probe: int, logits: Path | None = None) -> float:
        """Milliseconds of the run; raises RuntimeError with what onnxruntime says."""
        answer = _exchange(self.process, f"{probe} {logits or ''}")
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return float(answer["ms"])


def probes(tokenizer: Path, class_token: int, max_width: int) -> list[Probe]:
    """Texts out of the held-out sentences; words are what stands between spaces."""
    from tokenizers import Tokenizer

    known = Tokenizer.from_file(str(tokenizer))
    first, last = known.encode("").ids
    sentences = SENTENCES.read_text(encoding="utf-8").splitlines()
    words = " ".join(json.loads(sentence)["text"] for sentence in sentences).split()

    def tokens(word: str) -> list[int]:
        found: list[int] = known.encode(word, add_special_tokens=False).ids
        return found

    def text(count: int, labels: int, begin: int) -> Text:
        prompt = [token for label in LABELS[:labels] for token in (class_token, *tokens(label))]
        ids = [first, *prompt, *tokens("<<SEP>>")]
        word_of_token = [0] * len(ids)
        for number, word in enumerate(words[begin : begin + count], 1):
            pieces = tokens(word)
            ids += pieces
            word_of_token += [number, *[0] * len(pieces)][: len(pieces)]
        return Text([*ids, last], [*word_of_token, 0], count)

    made: list[Probe] = []
    for number, (lengths, labels) in enumerate((*SINGLE, *BATCH)):
        texts = [text(count, labels, 500 * number + 200 * place) for place, count in enumerate(lengths)]
        made.append(feeds(texts, max_width, 0))
    return made


@contextmanager
def running(model: Path, feeds_folder: Path, threads: int) -> Iterator[Side]:
    command = [sys.executable, "-m", "benchmarks.extract.exports", str(feeds_folder), "--side", str(model)]
    with subprocess.Popen(
        [*command, "--threads", str(threads)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        figures = _exchange(process, "load")
        if "error" in figures:
            raise RuntimeError(figures["error"])
        yield Side(process, figures)


def _exchange(process: "subprocess.Popen[str]", line: str) -> dict[str, Any]:
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline() or '{"error": "the process ended"}')
    return answer


def side(model: Path, folder: Path, threads: int) -> None:
    """What the process of a side does: a line of stdin is `load`, or a probe's number and where its logits go."""
    from functions.extract.runtime import onnxruntime

    options = onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session: Any = None
    for line in sys.stdin:
        begun = time.perf_counter()
        try:
            if line == "load\n":
                session = onnxruntime().InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
                seconds = time.perf_counter() - begun
                answer: dict[str, object] = {"load": seconds, "rss": machine.rss(os.getpid())}
            else:
                number, target = line.removesuffix("\n").split(" ", 1)
                inputs = dict(np.load(folder / f"{number}.npz"))
                begun = time.perf_counter()
                logits = session.run(["logits"], inputs)[0]
                answer = {"ms": 1000 * (time.perf_counter() - begun)}
                if target:
                    np.save(target, logits)
        except Exception as error:
            answer = {"error": " ".join(str(error).split())[:200]}
        print(json.dumps(answer), flush=True)


def rebuild(model: Path, target: Path) -> str:
    """Why it was not rebuilt, or nothing."""
    command = [sys.executable, "-m", "functions.extract.graph", str(model), str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    if done.returncode == NOT_REBUILT:
        return done.stdout.strip()
    return f"exit code {done.returncode}: {done.stderr.strip().rpartition(chr(10))[2]}"


def differences(folder: Path, sides: Mapping[str, Side], inputs: Sequence[Probe]) -> dict[str, float | str]:
    """Largest ones of logits, of texts alone and side by side, and of scores; or what failed."""
    found: dict[str, float | str] = {"alone": 0.0, "batch": 0.0, "scores": 0.0, "largest": 0.0}
    for number, probe in enumerate(inputs):
        kind = "alone" if number < len(SINGLE) else "batch"
        logits = []
        for name, each in sides.items():
            path = folder / f"{name}-{number}.npy"
            try:
                each.ask(number, path)
            except RuntimeError as error:
                found[kind] = f"{name}: {error}"
                break
            logits.append(np.load(path).astype(np.float32))
        if len(logits) < len(sides) or isinstance(found[kind], str):
            continue
        if logits[0].shape != logits[1].shape:
            found[kind] = f"the shapes {logits[0].shape} and {logits[1].shape}"
            continue
        left, right = (each[probe["span_mask"].reshape(each.shape[:3])] for each in logits)
        values = {kind: np.abs(left - right), "largest": np.abs(left)}
        if kind == "alone":
            values["scores"] = np.abs(_score(left) - _score(right))
        for key, value in values.items():
            # Unlike max(), it does not lose what is no number.
            found[key] = float(np.maximum(float(found[key]), value.max()))
    return found


def _score(logits: NDArray[Any]) -> NDArray[Any]:
    """The sigmoid, by a function that does not overflow."""
    return (1 + np.tanh(logits / 2)) / 2


def measure(export: Path, rounds: int, threads: int) -> dict[str, Any]:
    """All figures of one export."""
    config = json.loads((export / CONFIG).read_text(encoding="utf-8"))
    inputs = probes(export / TOKENIZER, config["class_token_index"], config["max_width"])
    figures: dict[str, Any] = {"name": export.name, "bytes": (export / MODEL).stat().st_size}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number, probe in enumerate(inputs):
            np.savez(folder / f"{number}.npz", **probe)
        figures["reason"] = rebuild(export / MODEL, folder / MODEL)
        files = {"export": export / MODEL} | ({} if figures["reason"] else {"rebuilt": folder / MODEL})
        try:
            with ExitStack() as stack:
                sides = {name: stack.enter_context(running(file, folder, threads)) for name, file in files.items()}
                figures |= {name: dict(each.figures) for name, each in sides.items()}
                if not figures["reason"]:
                    figures["differences"] = differences(folder, sides, inputs)
                for name, times in _times(sides, rounds).items():
                    figures[name]["ms"] = percentile(times, 0.5)
        except RuntimeError as error:
            figures["error"] = str(error)
    return figures


def _times(sides: Mapping[str, Side], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of the timed text; the first run, which allocates, is not counted."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name in in_turns(sides, number):
            taken = sides[name].ask(TIMED)
            if number:
                times[name].append(taken)
    return times


def row(figures: Mapping[str, Any]) -> list[str]:
    def pair(key: str, scale: float, digits: int) -> str:
        values = [figures[name][key] * scale for name in SIDES if key in figures.get(name, {})]
        return " / ".join(f"{value:,.{digits}f}" for value in values) or "–"

    different = figures.get("differences", {})
    shown = [different.get(key, "–") for key in ("alone", "batch", "scores", "largest")]
    ratio = "–"
    if "ms" in figures.get("rebuilt", {}):
        ratio = f"{figures['export']['ms'] / figures['rebuilt']['ms']:.2f}x"
    return [
        figures["name"],
        figures.get("error") or figures["reason"] or "yes",
        *(value if isinstance(value, str) else f"{value:.2g}" for value in shown),
        f"{figures['bytes'] / 1e6:.0f}",
        pair("load", 1, 2),
        pair("rss", 1e-6, 0),
        pair("ms", 1, 1),
        ratio,
    ]


TITLES = (
    *("export", "rebuilt", "logits, alone", "logits, batch", "scores", "logits up to"),
    *("MB", "load, s", "RSS, MB", "200 words, ms", "gain"),
)


def exports(folder: Path, only: str) -> Iterable[Path]:
    """By chain, opset and form."""
    return sorted(path.parent for path in folder.glob(f"[!.]*/{MODEL}") if fnmatch(path.parent.name, only))


def main() -> None:
    parser = argparse.ArgumentParser(description="Exports of other tool chains: rebuilt, equal, faster?")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names to measure, as of a shell: t23-o14-*")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side(options.side, options.folder, options.threads)
        return
    every = []
    for export in exports(options.folder, options.only):
        every.append(measure(export, options.rounds, options.threads))
        print(" | ".join(row(every[-1])), file=sys.stderr, flush=True)
    print(f"{machine.cpu()}; {options.threads} threads; medians of {options.rounds} rounds; as exported / rebuilt\n")
    print(table(TITLES, map(row, every), texts=2))
    index = options.folder / INDEX
    if index.exists() and (failed := index.read_text(encoding="utf-8")):
        print(f"\nNot exported:\n\n{failed}")
    print(f"\n{save('extract-exports', {'cpu': machine.cpu(), 'exports': every})}")


if __name__ == "__main__":
    main()
