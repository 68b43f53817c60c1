"""A recording that is made here: the sound of a local engine becomes MP3, on that engine's thread, step by step."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from common.cache import SharedRun
from common.settings import get_settings
from common.worker import Worker
from functions.audio.errors import SpeechFailed
from functions.audio.pieces import BIT_RATE_KBPS, BYTES_PER_SAMPLE, SAMPLE_RATE, Piece, Word

if TYPE_CHECKING:
    import lameenc

FULL_SCALE = 32_767
# LAME's scale from 2 (best) to 7 (fastest): most of espeak-ng's time goes into encoding.
ENCODER_QUALITY = 7
# Sound that is handed on at a time, after the first piece, which goes out at once: 0.7 s.
PIECE_BYTES = 4096
# Before the first step has said how long it will take.
FIRST_STEP_SECONDS = 0.02


class Recorder:
    """Encodes sound at `sample_rate` and gives MP3 and words to `deliver`, which answers whether more is wanted."""

    def __init__(self, sample_rate: int, deliver: Callable[[Piece], bool]) -> None:
        """Raises SpeechFailed where there is no encoder."""
        self.wanted = True
        self._sample_rate = sample_rate
        # What a text becomes is only known once it is spoken: a sign may be read as several words.
        self._most_seconds = get_settings().audio.max_speech_seconds
        self._deliver = deliver
        self._encoder = encoder(sample_rate)
        self._encoded = bytearray()
        self._begun = False
        self._samples = 0
        self._words: list[Word] = []

    @property
    def seconds(self) -> float:
        """How long the recording is by now."""
        return self._samples / self._sample_rate

    def hear(self, samples: bytes) -> None:
        """PCM of 16 bits, mono. Raises SpeechFailed where the recording would be longer than it may be."""
        if not self.wanted:
            return
        if self.seconds > self._most_seconds:
            raise SpeechFailed(f"the text is longer than {self._most_seconds:.0f} s of speech")
        self._samples += len(samples) // BYTES_PER_SAMPLE
        self._encoded += self._encoder.encode(samples) if samples else b""
        if len(self._encoded) >= PIECE_BYTES or (self._encoded and not self._begun):
            self._flush()

    def name(self, word: Word) -> None:
        """A word, with its times; they are delivered behind the sound that was heard before."""
        self._words.append(word)

    def end(self) -> None:
        """The MP3 ends."""
        if self.wanted:
            self._encoded += self._encoder.flush()
            self._flush()

    def _flush(self) -> None:
        self.wanted = self._deliver(bytes(self._encoded))
        self._begun = True
        self._encoded.clear()
        for word in self._words:
            self._deliver(word)
        self._words.clear()


# What is done on the thread: each step yields about how many seconds the next one will take.
Steps = Callable[[Recorder], Iterator[float]]


async def recorded(
    thread: Worker, sample_rate: int, steps: Steps, making: SharedRun[Any] | None
) -> AsyncGenerator[Piece, None]:
    """The pieces of a recording that is made by `steps` on `thread`, a sound first; raises what they raise.

    Others have their turn between two steps. The thread never waits for the reader, who might be slow, while others
    wait for the thread: what is not read yet is kept, at most 6 kB for each second of speech.
    """
    loop = asyncio.get_running_loop()
    made: asyncio.Queue[Piece | None] = asyncio.Queue()
    unwanted = threading.Event()

    def deliver(piece: Piece) -> bool:
        if not unwanted.is_set() and not loop.is_closed():
            loop.call_soon_threadsafe(made.put_nowait, piece)
            return True
        return False

    left = steps(Recorder(sample_rate, deliver))
    seconds: float | None = FIRST_STEP_SECONDS
    begun = False
    while seconds is not None:
        if begun and making is not None:
            await making.has_room()
        work = asyncio.create_task(thread.run(lambda _: next(left, None), seconds))
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        work.add_done_callback(lambda _: made.put_nowait(None))
        try:
            while (piece := await made.get()) is not None:
                begun = True
                yield piece
            seconds = await work
        except BaseException:
            unwanted.set()
            work.cancel()
            raise


def encoder(sample_rate: int) -> "lameenc.Encoder":
    """Makes the MP3 that the speech cloud makes as well. Raises SpeechFailed."""
    try:
        import lameenc
    except ImportError as error:
        raise SpeechFailed(f"sound cannot be encoded here: {error}") from error

    made = lameenc.Encoder()
    made.set_in_sample_rate(sample_rate)
    made.set_out_sample_rate(SAMPLE_RATE)
    made.set_channels(1)
    made.set_bit_rate(BIT_RATE_KBPS)
    made.set_quality(ENCODER_QUALITY)
    return made
