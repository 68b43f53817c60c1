"""A Piper voice of random weights, a thousandth of the size: the graph has the parts of a real one, under other names.

    encoder: ids, durations (rounded up, times the length scale), each id's frames so many times
    decoder: convolution of 7 (+ that of 1 of the speaker), transposed convolutions with a dilated one between, tanh

It hums. There is no noise in it, so the same ids are the same samples.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SAMPLE_RATE = 22_050
SYMBOLS, CHANNELS, SPEAKER_CHANNELS = 256, 8, 4
FRAMES_PER_ID = 3.4
# The ids of these are their places; a phoneme of others is left out, as with a real voice.
PHONEMES = (
    "_^$ !'(),-.:;?abcdefhijklmnopqrstuvwxyz\u00e6\u00e7\u00f0\u00f8\u0127\u014b\u0153\u0250\u0251\u0252\u0254\u0259"
    "\u025a\u025b\u025c\u0261\u026a\u0279\u027e\u0280\u0281\u0283\u028a\u028c\u0292\u0294\u02c8\u02cc\u02d0\u03b8"
)


def config(speakers: int = 1, **changed: Any) -> bytes:
    """What is in the file beside it, .onnx.json."""
    values = {
        "audio": {"sample_rate": SAMPLE_RATE, "quality": "x_low"},
        "espeak": {"voice": "en-us"},
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "num_symbols": SYMBOLS,
        "num_speakers": speakers,
        "speaker_id_map": {f"speaker {number}": number for number in range(speakers)} if speakers > 1 else {},
        "phoneme_id_map": {phoneme: [number] for number, phoneme in enumerate(PHONEMES)},
    }
    return json.dumps(values | changed).encode()


def voice(speakers: int = 1, strides: Sequence[int] = (16, 16), loudness: float = 0.1) -> bytes:
    """The model; a frame is as many samples as the product of the strides."""
    return bytes(_Graph().voice(speakers, strides, loudness).SerializeToString())


class _Graph:
    """Nodes and weights as they come; each method that adds an operator answers the name of its output."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def voice(self, speakers: int, strides: Sequence[int], loudness: float) -> onnx.ModelProto:
        frames = self._encoder()
        self._decoder(frames, speakers, strides, loudness)
        inputs = [
            helper.make_tensor_value_info("input", TensorProto.INT64, ["batch", "ids"]),
            helper.make_tensor_value_info("input_lengths", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
        ]
        if speakers > 1:
            inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, ["batch"]))
        outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 1, "samples"])]
        graph = helper.make_graph(self._nodes, "tiny voice", inputs, outputs, self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
        onnx.checker.check_model(model)
        return model

    def _encoder(self) -> str:
        """The frames (batch, channels, time): frame t is that of the id whose durations, added up, hold t."""
        one = self._constant(np.array(1, np.int64))
        length_scale = self._add("Gather", "scales", one)
        own = self._constant(self._random.uniform(0.6, 1.4, SYMBOLS).astype(np.float32) * FRAMES_PER_ID)
        durations = self._add("Ceil", self._add("Mul", self._add("Gather", own, "input"), length_scale))
        ends = self._add("CumSum", durations, one)
        begins = self._add("Sub", ends, durations)
        length = self._add("ReduceMax", ends, keepdims=0)
        time = self._add("Range", self._constant(np.float32(0)), length, self._constant(np.float32(1)))
        time = self._add("Unsqueeze", time, self._constant(np.array([0, 2])))
        after, before = (self._add("Unsqueeze", borders, self._constant(np.array([1]))) for borders in (begins, ends))
        within = self._add("And", self._add("GreaterOrEqual", time, after), self._add("Less", time, before))
        path = self._add("Cast", within, to=TensorProto.FLOAT)
        of_ids = self._add("Gather", self._weight(SYMBOLS, CHANNELS), "input")
        return self._add("Transpose", self._add("MatMul", path, of_ids), perm=[0, 2, 1])

    def _decoder(self, frames: str, speakers: int, strides: Sequence[int], loudness: float) -> None:
        sound = self._conv(frames, CHANNELS, CHANNELS, 7)
        if speakers > 1:
            who = self._add("Gather", self._weight(speakers, SPEAKER_CHANNELS), "sid")
            who = self._add("Unsqueeze", who, self._constant(np.array([2])))
            sound = self._add("Add", sound, self._conv(who, SPEAKER_CHANNELS, CHANNELS, 1))
        for stride in strides:
            sound = self._add("LeakyRelu", sound, alpha=0.1)
            weights = self._weight(CHANNELS, CHANNELS, 2 * stride)
            pad = stride // 2
            sound = self._add(
                "ConvTranspose", sound, weights, kernel_shape=[2 * stride], strides=[stride], pads=[pad, stride - pad]
            )
            beside = self._conv(self._add("LeakyRelu", sound, alpha=0.1), CHANNELS, CHANNELS, 3, dilation=3)
            sound = self._add("Add", sound, beside)
        sound = self._conv(self._add("LeakyRelu", sound, alpha=0.01), CHANNELS, 1, 7)
        loud = self._add("Mul", sound, self._constant(np.float32(loudness)))
        self._nodes.append(helper.make_node("Tanh", [loud], ["output"]))

    def _conv(self, sound: str, before: int, after: int, kernel: int, dilation: int = 1) -> str:
        pad = (kernel - 1) * dilation // 2
        weights = self._weight(after, before, kernel)
        return self._add("Conv", sound, weights, kernel_shape=[kernel], dilations=[dilation], pads=[pad, pad])

    def _weight(self, *shape: int) -> str:
        return self._constant(self._random.normal(0, 0.3, shape).astype(np.float32))

    def _constant(self, value: "NDArray[Any] | np.float32") -> str:
        name = f"weight.{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"tensor.{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name
