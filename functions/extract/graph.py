"""Prepares a GLiNER export for this engine: rebuilds its graph once, proves it, and keeps it beside the file.

    python -m functions.extract.graph IN.onnx OUT.onnx [--precision fp32|fp32-half-embeddings|int8]

An export that is not recognised, or whose rebuilt graph does not give the same logits, is left as it is. The weights of
OUT.onnx are in OUT.onnx.weights: onnxruntime maps that file into memory instead of copying it.
"""

import argparse
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from common.child import end_with_parent
from common.settings import ROOT, Precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from functions.extract.recognise import Gliner

logger = logging.getLogger(__name__)

# What is kept was made by this version of the rebuilding: count up when it makes something else.
VERSION = 1
MODEL = "model.onnx"
WEIGHTS_SUFFIX = ".weights"
SUFFIXES = ("", WEIGHTS_SUFFIX)
LEFT_ALONE = "left-alone.txt"
MAKING = ".making-"
LOCK = ".lock"
# The rebuilt graph adds in another order; beyond rounding it must give the same.
ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE = 1e-4, 1e-5
# Words and labels of the texts that both graphs are compared on, one batch each: a short one, one in which relative
# positions fall into the last bucket, and one whose texts are padded.
PROBES: list[tuple[list[int], int]] = [([4], 1), ([420], 3), ([40, 7, 150], 2)]
NOT_REBUILT = 3
TIME_LIMIT_SECONDS = 900


class NotEqual(Exception):
    """The rebuilt graph gives other logits than the export."""


def prepared(source: Path, precision: Precision, cache_folder: Path, *, make: bool) -> Path:
    """The file to load for `source`: its rebuilt graph, or itself where it cannot be rebuilt.

    What was made before is found by the content of `source`, in `prepared/` beside it or in `cache_folder`; else, when
    `make` is true, it is made by another process, whose memory is gone with it.
    """
    beside = source.parent / "prepared"
    places = [beside, cache_folder / "extract"]
    name = f"{_digest(source, beside)[:16]}-{precision}-{VERSION}"
    for place in places:
        if (found := _kept(source, place / name)) is not None:
            return found
    if not make:
        logger.warning("%s has not been prepared and is used as it is", source)
        return source
    for place in places:
        if (found := _make(source, place / name, precision)) is not None:
            return found
    logger.warning("%s could not be prepared and is used as it is", source)
    return source


def _kept(source: Path, folder: Path) -> Path | None:
    if (folder / MODEL).is_file():
        return folder / MODEL
    if (folder / LEFT_ALONE).is_file():
        logger.info("%s is used as it is: %s", source, (folder / LEFT_ALONE).read_text(encoding="utf-8").strip())
        return source
    return None


def _make(source: Path, folder: Path, precision: Precision) -> Path | None:
    """None where `folder` cannot be written: elsewhere it may be. `source` itself where the other process failed."""
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Services that start together make it once, since it takes a multiple of the model's memory.
        with FileLock(folder.parent / LOCK):
            if (found := _kept(source, folder)) is not None:
                return found
            for left_behind in folder.parent.glob(f"{MAKING}*"):
                shutil.rmtree(left_behind, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=MAKING) as temporary:
                made = Path(temporary) / "made"
                made.mkdir()
                done = _run(source, made / MODEL, precision)
                if done.returncode == NOT_REBUILT:
                    (made / LEFT_ALONE).write_text(done.stdout, encoding="utf-8")
                elif done.returncode != 0:
                    reason = (done.stderr.strip() or f"exit code {done.returncode}").rpartition("\n")[2]
                    logger.warning("%s could not be prepared and is used as it is: %s", source, reason)
                    return source
                made.rename(folder)
    except subprocess.TimeoutExpired as error:
        logger.warning("%s could not be prepared and is used as it is: %s", source, error)
        return source
    except OSError as error:
        logger.info("%s cannot be prepared in %s: %s", source, folder.parent, error)
        return None
    return _kept(source, folder)


