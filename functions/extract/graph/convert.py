"""Rebuilds an export, and proves that what was built gives the same logits."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx

from common.settings import Precision
from functions.extract.feeds import Text, feeds
from functions.extract.graph.normal.flat import as_model
from functions.extract.graph.normal.form import Normal, normal
from functions.extract.graph.operators import scales_by_batch
from functions.extract.graph.parts import Array, Gliner
from functions.extract.graph.read import read
from functions.extract.graph.walk import NotRecognised
from functions.extract.graph.write.model import write
from functions.extract.runtime import onnxruntime

WEIGHTS_SUFFIX = ".weights"
SUFFIXES = ("", WEIGHTS_SUFFIX)
# The rebuilt graph adds in another order; beyond rounding it must give the same. What is rounded are the terms of a
# sum, which are as large as the largest logits are, also where the sum is near zero.
ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE = 1e-4, 1e-5
HALF_TOLERANCE = 2**-11
# How far an export that computes in 16 or 8 bits may be from the same weights in 32: the root of the mean square of the
# difference, as a share of the logits' standard deviation. Measured on trained weights: 0.001 of 16 bits, 0.02 of 8
# bits with scales of each call, 0.2 with fixed scales. Weights that were read wrong make it 1 and more.
ROUNDING = 0.5
# Words and labels of the texts that both graphs are compared on, one batch each: a short one, one in which relative
# positions fall into the last bucket, and one whose texts are padded. Where positions end, texts end with them.
PROBES: list[tuple[list[int], int]] = [([4], 1), ([420], 3), ([40, 7, 150], 2)]


# Inputs of a graph by their names.
Probe = dict[str, Array]


class NotEqual(Exception):
    """The rebuilt graph gives other logits than the export."""


def convert(source: Path, target: Path, precision: Precision) -> Precision:
    """Write the rebuilt graph of `source` to `target`. Returns the precision that it has.

    Raises NotRecognised and NotEqual, which another try would raise again. What else it raises says nothing about the
    export: it cannot be loaded, or memory or disk ran out.
    """
    export = onnx.load(str(source))
    try:
        eight_bit = scales_by_batch(export)
        form = normal(export)
        del export
        parts = read(form.graph)
        _save(write(parts, "fp32"), target)
        _compare(source, target, parts, form)
        precision = _precision(precision, parts, eight_bit=eight_bit)
        if precision != "fp32":
            _save(write(parts, precision), target)
        return precision
    except BaseException as error:
        for suffix in SUFFIXES:
            Path(f"{target}{suffix}").unlink(missing_ok=True)
        if _is_final(error):
            raise NotRecognised(f"it, or what was built of it, does not run: {error!r}") from error
        raise


def _precision(wanted: Precision, parts: Gliner, *, eight_bit: bool) -> Precision:
    """What the export's author chose is kept: 8-bit arithmetic, or weights that 16 bits hold as they are."""
    if eight_bit:
        return "int8"
    table = parts.embeddings.table
    with np.errstate(over="ignore"):
        halves = all(np.array_equal(rows, rows.astype(np.float16)) for rows in np.array_split(table, 64))
    return "fp32-half-embeddings" if wanted == "fp32" and halves else wanted


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


def _compare(source: Path, rebuilt: Path, parts: Gliner, form: Normal) -> None:
    """Raises NotEqual where the two give different logits.

    An export that rounds while it computes gives other logits than one that does not. Then the rebuilt graph must give
    those of the normal form, which is the export without the rounding, and the normal form nearly those of the export.
    """
    probes = [_probe(parts, lengths, labels) for lengths, labels in PROBES]
    expected, actual = (_logits(str(path), probes) for path in (source, rebuilt))
    difference = _difference(probes, expected, actual)
    if difference is not None and (form.halved or form.quantised):
        graph = form.graph
        model, weights = as_model(graph, graph.nodes, graph.inputs, graph.outputs)
        exact = _logits(model.SerializeToString(), [probe | weights for probe in probes])
        # The constants of a formula, as the root of 2, are rounded as well.
        relative = HALF_TOLERANCE if form.halved else RELATIVE_TOLERANCE
        difference = _difference(probes, exact, actual, relative) or _rounding(probes, expected, exact)
    if difference is not None:
        raise NotEqual(difference)


def _difference(
    probes: Sequence[Probe], expected: Sequence[Array], actual: Sequence[Array], relative: float = RELATIVE_TOLERANCE
) -> str | None:
    """How the logits differ, if they do beyond what adding in another order explains."""
    for probe, left, right in zip(probes, expected, actual, strict=True):
        if left.shape != right.shape:
            return f"logits of the shape {right.shape} instead of {left.shape}"
        within = probe["span_mask"].reshape(left.shape[:3])
        difference = np.abs(left - right)[within].max()
        if not difference <= ABSOLUTE_TOLERANCE + relative * np.abs(left[within]).max():
            return f"logits that differ by up to {difference:.2g}"
    return None


def _rounding(probes: Sequence[Probe], expected: Sequence[Array], exact: Sequence[Array]) -> str | None:
    """How the logits differ, if they do beyond what rounding explains."""
    for probe, left, right in zip(probes, expected, exact, strict=True):
        within = probe["span_mask"].reshape(left.shape[:3])
        share = np.sqrt(np.mean((left - right)[within] ** 2)) / np.std(right[within])
        if not share <= ROUNDING:
            return f"logits that rounding does not explain: they differ by {share:.0%} of their deviation"
    return None


def _logits(model: str | bytes, probes: Sequence[Probe]) -> list[Array]:
    options = onnxruntime().SessionOptions()
    # What it warns of is about the export's form.
    options.log_severity_level = 3
    session = onnxruntime().InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [session.run(["logits"], probe)[0].astype(np.float32) for probe in probes]


def _probe(parts: Gliner, lengths: Sequence[int], labels: int) -> Probe:
    """The inputs for texts of so many words, or as many as there are positions for, out of tokens drawn at random."""
    random = np.random.default_rng(1)
    embeddings = parts.embeddings
    ordinary = np.setdiff1d(np.arange(embeddings.tokens), [parts.class_token])
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
