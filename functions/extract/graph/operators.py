"""What the operators of a graph say about how it may be run."""

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, ModelProto, NodeProto

# They find a scale for the numbers of one call, which are those of all texts of a batch.
SCALES_BY_CALL = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"}


def scales_by_batch(model: ModelProto) -> bool:
    """Whether a text's result depends on the texts beside it: 8-bit activations are scaled by all that a call brings.

    `MatMulIntegerToFloat` and its like are fed by one of these, or by a scale that is always the same.
    """
    return any(node.op_type in SCALES_BY_CALL for node in all_nodes(model))


def all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Those of subgraphs and of local functions as well."""
    yield from _nodes(model.graph.node)
    for function in model.functions:
        yield from _nodes(function.node)


def _nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _nodes(attribute.g.node)
            for graph in attribute.graphs:
                yield from _nodes(graph.node)
