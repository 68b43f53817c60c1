"""From the encoder's vectors to the scores of spans.

The exported graph runs every span of words through two large layers. Until its first ReLU a span's vector is a sum over
its first and its last word, and the layer behind that ReLU can as well be applied to the few labels instead of the many
spans.
"""

import numpy as np
from onnx import TensorProto, numpy_helper

from functions.extract.graph.parts import Array, Linear, Lstm, SpanHead
from functions.extract.graph.write.builder import END, Builder


def in_numpy(head: SpanHead, words: Array, labels: Array) -> Array:
    """What the block computes for one text: logits [words, max width, labels] of the vectors of words and labels.

    Spans that end behind the text are nan; what the block gives for them means nothing.
    """
    if head.projection is not None:
        words, labels = head.projection(words), head.projection(labels)
    states = lstm_in_numpy(head.lstm, words)
    starts, ends, label = head.start(states), head.end(states), head.label(labels)
    logits = np.full((len(words), head.max_width, len(labels)), np.nan, np.float32)
    for first in range(len(words)):
        for width, end in enumerate(ends[first : first + head.max_width]):
            logits[first, width] = label @ head.span(np.maximum(np.concatenate([starts[first], end]), 0))
    return logits


def lstm_in_numpy(lstm: Lstm, words: Array) -> Array:
    """[words, 2 x hidden]; backwards is forwards over the words from the last to the first."""
    directions = []
    for order, weight, recurrence, bias in zip((1, -1), lstm.weight, lstm.recurrence, lstm.bias, strict=True):
        hidden = cell = np.zeros(recurrence.shape[1], np.float32)
        states = []
        for word in words[::order]:
            gates = weight @ word + recurrence @ hidden + bias.reshape(2, -1).sum(0)
            enter, leave, keep = np.split(1 / (1 + np.exp(-gates)), 4)[:3]
            cell = keep * cell + enter * np.tanh(np.split(gates, 4)[3])
            hidden = leave * np.tanh(cell)
            states.append(hidden)
        directions.append(states[::order])
    return np.concatenate(directions, 1)


