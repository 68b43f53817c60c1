"""Lets onnxruntime find what is spelled out: its optimiser knows the ways to write a layer normalisation."""

import tempfile
from pathlib import Path

import onnx

from functions.extract.graph.normal.flat import Flat, as_model, flat
from functions.extract.runtime import onnxruntime

# They join what the reader knows one by one, or move data about.
NOT_WANTED = [
    "AttentionFusion", "EmbedLayerNormFusion", "SkipLayerNormFusion", "BiasGeluFusion", "MatMulAddFusion",
    "MatMulScaleFusion", "MatmulTransposeFusion", "GemmActivationFusion", "FastGeluFusion", "QuickGeluFusion",
    "BiasSoftmaxFusion", "SimplifiedLayerNormFusion", "TransposeOptimizer", "GeluFusionL2", "GeluFusionL1",
]  # fmt: skip


def fuse(graph: Flat) -> Flat:
    """The graph after onnxruntime's optimiser. It sees the shapes of large weights, and not their numbers."""
    model, large = as_model(graph, graph.nodes, graph.inputs, graph.outputs)
    options = onnxruntime().SessionOptions()
    options.graph_optimization_level = onnxruntime().GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "model.onnx")
        onnxruntime().InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=NOT_WANTED
        )
        optimised = flat(onnx.load(options.optimized_model_filepath))
    used = {name for node in optimised.nodes for name in node.input}
    optimised.constants.update((name, value) for name, value in large.items() if name in used)
    optimised.inputs = graph.inputs
    return optimised
