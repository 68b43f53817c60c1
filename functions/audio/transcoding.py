"""Other formats than MP3, by FFmpeg's libraries (PyAV): made of the MP3 piece by piece, while that is made."""

import io
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from common.admission import Limits, Places
from common.worker import EXPECTED_SECONDS, Worker
from functions.audio.errors import SpeechFailed
from functions.audio.formats import AAC, FLAC, OPUS, PCM, WAV, Format
from functions.audio.pieces import BIT_RATE_KBPS, BYTES_PER_SAMPLE, BYTES_PER_SECOND, SAMPLE_RATE, Piece

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

T = TypeVar("T")

# A second of sound, which takes some 20 ms at most: others have their turn after it. The first is heard sooner.
FIRST_SLICE_BYTES, SLICE_BYTES = 750, 6_000
SECONDS_PER_BYTE = 4e-6
# Both are of constant rate.
PCM_PER_MP3 = SAMPLE_RATE * BYTES_PER_SAMPLE // BYTES_PER_SECOND
# FLAC's takes 7 MB each, AAC's 1 MB: 64 of them.
ENCODERS = Limits(concurrency=32, max_waiting=16)
WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
# The length of a sound that is not known yet, in that header.
ENDLESS = 0xFFFF_FFFF


@dataclass(frozen=True)
class _Muxer:
    """Container, codec and options as FFmpeg names them."""

    container: str
    codec: str
    options: dict[str, str]
    bit_rate: int | None = None


MUXERS = {
    # A page for each packet of 20 ms: by itself FFmpeg holds back a second.
    OPUS: _Muxer("ogg", "libopus", {"page_duration": "20000"}, BIT_RATE_KBPS * 1000),
    FLAC: _Muxer("flac", "flac", {}),
    AAC: _Muxer("adts", "aac", {}, BIT_RATE_KBPS * 1000),
}


class Transcoder:
    """One recording on its way; its methods block, and are called one after the other."""

    def __init__(self, wanted: Format, mp3_bytes: int | None = None) -> None:
        """`mp3_bytes` is how much MP3 there will be, if that is known."""
        import av

        self._decoder = av.CodecContext.create("mp3", "r")
        self._writer = _Encoded(MUXERS[wanted]) if wanted in MUXERS else _Samples(wanted, mp3_bytes)

    def feed(self, mp3: bytes) -> bytes:
        """What comes out of this MP3 and the one before. Raises SpeechFailed."""
        return self._made(mp3)

    def end(self) -> bytes:
        """What is left, and the end of the format. Raises SpeechFailed."""
        return self._made(None)

    def close(self) -> None:
        """Give back the encoder's memory; without it that is kept until the collector of cycles comes by."""
        self._writer.close()

    def _made(self, mp3: bytes | None) -> bytes:
        import av

        try:
            for packet in [*self._decoder.parse(mp3), *([None] if mp3 is None else [])]:
                for frame in self._decoder.decode(packet):
                    self._writer.write(frame)
            if mp3 is None:
                self._writer.end()
        except av.FFmpegError as error:
            raise SpeechFailed(f"the recording could not be made into another format: {error.strerror}") from error
        return self._writer.taken()


class _Samples:
    """The samples as they are, behind the header of a WAV or not."""

    def __init__(self, wanted: Format, mp3_bytes: int | None) -> None:
        self._made = bytearray(_wav_header(mp3_bytes) if wanted is WAV else b"")

    def write(self, frame: "AudioFrame") -> None:
        self._made += bytes(frame.planes[0])[: frame.samples * BYTES_PER_SAMPLE]

    def end(self) -> None:
        pass

    def close(self) -> None:
        pass

    def taken(self) -> bytes:
        made = bytes(self._made)
        self._made.clear()
        return made


class _Encoded:
    """What an encoder and a muxer make of the samples."""

    def __init__(self, muxer: _Muxer) -> None:
        import av

        self._sink = _Sink()
        options = {**muxer.options, "flush_packets": "1"}
        self._container = av.open(self._sink, "w", format=muxer.container, options=options)
        stream = self._container.add_stream(muxer.codec, rate=SAMPLE_RATE, layout="mono")
        assert isinstance(stream, av.AudioStream)
        self._stream = stream
        if muxer.bit_rate:
            stream.bit_rate = muxer.bit_rate

    def write(self, frame: "AudioFrame | None") -> None:
        # Counted by the encoder itself.
        if frame is not None:
            frame.pts = None
        self._container.mux(self._stream.encode(frame))

    def end(self) -> None:
        self.write(None)
        self.close()

    def close(self) -> None:
        self._container.close()

    def taken(self) -> bytes:
        return self._sink.taken()


class _Sink(io.RawIOBase):
    """The file that a muxer writes to."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        self._written += data
        return len(data)

    def taken(self) -> bytes:
        written = bytes(self._written)
        self._written.clear()
        return written


async def transcoded(
    pieces: AsyncIterator[Piece], wanted: Format, mp3_bytes: int | None = None
) -> AsyncGenerator[bytes, None]:
    """The sound of `pieces` as `wanted`, which is not MP3, as it comes; the last of it may be empty.

    Raises SpeechFailed where the sound cannot be understood.
    """
    transcoder = await _on_thread(partial(Transcoder, wanted, mp3_bytes))
    # Who leaves does so between two pieces of work on the thread.
    with closing(transcoder):
        async for piece in pieces:
            if isinstance(piece, bytes):
                for part in _slices(piece):
                    yield await _on_thread(partial(transcoder.feed, part), SECONDS_PER_BYTE * len(part))
        yield await _on_thread(transcoder.end)


@contextmanager
def place(wanted: Format) -> Iterator[None]:
    """A place among those for whom something is encoded at the same time. Raises QueueFull."""
    with encoders.hold() if wanted in MUXERS else nullcontext():
        yield


def most_bytes(wanted: Format, mp3_bytes: int) -> int:
    """How large so much MP3 can be in this format."""
    return mp3_bytes * PCM_PER_MP3 if wanted in (WAV, PCM, FLAC) else mp3_bytes


def _slices(piece: bytes) -> Iterator[bytes]:
    begin, size = 0, FIRST_SLICE_BYTES
    while begin < len(piece):
        yield piece[begin : begin + size]
        begin, size = begin + size, min(2 * size, SLICE_BYTES)


async def _on_thread(work: Callable[[], T], seconds: float = EXPECTED_SECONDS) -> T:
    return await _worker.run(lambda _: work(), seconds)


def _wav_header(mp3_bytes: int | None) -> bytes:
    """RIFF's: samples of 16 bits, mono."""
    data_bytes = ENDLESS if mp3_bytes is None else mp3_bytes * PCM_PER_MP3
    whole = ENDLESS if mp3_bytes is None else data_bytes + WAV_HEADER.size - 8
    byte_rate = SAMPLE_RATE * BYTES_PER_SAMPLE
    kind = (16, 1, 1, SAMPLE_RATE, byte_rate, BYTES_PER_SAMPLE, 8 * BYTES_PER_SAMPLE)
    return WAV_HEADER.pack(b"RIFF", whole, b"WAVE", b"fmt ", *kind, b"data", data_bytes)


encoders = Places("audio formats", lambda: ENCODERS)
_worker = Worker("audio-formats")