class SpanHeadBlock:
    """`rows`: the tokens that are read at all, the mark before each label and the first token of each word.

    They are numbers of rows in [batch x tokens, hidden], first those of the labels, [batch x labels], then [batch x
    words]. Where a text has fewer than others there is any row, which is nothing but zeros later.
    """

    def __init__(self, builder: Builder, head: SpanHead, class_token: int) -> None:
        self._builder, self._head = builder, head
        add, constant, scalar = builder.add, builder.constant, builder.scalar
        marked = add("Equal", "input_ids", scalar(class_token))
        present = add("Greater", "attention_mask", scalar(0))
        is_label = add("Cast", add("And", marked, present), to=TensorProto.INT64)
        numbers = add("Mul", is_label, add("CumSum", is_label, scalar(1)))
        self._labels = add("Reshape", add("ReduceMax", numbers, keepdims=0), constant([1]))
        self._words = add("Reshape", add("ReduceMax", "text_lengths", keepdims=0), constant([1]))
        begins = builder.unsqueeze(add("Mul", builder.range(builder.batch), builder.length), 1)
        places = [self._places(numbers, self._labels), self._places("words_mask", self._words)]
        flat = constant([-1])
        self.rows = add("Concat", *[add("Reshape", add("Add", place, begins), flat) for place in places], axis=0)
        place = add("Concat", *[add("Reshape", place, flat) for place in places], axis=0)
        there = add("Cast", add("Greater", place, scalar(0)), to=TensorProto.FLOAT)
        self._there = builder.unsqueeze(there, 1)
        self._label_count = add("Mul", builder.batch, self._labels)

    def _places(self, numbers: str, count: str) -> str:
        """[batch, count]: the token of each text at which `numbers` is 1, 2, .. `count`.

        0 if nowhere: a text's first token is neither a mark nor a word.
        """
        builder, add, constant = self._builder, self._builder.add, self._builder.constant
        empty = builder.shape(builder.batch, add("Add", count, constant([1])))
        zeros = add("ConstantOfShape", empty, value=numpy_helper.from_array(np.array([0], np.int64)))
        tokens = add("Expand", builder.range(builder.length), builder.shape(builder.batch, builder.length))
        found = add("ScatterElements", zeros, numbers, tokens, axis=1)
        return add("Slice", found, constant([1]), constant([END]), constant([1]))

    def logits(self, x: str) -> str:
        """`logits` [batch, words, max width, labels] of the vectors of `rows`, [rows, hidden]."""
        builder, head, add, constant = self._builder, self._head, self._builder.add, self._builder.constant
        if head.projection is not None:
            x = builder.linear(x, head.projection)
        # A word that left no token, and a label that another text of the batch does not have, are nothing but zeros.
        x = add("Mul", x, self._there)
        zero = constant([0])
        labels = add("Slice", x, zero, self._label_count, zero)
        words = add("Slice", x, self._label_count, constant([END]), zero)
        starts, ends = self._starts_and_ends(self._lstm(words))
        keys, added = self._keys(labels)
        scores = []
        # One width at a time: what is worked on stays in the processor's cache.
        for width in range(head.max_width):
            stop = add("Add", self._words, constant([width]))
            shifted = add("Slice", ends, constant([width]), stop, constant([1]))
            spans = add("Relu", add("Add", starts, shifted))
            scores.append(add("Add", add("MatMul", spans, keys), added))
        shape = builder.shape(builder.batch, self._words, head.max_width, self._labels)
        return builder.result("logits", "Reshape", add("Concat", *scores, axis=2), shape)

    def _keys(self, labels: str) -> tuple[str, str]:
        """What a span's vector behind its first ReLU is multiplied with, [batch, wide, labels], and what is added."""
        builder, add, constant = self._builder, self._builder.add, self._builder.constant
        second, inner = self._head.span.second, self._head.start.second.weight.shape[1]
        label = builder.mlp(labels, self._head.label)
        label = add("Reshape", label, builder.shape(builder.batch, self._labels, inner))
        keys = add("Transpose", add("MatMul", label, constant(second.weight.T)), perm=[0, 2, 1])
        return keys, add("Unsqueeze", add("MatMul", label, constant(second.bias)), constant([1]))

    def _lstm(self, words: str) -> str:
        """[batch x words, 2 x hidden]."""
        builder, add, lstm = self._builder, self._builder.add, self._head.lstm
        size = lstm.recurrence.shape[2]
        by_text = add("Reshape", words, builder.shape(builder.batch, self._words, lstm.weight.shape[2]))
        lengths = add("Reshape", "text_lengths", builder.constant([-1]))
        states = add(
            "LSTM",
            add("Transpose", by_text, perm=[1, 0, 2]),
            *map(builder.constant, (lstm.weight, lstm.recurrence, lstm.bias)),
            add("Cast", lengths, to=TensorProto.INT32),
            direction="bidirectional",
            hidden_size=size,
        )
        return add("Reshape", add("Transpose", states, perm=[2, 0, 1, 3]), builder.constant([-1, 2 * size]))

    def _starts_and_ends(self, states: str) -> tuple[str, str]:
        """What a word adds to a span that begins, and to one that ends, with it: [batch, words (and more), wide]."""
        builder, head, first, add = self._builder, self._head, self._head.span.first, self._builder.add
        inner, wide = head.start.second.weight.shape[1], first.weight.shape[1]
        starts = add("Relu", builder.mlp(states, head.start))
        starts = builder.linear(starts, Linear(first.weight[:inner], first.bias))
        ends = builder.product(add("Relu", builder.mlp(states, head.end)), first.weight[inner:])
        starts, ends = (add("Reshape", x, builder.shape(builder.batch, self._words, wide)) for x in (starts, ends))
        behind = add("ConstantOfShape", builder.shape(builder.batch, head.max_width - 1, wide))
        return starts, add("Concat", ends, behind, axis=1)
