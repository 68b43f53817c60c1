"""espeak-ng, the voice that needs no cloud: the only module that touches it (GPL-3, as a library that may be absent).

Upstream: espeak-ng's `speak_lib.h`. Its state is global to the process, so one thread does all the speaking, a few
sentences of one recording after a few of another.
"""

import asyncio
import ctypes
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, takewhile
from typing import TYPE_CHECKING, ClassVar, Literal

from common.errors import FactoryError
from functions.audio.catalogue import catalogue
from functions.audio.pieces import BIT_RATE_KBPS, SAMPLE_RATE, Piece, Word
from functions.audio.schemas import AudioRequest
from functions.audio.splitter import split

if TYPE_CHECKING:
    import lameenc

ESPEAK_SAMPLE_RATE = 22_050
BYTES_PER_SAMPLE = 2
# LAME's scale from 2 (best) to 7 (fastest): most of the time goes into encoding, and this voice has little to lose.
ENCODER_QUALITY = 7
# Sound that is handed on at a time, after the first piece, which goes out at once: 0.7 s.
PIECE_BYTES = 4096
BUFFER_MILLISECONDS = 100
# What is said before another recording's turn comes: a sentence or two, some 10 s of speech, which take 50 ms to make.
# A sentence is cut only if it is longer than a minute.
PART_BYTES, MAX_PART_BYTES = 150, 1000

NORMAL_WORDS_PER_MINUTE = 175
SLOWEST_WORDS_PER_MINUTE = 80
NORMAL_VOLUME = 100
NORMAL_PITCH = 50

# speak_lib.h
OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
PARAMETER_RATE, PARAMETER_VOLUME, PARAMETER_PITCH = 1, 2, 3
POSITION_CHARACTER = 1
CHARACTERS_UTF8 = 1
EVENT_LIST_TERMINATED, EVENT_WORD, EVENT_END = 0, 1, 5
CONTINUE, ABORT = 0, 1
OK = 0


class Event(ctypes.Structure):
    """espeak_EVENT: `text_position` counts characters from 1, `audio_position` is in milliseconds."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(Event))

_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="espeak-ng")


class EspeakFailed(FactoryError):
    """espeak-ng could not be loaded or could not speak."""


@dataclass(frozen=True)
class Manner:
    """`voice` as espeak-ng names it, `rate` in words a minute, `volume` with 100 as normal, `pitch` from 0 to 100."""

    voice: str
    rate: int
    volume: int
    pitch: int


class EspeakSpeech:
    """Speaks with espeak-ng: 24 kHz, 48 kbit/s, mono MP3."""

    name: ClassVar[Literal["espeak-ng"]] = "espeak-ng"

    def voice(self, request: AudioRequest) -> str:
        return f"espeak-ng:{catalogue[request.voice].espeak}"

    async def stream(self, request: AudioRequest, _first_by: float) -> AsyncGenerator[Piece, None]:
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
        parts = split(request.spoken_text, PART_BYTES, MAX_PART_BYTES)
        for number, part in enumerate(parts, 1):
            work = loop.run_in_executor(_thread, speaker.say, part, number == len(parts))
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
            work.add_done_callback(lambda _: spoken.put_nowait(None))
            try:
                while (piece := await spoken.get()) is not None:
                    yield piece
                work.result()
            except BaseException:
                unwanted.set()
                work.cancel()
                raise


def load() -> None:
    """Load espeak-ng, on its thread; raises EspeakFailed."""
    _thread.submit(_library).result()


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
        self._error: Exception | None = None
        self._encoder: lameenc.Encoder | None = None
        self._encoded = bytearray()
        self._begun = False
        self._samples = 0
        self._words: list[Word] = []

    def say(self, text: str, last: bool) -> None:
        """Speak `text`; with the last one the MP3 ends. Raises EspeakFailed."""
        library = _library()
        encoder = self._encoder = self._encoder or _encoder()
        if library.espeak_SetVoiceByName(self._manner.voice.encode()) != OK:
            raise EspeakFailed(f"espeak-ng has no voice {self._manner.voice}")
        library.espeak_SetParameter(PARAMETER_RATE, self._manner.rate, 0)
        library.espeak_SetParameter(PARAMETER_VOLUME, self._manner.volume, 0)
        library.espeak_SetParameter(PARAMETER_PITCH, self._manner.pitch, 0)
        timing = _Timing(text, self._seconds)

        def on_samples(samples: int | None, number: int, events: "ctypes._Pointer[Event]") -> int:
            # ctypes would print an exception and go on with a hole in the recording.
            try:
                self._words += timing.words(events)
                if samples and number:
                    self._samples += number
                    self._encoded += encoder.encode(ctypes.string_at(samples, number * BYTES_PER_SAMPLE))
                if len(self._encoded) >= PIECE_BYTES or (self._encoded and not self._begun):
                    self._flush()
            except Exception as error:
                self._error = error
            return CONTINUE if self._wanted and not self._error else ABORT

        # Held by this name until espeak_Synth returns: the library keeps a bare pointer.
        callback = SynthCallback(on_samples)
        library.espeak_SetSynthCallback(callback)
        data = text.encode()
        outcome = library.espeak_Synth(data, len(data) + 1, 0, POSITION_CHARACTER, 0, CHARACTERS_UTF8, None, None)
        if not self._wanted:
            return
        if self._error or outcome != OK:
            raise EspeakFailed(f"espeak-ng failed with {self._error or outcome}") from self._error
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

    def words(self, events: "ctypes._Pointer[Event]") -> Iterator[Word]:
        for event in takewhile(lambda event: event.type != EVENT_LIST_TERMINATED, map(events.__getitem__, count())):
            if event.type not in (EVENT_WORD, EVENT_END):
                continue
            at = self._begun + event.audio_position / 1000
            yield from self.rest(at)
            if event.type == EVENT_WORD:
                first = event.text_position - 1
                self._open = (self._text[first : first + event.length], at)

    def rest(self, seconds: float) -> Iterator[Word]:
        if self._open:
            yield Word(*self._open, seconds)
        self._open = None


def _encoder() -> "lameenc.Encoder":
    import lameenc

    encoder = lameenc.Encoder()
    encoder.set_in_sample_rate(ESPEAK_SAMPLE_RATE)
    encoder.set_out_sample_rate(SAMPLE_RATE)
    encoder.set_channels(1)
    encoder.set_bit_rate(BIT_RATE_KBPS)
    encoder.set_quality(ENCODER_QUALITY)
    return encoder


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    try:
        import espeakng_loader

        library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path()
        import lameenc  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        raise EspeakFailed(f"espeak-ng could not be loaded: {error}") from error
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    rate = library.espeak_Initialize(OUTPUT_SYNCHRONOUS, BUFFER_MILLISECONDS, data.encode(), INITIALIZE_DONT_EXIT)
    if rate != ESPEAK_SAMPLE_RATE:
        raise EspeakFailed(f"espeak-ng could not be started (code {rate})")
    return library
