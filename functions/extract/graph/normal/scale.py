"""What multiplies a linear layer's product becomes part of its weights."""

from onnx import NodeProto, TensorProto, helper

from functions.extract.graph.normal.flat import Flat, attribute, prune
from functions.extract.graph.parts import Array


def scale_weights(graph: Flat) -> None:
    """Mul <- (Cast) <- MatMul <- x, weight, where nobody else reads the product."""
    users = graph.users()
    producers = {name: node for node in graph.nodes for name in node.output if name}
    for index, node in enumerate(graph.nodes):
        if node.op_type != "Mul" or (scale := graph.array(node.input[1])) is None:
            continue
        product = _product(node.input[0], producers, users)
        weight = None if product is None else graph.array(product.input[1])
        if product is not None and weight is not None and _fits(scale, weight):
            name = graph.constant(weight * scale.reshape(-1))
            graph.nodes[index] = helper.make_node("MatMul", [product.input[0], name], node.output)
            producers[node.output[0]] = graph.nodes[index]
    prune(graph)


def _product(name: str, producers: dict[str, NodeProto], users: dict[str, int]) -> NodeProto | None:
    while (node := producers.get(name)) is not None and users.get(name) == 1:
        if node.op_type == "MatMul":
            return node
        if node.op_type != "Identity" and (node.op_type != "Cast" or attribute(node, "to", 0) != TensorProto.FLOAT):
            break
        name = node.input[0]
    return None


def _fits(scale: Array, weight: Array) -> bool:
    """One number, or one for each column."""
    return weight.ndim == 2 and scale.size in {1, weight.shape[1]} and scale.shape[-1:] in {(), (1,), (scale.size,)}
