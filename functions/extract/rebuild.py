"""A GLiNER built anew from its parts: the same function of the same inputs, in far fewer operations.

What the exported graph does at every call and this one does not: project the table of relative positions; look up
distances that a text of this length does not have; scale; expand indices for every head; carry the last layer on for
tokens that nobody looks at; and run every span of words through two large layers. The last is algebra: until its first
ReLU a span's vector is a sum over its first and its last word, and the layer behind that ReLU can as well be applied to
the few labels instead of the many spans.

`span_idx` and `span_mask` stay inputs, so that whatever feeds the exported model can feed this one, but are not read:
spans are those of 1 to `max_width` words from each word, in that order, as the `gliner` package asks for them. The
logits of spans that end behind their text mean nothing, in either model.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from functions.extract.recognise import Array, Gliner, Layer, Linear, Mlp, Norm

OPSET, IR_VERSION = 19, 9
# Operators of onnxruntime's own.
CONTRIB = "com.microsoft"
END = 2**60
# Without VNNI, processors add pairs of 8-bit products in 16 bits, which two weights of 8 bits can overflow.
LARGEST_WEIGHT = 63


def rebuild(parts: Gliner, *, half_embeddings: bool, quantize: bool) -> ModelProto:
    """The model; exact, unless `half_embeddings` stores the vocabulary's table in 16 bits.

    quantize: every linear layer multiplies 8-bit activations, scaled anew for each call, with weights of 7 bits and a
    scale for each column, and the table is stored in 8 bits with a scale for each token.
    """
    return _Model(parts, half_embeddings, quantize).build()


def buckets(distance: Array, span: int, max_position: int) -> Array:
    """DeBERTa's buckets of relative positions: exact up to half of `span`, logarithmic beyond it."""
    middle = span // 2
    magnitude = np.maximum(np.abs(distance), middle).astype(np.float32)
    steps = np.log(magnitude / np.float32(middle)) / np.float32(np.log((max_position - 1) / middle)) * (middle - 1)
    far = (np.ceil(steps) + middle) * np.sign(distance)
    return np.where(np.abs(distance) <= middle, distance, far).astype(np.int64)


