"""A Piper voice (VITS) on onnxruntime, cut in two: what it says is decided for a sentence, its sound is made by pieces.

    phoneme ids ──> encoder: text, durations, flow ──> latent frames ──> decoder: HiFi-GAN ──> samples

The decoder is a stack of convolutions. A piece of its input, with as many frames on both sides as it can see, gives the
same samples as the whole does. So the first sound does not wait for the sentence, a listener who leaves ends the work
within it, others have their turn, and memory is bounded. The frames of each phoneme are a tensor of the model as well:
from them come the times of words.

Sources: Kim et al. 2021 (VITS), Kong et al. 2020 (HiFi-GAN).
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import ModelLoadFailed

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

# Frames of the first pieces of a sentence, then of all others: at 86 frames a second the first is 0.4 s.
PIECE_FRAMES = (32, 64, 128)
# About what a phoneme id and a piece take to compute, for the queue, which then charges what they took.
SECONDS_PER_ID, SECONDS_PER_PIECE = 0.0005, 0.1
# Voices differ in how loud they are. All speak at this mean level of 1, unless that would overdrive them.
LEVEL, MOST_GAIN, QUIET = 0.1, 4.0, 0.001
ROUNDED_UP, SHORTEST = 0.5, 0.02


@dataclass(frozen=True)
class Latent:
    """A sentence before it is sound: `frames` (1, channels, time), `id_seconds` how long each phoneme id is heard."""

    frames: "NDArray[np.float32]"
    id_seconds: list[float]
    conditions: "dict[str, NDArray[np.float32]]"

    @property
    def length(self) -> int:
        length: int = self.frames.shape[2]
        return length


class PiperModel:
    """One voice. Its methods are for one thread at a time."""

    def __init__(self, model: Path, config: Path, threads: int, speaker: int | None = None) -> None:
        """Raises ModelLoadFailed where the file is no such model."""
        import onnx
        import onnxruntime

        with _told(model.name):
            self.config: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
            self.sample_rate = int(self.config["audio"]["sample_rate"])
            self._speaker = speaker if int(self.config["num_speakers"]) > 1 else None
            inference = self.config["inference"]
            self._scales = [float(inference[name]) for name in ("noise_scale", "length_scale", "noise_w")]
            encoder, decoder, self._names = _cut(onnx.load(str(model)))
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            # A thread that spins between two operators takes its core from whoever else computes.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            # Sentences differ in length: what the longest took would be kept.
            options.enable_cpu_mem_arena = False
            self._encoder, self._decoder = (
                onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
                for part in (encoder, decoder)
            )
            self._margin = _margin(decoder)
            self._hop = math.prod(_stride(node) for node in decoder.graph.node if node.op_type == "ConvTranspose")
        # By `gain` samples are to be multiplied.
        self.gain, self._frames_per_id = 1.0, 2.0

    def try_out(self, sentences: Sequence[Sequence[int]]) -> None:
        """Speak these phoneme ids, to know how loud and how fast the voice is by itself. Raises ModelLoadFailed."""
        import numpy as np

        with _told("the voice"):
            latents = [self.encode(ids) for ids in sentences]
            pieces = [piece for latent in latents for piece in self.decode(latent)]
        samples = np.concatenate([*pieces, np.zeros(1, np.float32)])
        loud = np.abs(samples).max()
        if not np.isfinite(loud) or loud < QUIET:
            raise ModelLoadFailed("the voice makes no sound")
        mean = float(np.sqrt(np.mean(samples[np.abs(samples) > QUIET] ** 2)))
        self.gain = min(LEVEL / mean, MOST_GAIN)
        self._frames_per_id = sum(latent.length for latent in latents) / sum(map(len, sentences))

    def encode(self, ids: Sequence[int], speed: float = 1.0) -> Latent:
        """A sentence of phoneme ids, so many times as fast as the voice is by itself, or as fast as it can.

        Each id lasts a frame at least and is rounded up, by half a frame in the mean; the others are shortened for it.
        """
        import numpy as np

        noise, length, noise_w = self._scales
        own = self._frames_per_id - ROUNDED_UP
        length_scale = max(SHORTEST, (self._frames_per_id / speed - ROUNDED_UP) / own)
        feeds = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([noise, length * length_scale, noise_w], np.float32),
        }
        if self._speaker is not None:
            feeds["sid"] = np.array([self._speaker], np.int64)
        wanted = [self._names.latent, self._names.durations, *self._names.conditions]
        frames, durations, *conditions = self._encoder.run(wanted, feeds)
        seconds = (durations.reshape(-1).astype(float) * self._hop / self.sample_rate).tolist()
        return Latent(frames, seconds, dict(zip(self._names.conditions, conditions, strict=True)))

    def decode(self, latent: Latent) -> "Iterator[NDArray[np.float32]]":
        """The samples of a sentence in pieces, -1 to 1; together they are what the model makes of the whole."""
        begin, number = 0, 0
        while begin < latent.length:
            end = min(latent.length, begin + PIECE_FRAMES[min(number, len(PIECE_FRAMES) - 1)])
            first, last = max(0, begin - self._margin), min(latent.length, end + self._margin)
            feeds = {self._names.latent: latent.frames[:, :, first:last], **latent.conditions}
            samples = self._decoder.run(None, feeds)[0].reshape(-1)
            yield samples[(begin - first) * self._hop : (end - first) * self._hop]
            begin, number = end, number + 1


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise ModelLoadFailed(f"{what} is no Piper voice that is understood: {error!r}") from error
    except Exception as error:
        # What onnx and onnxruntime raise on a damaged file has no common base but this.
        raise ModelLoadFailed(f"{what} could not be loaded: {error}") from error


@dataclass(frozen=True)
class _Names:
    """Of the tensors between the two halves."""

    latent: str
    durations: str
    conditions: tuple[str, ...]


def _cut(model: "onnx.ModelProto") -> "tuple[onnx.ModelProto, onnx.ModelProto, _Names]":
    """Encoder and decoder, found by structure: names differ with what exported the model. Raises StopIteration."""
    import onnx
    import onnx.utils

    nodes = model.graph.node
    made_by = {output: node for node in nodes for output in node.output}
    # The decoder begins with a convolution over time, to which that of a speaker's embedding may be added.
    tensor = next(node for node in nodes if node.op_type == "ConvTranspose").input[0]
    conditions: list[str] = []
    while made_by[tensor].op_type != "Conv":
        ways = [name for name in made_by[tensor].input if name in made_by]
        tensor = next(name for name in ways if not _is_pointwise(made_by[name]))
        conditions += [name for name in ways if name != tensor]
    latent = made_by[tensor].input[0]
    durations = next(node for node in nodes if node.op_type == "Ceil").output[0]
    # Not every exporter names the types of what is between two operators, without which there is no cutting there.
    typed = {value.name for value in model.graph.value_info}
    between = [name for name in (latent, durations, *conditions) if name not in typed]
    model.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in between
    )
    extractor = onnx.utils.Extractor(model)
    inputs, outputs = ([value.name for value in values] for values in (model.graph.input, model.graph.output))
    return (
        extractor.extract_model(inputs, [latent, durations, *conditions]),
        extractor.extract_model([latent, *conditions], outputs),
        _Names(latent, durations, tuple(conditions)),
    )


def _is_pointwise(node: "onnx.NodeProto") -> bool:
    return node.op_type == "Conv" and math.prod(_ints(node, "kernel_shape")) == 1


def _margin(decoder: "onnx.ModelProto") -> int:
    """How many frames beside a frame have a say in its samples: the widest way through the convolutions."""
    seen = {value.name: (0.0, 1) for value in decoder.graph.input}
    for node in decoder.graph.node:
        before = [seen[name] for name in node.input if name in seen]
        if not before:
            continue
        reach, scale = max(reach for reach, _ in before), max(scale for _, scale in before)
        if node.op_type == "Conv":
            (kernel,), (dilation,) = _ints(node, "kernel_shape"), _ints(node, "dilations") or (1,)
            reach += (kernel - 1) * dilation / 2 / scale
        elif node.op_type == "ConvTranspose":
            (kernel,) = _ints(node, "kernel_shape")
            reach += kernel / _stride(node) / scale
            scale *= _stride(node)
        seen |= {name: (reach, scale) for name in node.output}
    return math.ceil(max(seen[value.name][0] for value in decoder.graph.output))


def _stride(node: "onnx.NodeProto") -> int:
    return math.prod(_ints(node, "strides"))


def _ints(node: "onnx.NodeProto", name: str) -> tuple[int, ...]:
    return next((tuple(attribute.ints) for attribute in node.attribute if attribute.name == name), ())
