"""A GLiNER written anew from its parts: the same function of the same inputs, in far fewer operations.

`span_idx` and `span_mask` stay inputs, so that whatever feeds the exported model can feed this one, but are not read:
spans are those of 1 to `max_width` words from each word, in that order, as the `gliner` package asks for them. The
logits of spans that end behind their text mean nothing, in either model.
"""

from onnx import ModelProto, TensorProto, helper

from common.settings import Precision
from functions.extract.graph.parts import BertEncoder, Gliner
from functions.extract.graph.write.bert import BertBlock
from functions.extract.graph.write.builder import Builder
from functions.extract.graph.write.deberta import DebertaBlock
from functions.extract.graph.write.embeddings import embeddings
from functions.extract.graph.write.span_head import SpanHeadBlock


def write(parts: Gliner, precision: Precision) -> ModelProto:
    """Exact, unless `precision` stores the embeddings in fewer bits and (int8) multiplies in 8 bits."""
    builder = Builder(quantize=precision == "int8")
    encoder = (
        BertBlock(builder, parts.encoder)
        if isinstance(parts.encoder, BertEncoder)
        else DebertaBlock(builder, parts.encoder)
    )
    head = SpanHeadBlock(builder, parts.head, parts.class_token)
    head.logits(encoder.vectors(embeddings(builder, parts.embeddings, precision), only=head.rows))
    info = helper.make_tensor_value_info
    inputs = [
        *(info(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("input_ids", "attention_mask", "words_mask")),
        info("text_lengths", TensorProto.INT64, ["batch", 1]),
        info("span_idx", TensorProto.INT64, ["batch", "spans", 2]),
        info("span_mask", TensorProto.BOOL, ["batch", "spans"]),
    ]
    return builder.model(inputs, info("logits", TensorProto.FLOAT, ["batch", "words", parts.head.max_width, "labels"]))