class _Model:
    def __init__(self, parts: Gliner, half_embeddings: bool, quantize: bool) -> None:
        self._parts = parts
        self._half_embeddings = half_embeddings
        self._quantize = quantize
        self._hidden = parts.embeddings.shape[1]
        self._head = self._hidden // parts.heads
        self._nodes: list[Any] = []
        self._initializers: list[TensorProto] = []

    def build(self) -> ModelProto:
        sizes = self._add("Shape", "input_ids")
        self._batch, self._length = (self._add("Gather", sizes, self._constant([axis])) for axis in (0, 1))
        self._key_mask = self._add("Cast", "attention_mask", to=TensorProto.INT32)
        self._positions()
        self._read_rows()
        x = self._embed()
        for index, layer in enumerate(self._parts.layers):
            x = self._layer(layer, x, last=index == len(self._parts.layers) - 1)
        self._spans(x)
        return self._model()

    def _model(self) -> ModelProto:
        info = helper.make_tensor_value_info
        names = ("input_ids", "attention_mask", "words_mask")
        inputs = [info(name, TensorProto.INT64, ["batch", "tokens"]) for name in names]
        inputs.append(info("text_lengths", TensorProto.INT64, ["batch", 1]))
        inputs.append(info("span_idx", TensorProto.INT64, ["batch", "spans", 2]))
        inputs.append(info("span_mask", TensorProto.BOOL, ["batch", "spans"]))
        output = info("logits", TensorProto.FLOAT, ["batch", "words", self._parts.max_width, "labels"])
        graph = helper.make_graph(self._nodes, "gliner", inputs, [output], self._initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def _positions(self) -> None:
        """For every query and key the row of a layer's position tables, of which only the rows in use are kept."""
        limit, span = self._parts.max_position, self._parts.position_span
        rows = np.clip(buckets(np.arange(-limit, limit + 1), span, limit) + span, 0, 2 * span - 1)
        table, at_zero = self._constant(rows), self._constant([limit])
        farthest = self._add("Min", self._add("Sub", self._length, self._constant([1])), at_zero)
        self._lowest = self._add("Gather", table, self._add("Sub", at_zero, farthest))
        highest = self._add("Gather", table, self._add("Add", at_zero, farthest))
        self._behind_highest = self._add("Add", highest, self._constant([1]))
        steps = self._range(self._length)
        distance = self._add("Sub", self._unsqueeze(steps, 1), self._unsqueeze(steps, 0))
        distance = self._add("Clip", distance, self._scalar(-limit), self._scalar(limit))
        row = self._add("Sub", self._add("Gather", table, self._add("Add", distance, at_zero)), self._lowest)
        shape = self._shape(self._batch, self._parts.heads, self._length, self._length)
        self._position_rows = self._add("Expand", self._add("Cast", row, to=TensorProto.INT32), shape)

    def _read_rows(self) -> None:
        """Which tokens are read at last: the mark before each label and the first token of each word."""
        marked = self._add("Equal", "input_ids", self._scalar(self._parts.class_token))
        present = self._add("Greater", "attention_mask", self._scalar(0))
        is_label = self._add("Cast", self._add("And", marked, present), to=TensorProto.INT64)
        numbers = self._add("Mul", is_label, self._add("CumSum", is_label, self._scalar(1)))
        self._labels = self._add("Reshape", self._add("ReduceMax", numbers, keepdims=0), self._constant([1]))
        self._words = self._add("Reshape", self._add("ReduceMax", "text_lengths", keepdims=0), self._constant([1]))
        begins = self._unsqueeze(self._add("Mul", self._range(self._batch), self._length), 1)
        places = [self._places(numbers, self._labels), self._places("words_mask", self._words)]
        flat = self._constant([-1])
        rows = [self._add("Reshape", self._add("Add", place, begins), flat) for place in places]
        self._read = self._add("Concat", *rows, axis=0)
        place = self._add("Concat", *(self._add("Reshape", place, flat) for place in places), axis=0)
        there = self._add("Cast", self._add("Greater", place, self._scalar(0)), to=TensorProto.FLOAT)
        self._there = self._unsqueeze(there, 1)
        self._label_count = self._add("Mul", self._batch, self._labels)

    def _places(self, numbers: str, count: str) -> str:
        """[batch, count]: the token of each text at which `numbers` is 1, 2, .. `count`; 0 if nowhere."""
        empty = self._shape(self._batch, self._add("Add", count, self._constant([1])))
        zeros = self._add("ConstantOfShape", empty, value=numpy_helper.from_array(np.array([0], np.int64)))
        tokens = self._add("Expand", self._range(self._length), self._shape(self._batch, self._length))
        found = self._add("ScatterElements", zeros, numbers, tokens, axis=1)
        return self._slice(found, 1, END, axis=1)

    def _embed(self) -> str:
        """[batch x tokens, hidden]."""
        tokens = self._add("Reshape", "input_ids", self._constant([-1]))
        table, norm = self._parts.embeddings, self._parts.embeddings_norm
        if self._quantize:
            scale = np.maximum(np.abs(table).max(1, keepdims=True) / 127, np.finfo(np.float32).tiny).astype(np.float32)
            rows = self._add("Gather", self._constant(np.round(table / scale).astype(np.int8)), tokens)
            scales = self._add("Gather", self._constant(scale), tokens)
            x = self._add("Mul", self._add("Cast", rows, to=TensorProto.FLOAT), scales)
        elif self._half_embeddings:
            rows = self._add("Gather", self._constant(table.astype(np.float16)), tokens)
            x = self._add("Cast", rows, to=TensorProto.FLOAT)
        else:
            x = self._add("Gather", self._constant(table), tokens)
        weight, bias = self._constant(norm.weight), self._constant(norm.bias)
        return self._add("LayerNormalization", x, weight, bias, epsilon=norm.epsilon)

    def _layer(self, layer: Layer, x: str, *, last: bool) -> str:
        context = self._attention(layer, x)
        if last:
            context, x = (self._add("Gather", rows, self._read) for rows in (context, x))
        x = self._residual(context, layer.output, x, layer.attention_norm)
        if self._quantize:
            up = self._add("Gelu", self._linear(x, layer.up), domain=CONTRIB)
        else:
            product = self._add("MatMul", x, self._constant(layer.up.weight))
            up = self._add("BiasGelu", product, self._constant(layer.up.bias), domain=CONTRIB)
        return self._residual(up, layer.down, x, layer.norm)

    def _attention(self, layer: Layer, x: str) -> str:
        """DeBERTa's disentangled attention: what is where, what looks where, and where is looked at by what."""
        heads, head = self._parts.heads, self._head
        scale = np.float32(1 / np.sqrt(3 * head))
        weight = np.concatenate([layer.query.weight * scale, layer.key.weight, layer.value.weight], 1)
        bias = np.concatenate([layer.query.bias * scale, layer.key.bias, layer.value.bias])
        joined = self._add(
            "Reshape", self._linear(x, Linear(weight, bias)), self._shape(self._batch, self._length, 3, heads, head)
        )
        by_head = self._add("Transpose", joined, perm=[2, 0, 3, 1, 4])
        query, key, value = (self._add("Gather", by_head, self._scalar(index), axis=0) for index in range(3))
        keys, queries = self._position_table(layer.position_key), self._position_table(layer.position_query * scale)
        looks = self._add("FusedMatMul", query, keys, domain=CONTRIB, transB=1)
        looked_at = self._add("FusedMatMul", queries, key, domain=CONTRIB, transB=1)
        position = self._add(
            "Add",
            self._add("GatherElements", looks, self._position_rows, axis=3),
            self._add("GatherElements", looked_at, self._position_rows, axis=2),
        )
        queries = self._add("Transpose", query, perm=[0, 2, 1, 3])
        queries = self._add("Reshape", queries, self._shape(self._batch, self._length, self._hidden))
        context = self._add(
            "MultiHeadAttention", queries, key, value, "", self._key_mask, position,
            domain=CONTRIB, num_heads=heads, scale=1.0,
        )  # fmt: skip
        return self._add("Reshape", context, self._constant([-1, self._hidden]))

    def _position_table(self, table: Array) -> str:
        """[heads, rows in use, head size]."""
        by_head = table.reshape(-1, self._parts.heads, self._head).transpose(1, 0, 2)
        return self._add("Slice", self._constant(by_head), self._lowest, self._behind_highest, self._constant([1]))

    def _residual(self, x: str, linear: Linear, skipped: str, norm: Norm) -> str:
        """The norm of `linear(x) + skipped`."""
        weight, shift, bias = map(self._constant, (norm.weight, norm.bias, linear.bias))
        product = self._product(x, linear.weight)
        inputs = (product, skipped, weight, shift, bias)
        return self._add("SkipLayerNormalization", *inputs, domain=CONTRIB, epsilon=norm.epsilon)

    def _spans(self, x: str) -> None:
        """From the tokens that are read to `logits`."""
        parts = self._parts
        if parts.projection is not None:
            x = self._linear(x, parts.projection)
        # A word that left no token, and a label that another text of the batch does not have, are nothing but zeros.
        x = self._add("Mul", x, self._there)
        zero = self._constant([0])
        labels = self._add("Slice", x, zero, self._label_count, zero)
        words = self._add("Slice", x, self._label_count, self._constant([END]), zero)
        starts, ends = self._starts_and_ends(self._lstm(words))
        second, inner = parts.span.second, parts.start.second.weight.shape[1]
        label = self._add("Reshape", self._mlp(labels, parts.label), self._shape(self._batch, self._labels, inner))
        keys = self._add("MatMul", label, self._constant(second.weight.T))
        keys = self._add("Transpose", keys, perm=[0, 2, 1])
        constant = self._add("Unsqueeze", self._add("MatMul", label, self._constant(second.bias)), self._constant([1]))
        scores = []
        # One width at a time: what is worked on stays in the processor's cache.
        for width in range(parts.max_width):
            stop = self._add("Add", self._words, self._constant([width]))
            shifted = self._add("Slice", ends, self._constant([width]), stop, self._constant([1]))
            spans = self._add("Relu", self._add("Add", starts, shifted))
            scores.append(self._add("Add", self._add("MatMul", spans, keys), constant))
        shape = self._shape(self._batch, self._words, parts.max_width, self._labels)
        joined = self._add("Concat", *scores, axis=2)
        self._nodes.append(helper.make_node("Reshape", [joined, shape], ["logits"]))

    def _lstm(self, words: str) -> str:
        """[batch x words, 2 x hidden]."""
        lstm = self._parts.lstm
        size = lstm.recurrence.shape[2]
        by_text = self._add("Reshape", words, self._shape(self._batch, self._words, lstm.weight.shape[2]))
        lengths = self._add("Reshape", "text_lengths", self._constant([-1]))
        states = self._add(
            "LSTM",
            self._add("Transpose", by_text, perm=[1, 0, 2]),
            *map(self._constant, (lstm.weight, lstm.recurrence, lstm.bias)),
            self._add("Cast", lengths, to=TensorProto.INT32),
            direction="bidirectional",
            hidden_size=size,
        )
        return self._add("Reshape", self._add("Transpose", states, perm=[2, 0, 1, 3]), self._constant([-1, 2 * size]))

    def _starts_and_ends(self, states: str) -> tuple[str, str]:
        """What a word adds to a span that begins, and to one that ends, with it: [batch, words (and more), wide]."""
        parts, first = self._parts, self._parts.span.first
        inner, wide = parts.start.second.weight.shape[1], first.weight.shape[1]
        starts = self._add("Relu", self._mlp(states, parts.start))
        starts = self._linear(starts, Linear(first.weight[:inner], first.bias))
        ends = self._product(self._add("Relu", self._mlp(states, parts.end)), first.weight[inner:])
        starts, ends = (self._add("Reshape", x, self._shape(self._batch, self._words, wide)) for x in (starts, ends))
        behind = self._add("ConstantOfShape", self._shape(self._batch, parts.max_width - 1, wide))
        return starts, self._add("Concat", ends, behind, axis=1)

    def _mlp(self, x: str, mlp: Mlp) -> str:
        return self._linear(self._add("Relu", self._linear(x, mlp.first)), mlp.second)

    def _linear(self, x: str, linear: Linear) -> str:
        """`x` is [rows, in]."""
        if self._quantize:
            return self._quantized(x, linear.weight, linear.bias)
        return self._add("Gemm", x, self._constant(linear.weight), self._constant(linear.bias))

    def _product(self, x: str, weight: Array) -> str:
        return self._quantized(x, weight) if self._quantize else self._add("MatMul", x, self._constant(weight))

    def _quantized(self, x: str, weight: Array, *bias: Array) -> str:
        scale = np.maximum(np.abs(weight).max(0) / LARGEST_WEIGHT, np.finfo(np.float32).tiny).astype(np.float32)
        inputs = (np.round(weight / scale).astype(np.int8), scale, np.zeros(len(scale), np.int8), *bias)
        return self._add("DynamicQuantizeMatMul", x, *map(self._constant, inputs), domain=CONTRIB)

    def _range(self, stop: str) -> str:
        return self._add("Range", self._scalar(0), self._add("Squeeze", stop), self._scalar(1))

    def _slice(self, x: str, start: int, stop: int, axis: int) -> str:
        return self._add("Slice", x, self._constant([start]), self._constant([stop]), self._constant([axis]))

    def _unsqueeze(self, x: str, axis: int) -> str:
        return self._add("Unsqueeze", x, self._constant([axis]))

    def _shape(self, *parts: str | int) -> str:
        """A shape of numbers and of tensors with one element."""
        names = [part if isinstance(part, str) else self._constant([part]) for part in parts]
        return self._add("Concat", *names, axis=0)

    def _scalar(self, value: int) -> str:
        return self._constant(np.array(value, np.int64))

    def _constant(self, value: Array | Sequence[int]) -> str:
        array = value if isinstance(value, np.ndarray) else np.array(value, np.int64)
        name = f"constant_{len(self._initializers)}"
        self._initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def _add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name, domain=domain, **attributes))
        return name
