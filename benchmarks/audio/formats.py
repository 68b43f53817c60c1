"""Each format of POST /audio behind the MP3 that it is made of, and what it is.

    python -m benchmarks.audio.formats [--rounds 5] [--texts 10]

The cloud is the test suite's double, which sends sound eight times as fast as it plays. Formats are asked for in turns,
each for a new text, and then once more, when the recording is kept. The first sound is there with the piece up to which
FFmpeg's libraries decode a sample. A figure is the median over the rounds, in each of which it is a median as well; it
counts from when the cloud sent its first sound, or, for a kept recording, from the request.
"""

import argparse
import io
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

import av
import httpx

from benchmarks.audio.client import VOICE, short
from benchmarks.audio.cloud import OPENING, Cloud
from benchmarks.audio.sides import OURS, running
from benchmarks.harness.folders import save
from benchmarks.harness.machine import cpu
from benchmarks.harness.service import stop_cleanly
from benchmarks.harness.statistics import in_turns, medians, percentile
from benchmarks.harness.table import table
from functions.audio.formats import MP3, PCM, SOUNDS, Format
from functions.audio.pieces import SAMPLE_RATE

HANDSHAKE_SECONDS, PACE = 0.2, 8.0
WARM_UPS = 3
MOST_BEHIND_MS = 30
FIGURES = ("first_byte", "first_sound", "kept")


@dataclass(frozen=True)
class Heard:
    """The pieces of an answer, each with when it came (`time.monotonic`)."""

    sent: float
    pieces: list[tuple[float, bytes]]

    @property
    def sound(self) -> bytes:
        return b"".join(piece for _, piece in self.pieces)

    def first_sound(self, wanted: Format) -> float:
        prefix = b""
        for at, piece in self.pieces:
            prefix += piece
            if _samples(prefix, wanted):
                return at
        raise ValueError(f"{wanted.name}: there is no sound in it")


def ask(client: httpx.Client, text: str, wanted: Format) -> Heard:
    sent, pieces = time.monotonic(), []
    wish = {"text": text, "voice": VOICE}
    with client.stream("POST", "/audio", json=wish, headers={"Accept": wanted.media_type}) as response:
        response.raise_for_status()
        for piece in response.iter_raw():
            pieces.append((time.monotonic(), piece))
    return Heard(sent, pieces)


def probed(sound: bytes, wanted: Format) -> list[object]:
    """What ffprobe would say: container, codec, channels, rate, seconds and kbit/s, of what can be decoded."""
    with _opened(sound, wanted) as container:
        stream = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(stream))
        seconds = samples / stream.rate
        kind = [container.format.name, stream.codec_context.name, stream.layout.name, stream.rate]
    return [*kind, f"{seconds:.3f}", f"{len(sound) * 8 / seconds / 1000:.0f}"]


def _samples(sound: bytes, wanted: Format) -> int:
    """How many can be decoded first; 0 where nothing can be."""
    # What is cut in the middle cannot be opened, or not yet.
    with suppress(av.FFmpegError, EOFError), _opened(sound, wanted) as container:
        return next((frame.samples for frame in container.decode(audio=0)), 0)
    return 0


def _opened(sound: bytes, wanted: Format) -> "av.container.InputContainer":
    told = {"sample_rate": str(SAMPLE_RATE), "ch_layout": "mono"}
    if wanted is PCM:
        return av.open(io.BytesIO(sound), "r", format="s16le", options=told)
    return av.open(io.BytesIO(sound), "r")


def measure(rounds: int, texts: int) -> tuple[dict[str, dict[str, float | None]], dict[str, bytes], object]:
    """Medians of each format in seconds, a recording in each, and the raw figures."""
    numbers = count(1)
    found: list[dict[str, dict[str, list[float]]]] = []
    samples: dict[str, bytes] = {}
    with (
        Cloud(handshake_seconds=HANDSHAKE_SECONDS, pace=PACE) as cloud,
        running(OURS, cloud.url, log_suffix="-formats") as service,
        httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=60, trust_env=False) as client,
    ):
        for wanted in [*SOUNDS.values()] * WARM_UPS:
            ask(client, short(next(numbers)), wanted)
        for number in range(rounds):
            figures: dict[str, dict[str, list[float]]] = {name: {key: [] for key in FIGURES} for name in SOUNDS}
            for _ in range(texts):
                for name, wanted in in_turns(SOUNDS.items(), number):
                    text = short(next(numbers))
                    heard = ask(client, text, wanted)
                    begun = cloud.tell(forget=True).first_sent_at[text[:OPENING]]
                    again = ask(client, text, wanted)
                    figures[name]["first_byte"].append(heard.pieces[0][0] - begun)
                    figures[name]["first_sound"].append(heard.first_sound(wanted) - begun)
                    figures[name]["kept"].append(again.pieces[0][0] - again.sent)
                    samples[name] = heard.sound
            found.append(figures)
            print(f"round {number + 1} of {rounds} is done", file=sys.stderr)
    columns = {
        name: medians([{key: percentile(values, 0.5) for key, values in figures[name].items()} for figures in found])
        for name in SOUNDS
    }
    return columns, samples, found


def rows(columns: Mapping[str, Mapping[str, float | None]]) -> list[list[object]]:
    """In milliseconds, each with how far it is behind the MP3's."""
    made = []
    for name, figures in columns.items():
        row: list[object] = [name]
        for key in FIGURES:
            value, base = 1000 * (figures[key] or 0), 1000 * (columns[MP3.name][key] or 0)
            row += [f"{value:.1f}", f"{value - base:+.1f}"]
        made.append(row)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Each format of POST /audio behind the MP3 that it is made of.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=10, help="of each format in a round")
    options = parser.parse_args()
    stop_cleanly()
    columns, samples, raw = measure(options.rounds, options.texts)
    print(f"{cpu()}\n")
    titles = ["ms", "first byte", "behind", "first sound", "behind", "kept: first byte", "behind"]
    print(table(titles, rows(columns)))
    late = [
        name
        for name, figures in columns.items()
        if 1000 * ((figures["first_sound"] or 0) - (columns[MP3.name]["first_sound"] or 0)) > MOST_BEHIND_MS
    ]
    print(f"\n- first sound at most {MOST_BEHIND_MS} ms behind: {'MISSED by ' + ', '.join(late) if late else 'met'}\n")
    probes = [[name, *probed(sound, SOUNDS[name])] for name, sound in samples.items()]
    print(table(["", "container", "codec", "channels", "Hz", "s", "kbit/s"], probes, texts=4))
    print(f"\nraw figures: {save('audio-formats', raw)}")


if __name__ == "__main__":
    main()
