"""Each block of the rebuilt graph, alone and with random weights, computes what its reference in numpy does."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from functions.extract.graph.parts import (
    Array,
    BertEncoder,
    DebertaEncoder,
    DebertaLayer,
    Embeddings,
    Linear,
    Lstm,
    Mlp,
    Norm,
    SpanHead,
)
from functions.extract.graph.write import bert, deberta, embeddings, span_head
from functions.extract.graph.write.builder import Builder

HIDDEN, HEADS, WIDE, SPAN, FARTHEST = 12, 3, 20, 8, 32
CLASS_TOKEN = 7


class Weights:
    """Small random weights."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def array(self, *shape: int) -> Array:
        return self._random.normal(0, 0.7, shape).astype(np.float32)

    def linear(self, inside: int, outside: int) -> Linear:
        return Linear(self.array(inside, outside), self.array(outside))

    def norm(self, hidden: int) -> Norm:
        return Norm(self.array(hidden), self.array(hidden), 1e-7)

    def mlp(self, inside: int, outside: int) -> Mlp:
        return Mlp(self.linear(inside, WIDE), self.linear(WIDE, outside))

    def layer(self) -> DebertaLayer:
        query, key, value, output = (self.linear(HIDDEN, HIDDEN) for _ in range(4))
        position_key, position_query = (self.array(2 * SPAN, HIDDEN) for _ in range(2))
        up, down = self.linear(HIDDEN, WIDE), self.linear(WIDE, HIDDEN)
        norms = self.norm(HIDDEN), self.norm(HIDDEN)
        parts = (query, key, value, output, norms[0], up, down, norms[1])
        return DebertaLayer(*parts, position_key, position_query)

    def head(self, *, projected: bool, max_width: int) -> SpanHead:
        size = 8 if projected else HIDDEN
        lstm = Lstm(self.array(2, 2 * size, size), self.array(2, 2 * size, size // 2), self.array(2, 4 * size))
        projection = self.linear(HIDDEN, size) if projected else None
        start, end, label = (self.mlp(size, size) for _ in range(3))
        return SpanHead(projection, lstm, start, end, self.mlp(2 * size, size), label, max_width)


def run(builder: Builder, output: str, feeds: dict[str, Array]) -> Any:
    """What the graph gives for `output`."""
    types = {np.dtype(np.int64): TensorProto.INT64, np.dtype(np.float32): TensorProto.FLOAT}
    inputs = [helper.make_tensor_value_info(name, types[value.dtype], value.shape) for name, value in feeds.items()]
    model = builder.model(inputs, helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([output], feeds)[0]


def padded(rows: Sequence[Sequence[int]]) -> Array:
    longest = max(map(len, rows))
    return np.array([[*row, *[0] * (longest - len(row))] for row in rows], np.int64)


def assert_near(ours: Array, reference: Array) -> None:
    np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-4)


@pytest.mark.parametrize("cases", [None, 3])
@pytest.mark.parametrize("positions", [None, 9, 20])
def test_embeddings(positions: int | None, cases: int | None) -> None:
    """Also of texts that are as long as there are positions, and of pieces in several cases."""
    weights = Weights(1)
    table, norm = weights.array(30, HIDDEN), weights.norm(HIDDEN)
    added = [None if rows is None else weights.array(rows, HIDDEN) for rows in (positions, cases)]
    parts = Embeddings(table, norm, *added)
    tokens = np.random.default_rng(1).integers(0, parts.tokens, (2, 9))
    builder = Builder()
    found = run(builder, embeddings.embeddings(builder, parts, "fp32"), {"input_ids": tokens})
    assert_near(found, embeddings.in_numpy(parts, tokens).reshape(-1, HIDDEN))


@pytest.mark.parametrize("lengths", [[1], [6], [90, 3, 41]])
@pytest.mark.parametrize("heads", [1, HEADS])
def test_layers_of_bert(heads: int, lengths: list[int]) -> None:
    """Two layers one after the other, also of texts that are padded."""
    weights = Weights(6)
    encoder = BertEncoder(heads, [weights.layer(), weights.layer()])
    mask = padded([[1] * length for length in lengths])
    x = weights.array(mask.size, HIDDEN)
    builder = Builder()
    name = bert.BertBlock(builder, encoder).vectors("x")
    found = run(builder, name, {"input_ids": mask, "attention_mask": mask, "x": x}).reshape(*mask.shape, HIDDEN)
    for length, ours, vectors in zip(lengths, found, x.reshape(*mask.shape, HIDDEN), strict=True):
        reference = vectors[:length]
        for layer in encoder.layers:
            reference = bert.in_numpy(layer, reference, heads)
        assert_near(ours[:length], reference)


@pytest.mark.parametrize("lengths", [[1], [6], [90, 3, 41]])
def test_layers_of_deberta(lengths: list[int]) -> None:
    """Two layers one after the other, also of a text that is longer than the farthest position."""
    weights = Weights(2)
    encoder = DebertaEncoder(HEADS, SPAN, FARTHEST, [weights.layer(), weights.layer()])
    mask = padded([[1] * length for length in lengths])
    x = weights.array(mask.size, HIDDEN)
    builder = Builder()
    name = deberta.DebertaBlock(builder, encoder).vectors("x")
    found = run(builder, name, {"input_ids": mask, "attention_mask": mask, "x": x}).reshape(*mask.shape, HIDDEN)
    for length, ours, vectors in zip(lengths, found, x.reshape(*mask.shape, HIDDEN), strict=True):
        steps = np.arange(length)
        rows = deberta.position_rows(steps[:, None] - steps, SPAN, FARTHEST)
        reference = vectors[:length]
        for layer in encoder.layers:
            reference = deberta.in_numpy(layer, reference, HEADS, rows)
        assert_near(ours[:length], reference)


def test_only_the_rows_that_are_read() -> None:
    weights = Weights(3)
    layer, x, ones = weights.layer(), weights.array(10, HIDDEN), np.ones((2, 5), np.int64)
    found = []
    for only in (None, "rows"):
        builder = Builder()
        block = deberta.DebertaBlock(builder, DebertaEncoder(HEADS, SPAN, FARTHEST, [layer]))
        feeds = {"input_ids": ones, "attention_mask": ones, "x": x} | ({only: np.array([7, 2])} if only else {})
        found.append(run(builder, block.vectors("x", only), feeds))
    assert_near(found[1], found[0][[7, 2]])


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("lengths", [[1], [2, 9, 5]])
def test_span_head(lengths: list[int], projected: bool) -> None:
    """Texts of so many words, each of two tokens, behind marks for one label more in every text."""
    weights = Weights(4)
    head = weights.head(projected=projected, max_width=4)
    marks = [[CLASS_TOKEN, 1] * (number + 1) for number in range(len(lengths))]
    tokens = [[2, *labels, 3, *[5, 6] * length] for labels, length in zip(marks, lengths, strict=True)]
    firsts = [[1 + 2 * label for label in range(len(labels) // 2)] for labels in marks]
    words = [
        [len(labels) + 2 + 2 * word for word in range(length)] for labels, length in zip(marks, lengths, strict=True)
    ]
    numbers = [[place.index(token) + 1 if token in place else 0 for token in range(len(row))]
               for place, row in zip(words, tokens, strict=True)]  # fmt: skip
    feeds = {
        "input_ids": padded(tokens),
        "attention_mask": padded([[1] * len(row) for row in tokens]),
        "words_mask": padded(numbers),
        "text_lengths": np.array([[length] for length in lengths], np.int64),
    }
    x = weights.array(feeds["input_ids"].size, HIDDEN)
    builder = Builder()
    block = span_head.SpanHeadBlock(builder, head, CLASS_TOKEN)
    found = run(builder, block.logits(builder.add("Gather", "x", block.rows)), feeds | {"x": x})
    assert found.shape == (len(lengths), max(lengths), head.max_width, len(lengths))
    for ours, vectors, label, word in zip(found, x.reshape(*feeds["input_ids"].shape, -1), firsts, words, strict=True):
        reference = span_head.in_numpy(head, vectors[word], vectors[label])
        within = ~np.isnan(reference)
        assert within.sum() == sum(min(head.max_width, len(word) - first) for first in range(len(word))) * len(label)
        assert_near(ours[: len(word), :, : len(label)][within], reference[within])


def test_a_word_without_a_token_is_nothing_but_zeros() -> None:
    """The second of three words, whose token was cut off, behind one label."""
    weights = Weights(5)
    head = weights.head(projected=False, max_width=3)
    feeds = {
        "input_ids": np.array([[2, CLASS_TOKEN, 1, 5, 6]]),
        "attention_mask": np.array([[1] * 5]),
        "words_mask": np.array([[0, 0, 0, 1, 3]]),
        "text_lengths": np.array([[3]]),
    }
    x = weights.array(5, HIDDEN)
    builder = Builder()
    block = span_head.SpanHeadBlock(builder, head, CLASS_TOKEN)
    found = run(builder, block.logits(builder.add("Gather", "x", block.rows)), feeds | {"x": x})[0]
    reference = span_head.in_numpy(head, np.stack([x[3], 0 * x[3], x[4]]), x[1:2])
    within = ~np.isnan(reference)
    assert_near(found[within], reference[within])
