"""espeak-ng, the voice that needs no cloud (GPL-3, as a library that may be absent).

The library reads strangers' text and has a record of memory errors, so it speaks in a process of its own
(confined_process.py). Its sound is encoded here, on one thread: a sentence or two of one recording, then of another.
"""

import atexit
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, ClassVar, Literal

from common.cache import SharedRun
from common.worker import Worker
from functions.audio.catalogue import catalogue
from functions.audio.confined_process import CannotSpeak
from functions.audio.errors import SpeechFailed
from functions.audio.espeak_child import EVENT_WORD, SAMPLE_RATE
from functions.audio.espeak_process import Event, Manner, Sound, Speakers
from functions.audio.pieces import Piece, Word
from functions.audio.recorder import Recorder, encoder, recorded
from functions.audio.schemas import AudioRequest

# What is said before another recording's turn comes: a sentence or two, some 10 s of speech, which take 50 ms to make.
# A sentence is cut only if it is longer than a minute.
PART_BYTES, MAX_PART_BYTES = 150, 1000
# About what a part takes to speak and to encode.
SECONDS_PER_BYTE = 0.0004

NORMAL_WORDS_PER_MINUTE = 175
SLOWEST_WORDS_PER_MINUTE = 80
NORMAL_VOLUME = 100
NORMAL_PITCH = 50

speakers = Speakers(lambda: _paths())
atexit.register(speakers.end)
_thread = Worker("espeak-ng")


class EspeakSpeech:
    """Speaks with espeak-ng: 24 kHz, 48 kbit/s, mono MP3."""

    name: ClassVar[Literal["espeak-ng"]] = "espeak-ng"

    def voice(self, request: AudioRequest) -> str:
        return f"espeak-ng:{catalogue[request.voice].espeak}"

    async def stream(
        self, request: AudioRequest, _first_by: float, making: SharedRun[Any] | None = None
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of one recording while it is spoken, a sound first; raises SpeechFailed."""
        parts = await request.parts(PART_BYTES, MAX_PART_BYTES)
        made = recorded(_thread, SAMPLE_RATE, lambda recorder: _spoken(manner(request), parts, recorder), making)
        async with aclosing(made) as pieces:
            async for piece in pieces:
                yield piece


def load() -> None:
    """Start espeak-ng's processes and load what encodes its sound; raises SpeechFailed. Blocks."""
    encoder(SAMPLE_RATE)
    with _told():
        speakers.start()


def manner(request: AudioRequest) -> Manner:
    """The request in espeak-ng's terms. It speaks no slower than 80 words a minute, whatever the rate says."""
    return Manner(
        voice=catalogue[request.voice].espeak,
        rate=max(SLOWEST_WORDS_PER_MINUTE, round(NORMAL_WORDS_PER_MINUTE * (1 + request.rate_percent / 100))),
        volume=NORMAL_VOLUME + request.volume_percent,
        # Offsets of -100 Hz to +100 Hz on its scale from 0 to 100.
        pitch=NORMAL_PITCH + request.pitch_hertz // 2,
    )


def _spoken(manner: Manner, parts: Sequence[str], recorder: Recorder) -> Iterator[float]:
    """Speaks the parts of one recording, one a step. Raises SpeechFailed."""
    for part in parts:
        yield SECONDS_PER_BYTE * len(part)
        timing = _Timing(part, recorder.seconds)

        def hear(sound: Sound, timing: _Timing = timing) -> None:
            for word in timing.words(sound.events):
                recorder.name(word)
            recorder.hear(sound.samples)

        with _told():
            speakers.say(manner, part, hear)
        for word in timing.rest(recorder.seconds):
            recorder.name(word)
    recorder.end()


class _Timing:
    """When each word of a part is heard, from espeak-ng's events; a word ends where the next one begins."""

    def __init__(self, text: str, begun: float) -> None:
        self._text = text
        self._begun = begun
        self._open: tuple[str, float] | None = None

    def words(self, events: Sequence[Event]) -> Iterator[Word]:
        for kind, position, length, milliseconds in events:
            at = self._begun + milliseconds / 1000
            yield from self.rest(at)
            if kind == EVENT_WORD:
                self._open = (self._text[position - 1 : position - 1 + length], at)

    def rest(self, seconds: float) -> Iterator[Word]:
        if self._open:
            yield Word(*self._open, seconds)
        self._open = None


def _paths() -> tuple[str, str]:
    """The library and its data. Only their places: the library is loaded in its own process."""
    try:
        import espeakng_loader

        return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
    except (ImportError, OSError, RuntimeError) as error:
        raise CannotSpeak(f"espeak-ng is not there: {error}") from error


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (CannotSpeak, OSError) as error:
        raise SpeechFailed(str(error)) from error
