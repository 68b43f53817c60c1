"""Brings any export to one form, in which `read.py` finds the parts.

Each pass makes another graph of the same function: local functions are written out, 16-bit numbers widened, fused and
quantised operators spelled as the plain ones, constants evaluated, and layer normalisations found by onnxruntime.
"""

from dataclasses import dataclass

from onnx import ModelProto

from functions.extract.graph.normal.flat import Flat, flat
from functions.extract.graph.normal.fold import fold
from functions.extract.graph.normal.fuse import fuse
from functions.extract.graph.normal.scale import scale_weights
from functions.extract.graph.normal.spell import spell
from functions.extract.graph.normal.widen import widen


@dataclass(frozen=True)
class Normal:
    """`halved`, `quantised`: the export computes in 16 or in 8 bits, so that this graph gives other numbers."""

    graph: Flat
    halved: bool
    quantised: bool


def normal(model: ModelProto) -> Normal:
    graph = flat(model)
    del model
    halved = widen(graph)
    # Weights have to be constants before it is known which operators stand for what is quantised at every call.
    fold(graph)
    quantised = spell(graph)
    fold(graph)
    scale_weights(graph)
    graph = fuse(graph)
    spell(graph)
    fold(graph)
    return Normal(graph, halved, quantised)
