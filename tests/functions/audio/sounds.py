"""Recordings as their samples, by FFmpeg's libraries."""

import io
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

RATE = 24_000


@dataclass(frozen=True)
class Sound:
    """`samples` from -1 to 1; `kind` is the container and the codec as FFmpeg names them."""

    kind: str
    rate: int
    channels: int
    samples: NDArray[np.float32]

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def decoded(recording: bytes, name: str = "mp3") -> Sound:
    """`name` is that of a format; pcm has no header that would tell it."""
    options: dict[str, Any] = {}
    if name == "pcm":
        options = {"format": "s16le", "options": {"sample_rate": str(RATE), "ch_layout": "mono"}}
    with av.open(io.BytesIO(recording), "r", **options) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("flt", "mono")
        frames = [made for frame in container.decode(stream) for made in resampler.resample(frame)]
        kind = f"{container.format.name} {stream.codec_context.name}"
        samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        return Sound(kind, stream.rate, stream.channels, samples)
