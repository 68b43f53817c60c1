"""Write the deployable folder: `python -m training.gliner_news.export ENCODER WEIGHTS.pt [OUT]`.

model.onnx is made by gliner's own exporter; its large weights are then stored in 8 bits a number with a scale for each
row (a column, where they are multiplied from the right). Whatever loads the file widens them once: the arithmetic is
that of floats, so texts do not disturb each other in a batch.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from training.gliner_news.model import build
from training.gliner_news.tokenizer import cased
from training.gliner_small.export import export as export_files

LARGE = 4096
LARGEST = 127


def narrowed(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with its large matrices in 8 bits; weights of an LSTM are kept in 16."""
    graph = model.graph
    users = {name: node for node in graph.node for name in node.input}
    tensors, nodes = [], []
    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or value.size < LARGE or tensor.name not in users:
            tensors.append(tensor)
            continue
        name, user = tensor.name, users[tensor.name]
        small, wide = f"{name}.narrow", f"{name}.wide"
        cast = {"to": TensorProto.FLOAT}
        if user.op_type == "LSTM":
            tensors.append(numpy_helper.from_array(value.astype(np.float16), small))
            nodes.append(helper.make_node("Cast", [small], [name], f"{name}.widen", **cast))
            continue
        axis = value.ndim - 1 if user.op_type == "Gather" else value.ndim - 2
        scale = np.maximum(np.abs(value).max(axis, keepdims=True) / LARGEST, np.finfo(np.float32).tiny)
        tensors += [
            numpy_helper.from_array(np.round(value / scale).astype(np.int8), small),
            numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale"),
        ]
        nodes += [
            helper.make_node("Cast", [small], [wide], f"{name}.widen", **cast),
            helper.make_node("Mul", [wide, f"{name}.scale"], [name], f"{name}.rescale"),
        ]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def export(gliner: Any, folder: Path) -> None:
    """Export `gliner` (in eval mode) to `folder`; other files there are left alone."""
    export_files(gliner, folder)
    onnx.save_model(narrowed(onnx.load(str(folder / "model.onnx"))), str(folder / "model.onnx"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path, help="the folder of all-MiniLM-L6-v2")
    parser.add_argument("weights", type=Path, help="averaged.pt, as train.py writes it")
    parser.add_argument("output", type=Path, nargs="?", default=Path("models/embedded/gliner"))
    options = parser.parse_args()
    gliner = build(cased(options.encoder), options.encoder, seed=0)
    gliner.model.load_state_dict(torch.load(options.weights, weights_only=True))
    export(gliner, options.output)


if __name__ == "__main__":
    main()
