"""16-bit numbers become 32-bit ones: weights, and what is computed of them."""

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from functions.extract.graph.normal.flat import Flat, subgraphs

HALF = {TensorProto.FLOAT16, TensorProto.BFLOAT16}


def widen(graph: Flat) -> bool:
    """Whether the graph had any such number that is no stored weight: then it computes with fewer bits than this one.

    A weight that is stored in 16 bits and cast to 32 gives the same numbers, widened or not.
    """
    for name, value in graph.constants.items():
        if isinstance(value, np.ndarray) and value.dtype == np.float16:
            graph.constants[name] = value.astype(np.float32)
        elif isinstance(value, TensorProto) and value.data_type in HALF:
            graph.constants[name] = numpy_helper.to_array(value).astype(np.float32)
    for value_info in [*graph.inputs, *graph.outputs]:
        if value_info.type.tensor_type.elem_type in HALF:
            value_info.type.tensor_type.elem_type = TensorProto.FLOAT
    # A list, since every node is to be widened.
    return any([_widen(node) for node in graph.nodes])


def _widen(node: NodeProto) -> bool:
    """Whether the node makes 16-bit numbers of others."""
    found = False
    for attribute in node.attribute:
        if attribute.name in ("to", "dtype", "output_dtype") and attribute.i in HALF:
            attribute.i = TensorProto.FLOAT
            found = True
        if attribute.t.data_type in HALF:
            _widen_tensor(attribute.t)
    for graph in subgraphs(node):
        for tensor in graph.initializer:
            if tensor.data_type in HALF:
                _widen_tensor(tensor)
        for value in [*graph.input, *graph.output, *graph.value_info]:
            if value.type.tensor_type.elem_type in HALF:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        found = any([_widen(inner) for inner in graph.node]) or found
    return found


def _widen_tensor(tensor: TensorProto) -> None:
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
