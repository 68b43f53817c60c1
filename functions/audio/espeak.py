"""espeak-ng, the voice that needs no cloud: the only module that touches it (GPL-3, as a library that may be absent).

Upstream: espeak-ng's `speak_lib.h`. Its state is global to the process, so one thread does all the speaking.
"""

import asyncio
import ctypes
import re
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

from functions.audio.schemas import AudioRequest
from functions.audio.voices import VOICES

SAMPLE_RATE = 22_050
BYTES_PER_SAMPLE = 2
BIT_RATE_KBPS = 48
# LAME's scale from 2 (best) to 7 (fastest): most of the time goes into encoding, and this voice has little to lose.
ENCODER_QUALITY = 7
# Sound that is handed on at a time, after the first piece, which goes out at once: 0.7 s.
PIECE_BYTES = 4096
BUFFER_MILLISECONDS = 100

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
CONTINUE, ABORT = 0, 1
OK = 0
SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)

# To espeak-ng Ctrl-A begins a command inside the text, whose effect would outlast the request.
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")

_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="espeak-ng")


class EspeakFailed(Exception):
    """espeak-ng could not be loaded or could not speak; the message is one readable sentence."""


@dataclass(frozen=True)
class Utterance:
    """`voice` as espeak-ng names it, `rate` in words a minute, `volume` with 100 as normal, `pitch` from 0 to 100."""

    text: str
    voice: str
    rate: int
    volume: int
    pitch: int


class EspeakSpeech:
    """Speaks with espeak-ng: 22.05 kHz, 48 kbit/s, mono MP3."""

    name: ClassVar[Literal["espeak-ng"]] = "espeak-ng"

    def voice(self, request: AudioRequest) -> str:
        return f"espeak-ng:{VOICES[request.voice].espeak}"

    async def stream(self, request: AudioRequest) -> AsyncGenerator[bytes, None]:
        """Pieces of one recording while it is spoken; raises EspeakFailed.

        The thread never waits for the reader, who might be slow, while others wait for the thread: what is not read
        yet is kept, at most 6 kB for each second of speech.
        """
        loop = asyncio.get_running_loop()
        spoken: asyncio.Queue[bytes | None] = asyncio.Queue()
        unwanted = threading.Event()

        def deliver(piece: bytes) -> bool:
            if not unwanted.is_set() and not loop.is_closed():
                loop.call_soon_threadsafe(spoken.put_nowait, piece)
                return True
            return False

        work = loop.run_in_executor(_thread, _speak, utterance(request), deliver)
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        work.add_done_callback(lambda _: spoken.put_nowait(None))
        try:
            while (piece := await spoken.get()) is not None:
                yield piece
            work.result()
        finally:
            unwanted.set()
            work.cancel()


def utterance(request: AudioRequest) -> Utterance:
    """The request in espeak-ng's terms. It speaks no slower than 80 words a minute, whatever the rate says."""
    return Utterance(
        text=CONTROL_CHARACTERS.sub(" ", request.text),
        voice=VOICES[request.voice].espeak,
        rate=max(SLOWEST_WORDS_PER_MINUTE, round(NORMAL_WORDS_PER_MINUTE * (1 + request.rate_percent / 100))),
        volume=NORMAL_VOLUME + request.volume_percent,
        # Offsets of -100 Hz to +100 Hz on its scale from 0 to 100.
        pitch=NORMAL_PITCH + request.pitch_hertz // 2,
    )


class _Sink:
    """Takes the samples that espeak-ng makes, gives MP3 to `deliver`, which answers whether more is wanted."""

    def __init__(self, deliver: Callable[[bytes], bool]) -> None:
        import lameenc

        self.wanted = True
        self.error: Exception | None = None
        self._deliver = deliver
        self._encoded = bytearray()
        self._begun = False
        self._encoder = lameenc.Encoder()
        self._encoder.set_in_sample_rate(SAMPLE_RATE)
        self._encoder.set_channels(1)
        self._encoder.set_bit_rate(BIT_RATE_KBPS)
        self._encoder.set_quality(ENCODER_QUALITY)

    def on_samples(self, samples: int | None, count: int, _events: int | None) -> int:
        # ctypes would print an exception and go on with a hole in the recording.
        try:
            if samples and count:
                self._encoded += self._encoder.encode(ctypes.string_at(samples, count * BYTES_PER_SAMPLE))
            if len(self._encoded) >= PIECE_BYTES or (self._encoded and not self._begun):
                self._flush()
        except Exception as error:
            self.error = error
        return CONTINUE if self.wanted and not self.error else ABORT

    def finish(self) -> None:
        self._encoded += self._encoder.flush()
        self._flush()

    def _flush(self) -> None:
        self.wanted = self._deliver(bytes(self._encoded))
        self._begun = True
        self._encoded.clear()


def _speak(wish: Utterance, deliver: Callable[[bytes], bool]) -> None:
    library = _library()
    if library.espeak_SetVoiceByName(wish.voice.encode()) != OK:
        raise EspeakFailed(f"espeak-ng has no voice {wish.voice}")
    library.espeak_SetParameter(PARAMETER_RATE, wish.rate, 0)
    library.espeak_SetParameter(PARAMETER_VOLUME, wish.volume, 0)
    library.espeak_SetParameter(PARAMETER_PITCH, wish.pitch, 0)
    sink = _Sink(deliver)
    # Held by this name until espeak_Synth returns: the library keeps a bare pointer.
    callback = SynthCallback(sink.on_samples)
    library.espeak_SetSynthCallback(callback)
    text = wish.text.encode()
    outcome = library.espeak_Synth(text, len(text) + 1, 0, POSITION_CHARACTER, 0, CHARACTERS_UTF8, None, None)
    if not sink.wanted:
        return
    if sink.error or outcome != OK:
        raise EspeakFailed(f"espeak-ng failed with {sink.error or outcome}") from sink.error
    sink.finish()


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
    if rate != SAMPLE_RATE:
        raise EspeakFailed(f"espeak-ng could not be started (code {rate})")
    return library
