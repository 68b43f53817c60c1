"""How the voices that need no cloud sound, as a picture: the first seconds of the same sentence by each.

    python -m benchmarks.audio.picture docs/audio-voices.svg

Prints a table with the length of the whole sentence and how loud it is.
"""

import argparse
import asyncio
import base64
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness.table import table
from common.errors import ModelLoadFailed
from functions.audio.espeak import EspeakSpeech
from functions.audio.piper import PiperSpeech
from functions.audio.piper_loading import preloaded, voices
from functions.audio.schemas import AudioRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TEXT = "The council met on Tuesday and voted for a new library near the old harbour."
SHOWN_SECONDS = 3.0
# Of the short-time Fourier transform at 24 kHz: 21 ms, and a column every 10 ms.
WINDOW, STEP = 512, 240
HIGHEST_HERTZ, QUIETEST_DECIBELS = 8000, -70.0
# So many shades compress well.
SHADES = 24
# From silence to loud.
COLOURS = [(12, 8, 38), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)]
WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 190, 56, 30, 44
LOADING_SECONDS = 60.0


async def spoken(engine: EspeakSpeech | PiperSpeech) -> bytes:
    pieces = engine.stream(AudioRequest(text=TEXT), time.monotonic() + LOADING_SECONDS)
    return b"".join([piece async for piece in pieces if isinstance(piece, bytes)])


def decoded(recording: bytes) -> "tuple[NDArray[np.float32], int]":
    """Samples from -1 to 1, and their rate."""
    import av
    import numpy as np

    with av.open(io.BytesIO(recording), "r") as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        return np.concatenate(frames).astype(np.float32), container.streams.audio[0].rate


def spectrogram(samples: "NDArray[np.float32]", rate: int) -> "NDArray[np.uint8]":
    """Rows from high to low, columns in time; red, green and blue."""
    import numpy as np

    columns = np.lib.stride_tricks.sliding_window_view(samples[: int(SHOWN_SECONDS * rate)], WINDOW)[::STEP]
    power = np.abs(np.fft.rfft(columns * np.hanning(WINDOW), axis=1)) / (WINDOW / 4)
    power = power[:, : round(HIGHEST_HERTZ * WINDOW / rate)].T[::-1]
    level = np.clip(1 - 20 * np.log10(np.maximum(power, 1e-9)) / QUIETEST_DECIBELS, 0, 1)
    level = np.round(level * SHADES) / SHADES
    places = np.linspace(0, 1, len(COLOURS))
    return np.stack([np.interp(level, places, [colour[at] for colour in COLOURS]) for at in range(3)], -1).astype("u1")


def png(pixels: "NDArray[np.uint8]") -> bytes:
    import av

    context = av.CodecContext.create("png", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.height, context.width = pixels.shape[:2]
    context.pix_fmt = "rgb24"
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def drawn(panels: "list[tuple[str, NDArray[np.uint8]]]") -> str:
    whole = len(panels) * (HEIGHT + GAP) + TOP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 16} {whole}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for number, (title, pixels) in enumerate(panels):
        top = TOP + number * (HEIGHT + GAP)
        image = base64.b64encode(png(pixels)).decode()
        lines += [
            f'<text x="{LEFT}" y="{top - 8}" fill="#222">{title}</text>',
            f'<image x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" preserveAspectRatio="none" '
            f'href="data:image/png;base64,{image}"/>',
            *(
                f'<text x="{LEFT - 6}" y="{top + HEIGHT * (1 - hertz / HIGHEST_HERTZ) + 5}" text-anchor="end" '
                f'fill="#555">{hertz // 1000} kHz</text>'
                for hertz in range(0, HIGHEST_HERTZ + 1, 2000)
            ),
            *(
                f'<text x="{LEFT + WIDTH * second / SHOWN_SECONDS}" y="{top + HEIGHT + 16}" text-anchor="middle" '
                f'fill="#555">{second} s</text>'
                for second in range(int(SHOWN_SECONDS) + 1)
            ),
        ]
    return "\n".join([*lines, "</svg>\n"])


async def recordings() -> dict[str, bytes]:
    from common.settings import get_settings

    for voice in preloaded(get_settings().audio):
        model = voices.start(voice)
        until = time.monotonic() + LOADING_SECONDS
        while model.loaded is None and time.monotonic() < until:
            if model.status.state == "failed":
                raise ModelLoadFailed(model.status.detail)
            await asyncio.sleep(0.1)
    request = AudioRequest(text=TEXT)
    sounds = [(engine, await spoken(engine)) for engine in (EspeakSpeech(), PiperSpeech())]
    return {engine.voice(request): sound for engine, sound in sounds}


def main() -> None:
    import numpy as np

    parser = argparse.ArgumentParser(description="Spectrograms of the voices that need no cloud.")
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    rows, panels = [], []
    for name, recording in asyncio.run(recordings()).items():
        samples, rate = decoded(recording)
        loud = 20 * np.log10(np.sqrt(np.mean(samples**2)))
        rows.append([name, f"{len(samples) / rate:.2f}", f"{loud:.1f}"])
        panels.append((f"{name}: “{TEXT}”", spectrogram(samples, rate)))
    options.picture.write_text(drawn(panels), encoding="utf-8")
    print(table(["voice", "seconds", "RMS, dB of full scale"], rows))


if __name__ == "__main__":
    main()