def _run(source: Path, target: Path, precision: Precision) -> "subprocess.CompletedProcess[str]":
    """`main` as a process of its own. Raises TimeoutExpired and OSError."""
    # Nothing is written to it: its end tells the child that nobody waits any more.
    reading, writing = os.pipe()
    try:
        return subprocess.run(
            [sys.executable, "-m", "functions.extract.graph", source, target, "--precision", precision, "--child"],
            cwd=ROOT,
            stdin=reading,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
    finally:
        os.close(reading)
        os.close(writing)


def _digest(source: Path, folder: Path) -> str:
    """SHA-256 of the file; noted beside it, since a large one takes a while to read, until its size or time changes."""
    state = source.stat()
    facts = [state.st_size, state.st_mtime_ns]
    note = folder / f"{source.name}.sha256.json"
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
        if noted["size_and_time"] == facts:
            return str(noted["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        folder.mkdir(exist_ok=True)
        note.write_text(json.dumps({"size_and_time": facts, "sha256": digest}), encoding="utf-8")
    except OSError:
        logger.debug("nothing can be noted in %s", folder)
    return digest


def convert(source: Path, target: Path, precision: Precision) -> None:
    """Write the rebuilt graph of `source` to `target`. Raises NotRecognised and NotEqual."""
    import onnx

    from functions.extract.rebuild import rebuild
    from functions.extract.recognise import recognise

    parts = recognise(onnx.load(str(source)).graph)
    _save(rebuild(parts, half_embeddings=False, quantize=False), target)
    try:
        _compare(source, target, parts)
        if precision != "fp32":
            _save(rebuild(parts, half_embeddings=True, quantize=precision == "int8"), target)
    except BaseException:
        for suffix in SUFFIXES:
            Path(f"{target}{suffix}").unlink(missing_ok=True)
        raise


def _save(model: Any, path: Path) -> None:
    import onnx

    weights = Path(f"{path}{WEIGHTS_SUFFIX}")
    weights.unlink(missing_ok=True)
    onnx.save_model(model, str(path), save_as_external_data=True, location=weights.name, size_threshold=4096)
    # It is written as a private file; whoever may read the model may read these.
    weights.chmod(path.stat().st_mode)


def _compare(source: Path, rebuilt: Path, parts: "Gliner") -> None:
    """Raises NotEqual where the two give different logits."""
    import numpy as np

    probes = [_probe(parts, lengths, labels) for lengths, labels in PROBES]
    expected, actual = (_logits(path, probes) for path in (source, rebuilt))
    for probe, left, right in zip(probes, expected, actual, strict=True):
        if left.shape != right.shape:
            raise NotEqual(f"logits of the shape {right.shape} instead of {left.shape}")
        within = probe["span_mask"].reshape(left.shape[:3])
        difference = np.abs(left - right)[within]
        if not (difference <= ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * np.abs(left[within])).all():
            raise NotEqual(f"logits that differ by up to {difference.max():.2g}")


def _logits(path: Path, probes: "Sequence[dict[str, NDArray[Any]]]") -> "list[NDArray[np.float32]]":
    from functions.extract.runtime import onnxruntime

    session = onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [session.run(["logits"], probe)[0] for probe in probes]


def _probe(parts: "Gliner", lengths: Sequence[int], labels: int) -> "dict[str, NDArray[Any]]":
    """The inputs for texts of so many words, out of tokens drawn at random."""
    import numpy as np

    from functions.extract.feeds import Text, feeds

    random = np.random.default_rng(1)
    ordinary = np.setdiff1d(np.arange(parts.embeddings.shape[0]), [parts.class_token])

    def tokens(count: int) -> Iterator[int]:
        return iter(random.choice(ordinary, count).tolist())

    texts = []
    for length in lengths:
        prompt = [*tokens(1)]
        for _ in range(labels):
            prompt += [parts.class_token, *tokens(2)]
        ids, words = [*prompt, *tokens(1)], [0] * (len(prompt) + 1)
        for word in range(length):
            # Two tokens for every third word, and none for one.
            pieces = (1 + word % 3 // 2) * (word != 1)
            ids += tokens(pieces)
            words += [word + 1, 0][:pieces]
        texts.append(Text(ids, words, length))
    return feeds(texts, parts.max_width, pad_token=0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuilds the graph of a GLiNER that was exported to ONNX.")
    parser.add_argument("source", type=Path, metavar="IN.onnx")
    parser.add_argument("target", type=Path, metavar="OUT.onnx")
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        end_with_parent()
    from functions.extract.recognise import NotRecognised

    try:
        convert(options.source, options.target, options.precision)
    except (NotRecognised, NotEqual) as error:
        kind = "not recognised" if isinstance(error, NotRecognised) else "not equal after rebuilding"
        print(f"{kind}: {error}")
        sys.exit(NOT_REBUILT)
    size = sum(os.path.getsize(f"{options.target}{suffix}") for suffix in SUFFIXES)
    print(f"{options.target}: {size / 1e6:.0f} MB, {options.precision}; its exact form gives the same logits")


if __name__ == "__main__":
    main()
