"""Evaluates what does not depend on the input: onnxruntime computes it once."""

from onnx import NodeProto, ValueInfoProto

from functions.extract.graph.normal.flat import Flat, as_model, prune, reads, subgraphs
from functions.extract.runtime import onnxruntime


def fold(graph: Flat) -> None:
    """Every node whose inputs are constants becomes constants."""
    constant, varying = _split(graph)
    if not constant:
        return
    wanted = {name for node in varying for name in reads(node)} | {output.name for output in graph.outputs}
    outputs = [name for node in constant for name in node.output if name in wanted]
    if outputs:
        model, large = as_model(graph, constant, [], [ValueInfoProto(name=name) for name in outputs])
        options = onnxruntime().SessionOptions()
        options.graph_optimization_level = onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        session = onnxruntime().InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        graph.constants.update(zip(outputs, session.run(outputs, large), strict=True))
    graph.nodes = varying
    prune(graph)


def _split(graph: Flat) -> tuple[list[NodeProto], list[NodeProto]]:
    """The nodes that depend on constants only, and the others."""
    known = set(graph.constants)
    constant, varying = [], []
    for node in graph.nodes:
        if known.issuperset(filter(None, node.input)) and not any(True for _ in subgraphs(node)) and any(node.input):
            known.update(node.output)
            constant.append(node)
        else:
            varying.append(node)
    return constant, varying
