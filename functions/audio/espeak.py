"""espeak-ng, the voice that needs no cloud (GPL-3, as a library that may be absent).

The library reads strangers' text and has a record of memory errors, so it speaks in a process of its own
(espeak_process.py). Its sound is encoded here, on one thread that speaks a sentence or two of one recording after those
of another.
"""

import asyncio
import atexit
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from common.cache import SharedRun
from common.worker import Worker
from functions.audio.catalogue import catalogue
from functions.audio.errors import EspeakFailed
from functions.audio.espeak_child import BYTES_PER_SAMPLE, EVENT_WORD
from functions.audio.espeak_child import SAMPLE_RATE as ESPEAK_SAMPLE_RATE
from functions.audio.espeak_process import CannotSpeak, Event, Manner, Sound, Speakers
from functions.audio.pieces import BIT_RATE_KBPS, SAMPLE_RATE, Piece, Word
from functions.audio.schemas import AudioRequest

if TYPE_CHECKING:
    import lameenc

# LAME's scale from 2 (best) to 7 (fastest): most of the time goes into encoding, and this voice has little to lose.
ENCODER_QUALITY = 7
# Sound that is handed on at a time, after the first piece, which goes out at once: 0.7 s.
PIECE_BYTES = 4096
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
        """The pieces of one recording while it is spoken, a sound first; raises EspeakFailed.

        The thread never waits for the reader, who might be slow, while others wait for the thread: what is not read
        yet is kept, at most 6 kB for each second of speech.
        """
        loop = asyncio.get_running_loop()
        spoken: asyncio.Queue[Piece | None] = asyncio.Queue()
        unwanted = threading.Event()

        def deliver(piece: Piece) -> bool:
            if not unwanted.is_set() and not loop.is_closed():
                loop.call_soon_threadsafe(spoken.put_nowait, piece)
                return True
            return False

        speaker = _Speaker(manner(request), deliver)
        parts = await request.parts(PART_BYTES, MAX_PART_BYTES)
        for number, part in enumerate(parts, 1):
            if number > 1 and making is not None:
                await making.has_room()
            work = asyncio.create_task(
                _thread.run(partial(speaker.say, part, number == len(parts)), seconds=SECONDS_PER_BYTE * len(part))
            )
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
            work.add_done_callback(lambda _: spoken.put_nowait(None))
            try:
                while (piece := await spoken.get()) is not None:
                    yield piece
                await work
            except BaseException:
                unwanted.set()
                work.cancel()
                raise


def load() -> None:
    """Start espeak-ng's processes and load what encodes its sound; raises EspeakFailed. Blocks."""
    _encoder()
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


class _Speaker:
    """Speaks the parts of one recording into one MP3 and gives it to `deliver`, which answers whether more is wanted.

    Its methods are for the thread.
    """

    def __init__(self, manner: Manner, deliver: Callable[[Piece], bool]) -> None:
        self._manner = manner
        self._deliver = deliver
        self._wanted = True
        self._encoder: lameenc.Encoder | None = None
        self._encoded = bytearray()
        self._begun = False
        self._samples = 0
        self._words: list[Word] = []

    def say(self, text: str, last: bool, _cancelled: threading.Event) -> None:
        """Speak `text`; with the last one the MP3 ends. Raises EspeakFailed."""
        encoder = self._encoder = self._encoder or _encoder()
        timing = _Timing(text, self._seconds)

        def hear(sound: Sound) -> None:
            if not self._wanted:
                return
            self._words += timing.words(sound.events)
            self._samples += len(sound.samples) // BYTES_PER_SAMPLE
            self._encoded += encoder.encode(sound.samples) if sound.samples else b""
            if len(self._encoded) >= PIECE_BYTES or (self._encoded and not self._begun):
                self._flush()

        with _told():
            speakers.say(self._manner, text, hear)
        if not self._wanted:
            return
        self._words += timing.rest(self._seconds)
        if last:
            self._encoded += encoder.flush()
            self._flush()

    @property
    def _seconds(self) -> float:
        return self._samples / ESPEAK_SAMPLE_RATE

    def _flush(self) -> None:
        self._wanted = self._deliver(bytes(self._encoded))
        self._begun = True
        self._encoded.clear()
        for word in self._words:
            self._deliver(word)
        self._words.clear()


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


def _encoder() -> "lameenc.Encoder":
    try:
        import lameenc
    except ImportError as error:
        raise EspeakFailed(f"espeak-ng's sound cannot be encoded: {error}") from error

    encoder = lameenc.Encoder()
    encoder.set_in_sample_rate(ESPEAK_SAMPLE_RATE)
    encoder.set_out_sample_rate(SAMPLE_RATE)
    encoder.set_channels(1)
    encoder.set_bit_rate(BIT_RATE_KBPS)
    encoder.set_quality(ENCODER_QUALITY)
    return encoder


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
        raise EspeakFailed(str(error)) from error
