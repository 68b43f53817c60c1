"""Rebuilds an export, and proves that what was built gives the same logits."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from common.settings import Precision
from functions.extract.feeds import Text, feeds
from functions.extract.graph.parts import Gliner
from functions.extract.graph.read import read
from functions.extract.graph.walk import NotRecognised
from functions.extract.graph.write.model import write
from functions.extract.runtime import onnxruntime

WEIGHTS_SUFFIX = ".weights"
SUFFIXES = ("", WEIGHTS_SUFFIX)
# The rebuilt graph adds in another order; beyond rounding it must give the same.
ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE = 1e-4, 1e-5
# Words and labels of the texts that both graphs are compared on, one batch each: a short one, one in which relative
# positions fall into the last bucket, and one whose texts are padded. Where positions end, texts end with them.
PROBES: list[tuple[list[int], int]] = [([4], 1), ([420], 3), ([40, 7, 150], 2)]


class NotEqual(Exception):
    """The rebuilt graph gives other logits than the export."""


def convert(source: Path, target: Path, precision: Precision) -> None:
    """Write the rebuilt graph of `source` to `target`.

    Raises NotRecognised and NotEqual, which another try would raise again. What else it raises says nothing about the
    export: it cannot be loaded, or memory or disk ran out.
    """
    export = onnx.load(str(source))
    try:
        parts = read(export.graph)
        _save(write(parts, "fp32"), target)
        _compare(source, target, parts)
        if precision != "fp32":
            _save(write(parts, precision), target)
    except BaseException as error:
        for suffix in SUFFIXES:
            Path(f"{target}{suffix}").unlink(missing_ok=True)
        if _is_final(error):
            raise NotRecognised(f"it, or what was built of it, does not run: {error!r}") from error
        raise


def _is_final(error: BaseException) -> bool:
    """Whether an odd export is what made a library fail."""
    if not isinstance(error, Exception) or isinstance(error, (NotRecognised, NotEqual, MemoryError, OSError)):
        return False
    # onnxruntime has no exception of its own for a lack of memory.
    return not any(sign in str(error) for sign in ("allocate memory", "bad_alloc"))


def _save(model: onnx.ModelProto, path: Path) -> None:
    weights = Path(f"{path}{WEIGHTS_SUFFIX}")
    weights.unlink(missing_ok=True)
    onnx.save_model(model, str(path), save_as_external_data=True, location=weights.name, size_threshold=4096)
    if weights.exists():
        # It is written as a private file; whoever may read the model may read these. A tiny model has none.
        weights.chmod(path.stat().st_mode)


def _compare(source: Path, rebuilt: Path, parts: Gliner) -> None:
    """Raises NotEqual where the two give different logits."""
    probes = [_probe(parts, lengths, labels) for lengths, labels in PROBES]
    expected, actual = (_logits(path, probes) for path in (source, rebuilt))
    for probe, left, right in zip(probes, expected, actual, strict=True):
        if left.shape != right.shape:
            raise NotEqual(f"logits of the shape {right.shape} instead of {left.shape}")
        within = probe["span_mask"].reshape(left.shape[:3])
        difference = np.abs(left - right)[within]
        if not (difference <= ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * np.abs(left[within])).all():
            raise NotEqual(f"logits that differ by up to {difference.max():.2g}")


def _logits(path: Path, probes: Sequence[dict[str, NDArray[Any]]]) -> list[NDArray[np.float32]]:
    session = onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [session.run(["logits"], probe)[0] for probe in probes]


def _probe(parts: Gliner, lengths: Sequence[int], labels: int) -> dict[str, NDArray[Any]]:
    """The inputs for texts of so many words, or as many as there are positions for, out of tokens drawn at random."""
    random = np.random.default_rng(1)
    embeddings = parts.embeddings
    ordinary = np.setdiff1d(np.arange(len(embeddings.table)), [parts.class_token])
    longest = math.inf if embeddings.positions is None else len(embeddings.positions)

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
            if len(ids) + pieces > longest:
                length = word
                break
            ids += tokens(pieces)
            words += [word + 1, 0][:pieces]
        texts.append(Text(ids, words, length))
    return feeds(texts, parts.head.max_width, pad_token=0)
