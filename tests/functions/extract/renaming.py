"""Short names for what is in an ONNX graph."""

import onnx


def rename_everything(graph: onnx.GraphProto) -> None:
    """Whatever an exporter called nodes and tensors; inputs and outputs keep their names."""
    outside = {value.name for value in [*graph.input, *graph.output]}
    names: dict[str, str] = {"": ""}

    def renamed(name: str) -> str:
        return name if name in outside else names.setdefault(name, f"x{len(names)}")

    def rename(inner: onnx.GraphProto) -> None:
        for node in inner.node:
            node.name = ""
            node.input[:] = [renamed(name) for name in node.input]
            node.output[:] = [renamed(name) for name in node.output]
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    rename(attribute.g)
                    for value in attribute.g.output:
                        value.name = renamed(value.name)
        for tensor in inner.initializer:
            tensor.name = renamed(tensor.name)
        del inner.value_info[:]

    rename(graph)
