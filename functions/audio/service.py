"""Recordings: the first engine that can begin one makes it, equal requests share it, a finished one is kept."""

import hashlib
import json
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from math import ceil
from typing import Protocol, TypeVar

from common.admission import Admission
from common.errors import FactoryError, UpstreamFailed, UpstreamTimeout, UpstreamUnavailable
from common.logs import trace
from common.repeats import Flights, Kept
from functions.audio.espeak import EspeakFailed
from functions.audio.pieces import EngineName, Piece, Word
from functions.audio.schemas import AudioRequest

T = TypeVar("T")

logger = logging.getLogger(__name__)

# What a kept recording takes beside its sound: key, objects, links; and each of its words.
ENTRY_BYTES, WORD_BYTES = 1024, 200


class SpeechEngine(Protocol):
    """What can speak. `stream` yields pieces as they are made, a sound first, and ends only with a whole recording."""

    @property
    def name(self) -> EngineName: ...

    def voice(self, request: AudioRequest) -> str:
        """What `X-Audio-Voice` says of a recording of this engine."""

    def stream(self, request: AudioRequest, first_by: float) -> AsyncGenerator[Piece, None]:
        """`first_by` (`time.monotonic`) is when the first sound has to be there."""


@dataclass(frozen=True)
class Opening:
    """What is known of a recording once it has begun; `tag` stands for the request as this engine speaks it."""

    engine: EngineName
    voice: str
    tag: str


@dataclass(frozen=True)
class Finished:
    """A whole recording."""

    opening: Opening
    sound: bytes
    words: tuple[Word, ...]


class Recording:
    """A recording that has begun: an async iterator of its pieces; `finished` is all of it, where it is over already.

    An error while it is iterated means that it is cut: it must not reach the listener as a whole one.
    """

    def __init__(
        self, opening: Opening, pieces: AsyncGenerator[Piece | Opening, None], finished: Finished | None = None
    ) -> None:
        self.opening = opening
        self.finished = finished
        self._pieces = pieces

    def __aiter__(self) -> "Recording":
        return self

    async def __anext__(self) -> Piece:
        piece = await anext(self._pieces)
        assert not isinstance(piece, Opening)
        return piece

    async def finish(self) -> Finished:
        """All of it, once it is there; for who has not iterated it."""
        if self.finished is None:
            self.finished = _finished(self.opening, [piece async for piece in self])
        return self.finished

    async def aclose(self) -> None:
        """Stop listening; a recording that nobody listens to is not made to its end."""
        await self._pieces.aclose()


class Studio:
    """Where recordings are made. `admission` bounds how many at the same time. Belongs to one event loop."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._flights: Flights[Piece | Opening] = Flights()
        self._kept: Kept[Finished] = Kept(_size)
        # The kept recordings of an engine that stood in for another.
        self._stand_ins: set[bytes] = set()

    async def recording(
        self, request: AudioRequest, engines: Sequence[SpeechEngine], first_by: float, keep_bytes: int
    ) -> Recording:
        """A recording that has begun, by the first of `engines` that could; raises why the first of them could not.

        Equal requests with about the same patience share a run.
        """
        if (kept := self._kept.get(_key(request, engines[0]))) is not None:
            return Recording(kept.opening, _iterated(()), kept)
        patience = ceil(first_by - time.monotonic())
        run = _digest(request, patience, *(engine.name for engine in engines)).digest()
        pieces = self._flights.join(run, lambda: self._make(request, engines, first_by, keep_bytes))
        opening = await anext(pieces)
        assert isinstance(opening, Opening)
        return Recording(opening, pieces)

    def forget(self) -> None:
        """Keep no recording."""
        self._kept = Kept(_size)
        self._stand_ins.clear()

    async def _make(
        self, request: AudioRequest, engines: Sequence[SpeechEngine], first_by: float, keep_bytes: int
    ) -> AsyncGenerator[Piece | Opening, None]:
        async with self._admission.slot() as waited_ms:
            trace().add("queue", waited_ms)
            engine, pieces, first = await self._begin(request, engines, first_by)
            opening = Opening(engine.name, engine.voice(request), tag(request, engine))
            yield opening
            made = [first]
            async with aclosing(pieces):
                yield first
                async for piece in pieces:
                    made.append(piece)
                    yield piece
        self._keep(_finished(opening, made), _key(request, engine), engine is engines[0], keep_bytes)

    async def _begin(
        self, request: AudioRequest, engines: Sequence[SpeechEngine], first_by: float
    ) -> tuple[SpeechEngine, AsyncGenerator[Piece, None], Piece]:
        failure: FactoryError | None = None
        for engine in engines:
            if (kept := self._kept.get(_key(request, engine))) is not None:
                return engine, _iterated(kept.words), kept.sound
            pieces = engine.stream(request, first_by)
            try:
                return engine, pieces, await anext(pieces)
            except UpstreamUnavailable as error:
                failure = error
            except (UpstreamFailed, UpstreamTimeout, EspeakFailed) as error:
                logger.warning("%s failed: %s", engine.name, error)
                failure = failure or error
        assert failure is not None
        raise failure

    def _keep(self, recording: Finished, key: bytes, is_first_choice: bool, keep_bytes: int) -> None:
        if is_first_choice:
            # It is back: who asks again shall hear it.
            while self._stand_ins:
                self._kept.drop(self._stand_ins.pop())
        else:
            self._stand_ins.add(key)
        self._kept.keep(key, recording, keep_bytes)


def tag(request: AudioRequest, engine: SpeechEngine) -> str:
    """What an entity tag holds: the normalised request as this engine speaks it.

    Two recordings of it need not be the same to the byte, so it only makes a weak one (RFC 9110, 8.8.1).
    """
    return _digest(request, engine.name).hexdigest()[:32]


def _key(request: AudioRequest, engine: SpeechEngine) -> bytes:
    return _digest(request, engine.name).digest()


def _digest(request: AudioRequest, *more: str | int) -> "hashlib._Hash":
    return hashlib.sha256(json.dumps([request.model_dump(), *more], sort_keys=True).encode())


def _finished(opening: Opening, pieces: Sequence[Piece]) -> Finished:
    return Finished(
        opening,
        sound=b"".join(piece for piece in pieces if isinstance(piece, bytes)),
        words=tuple(piece for piece in pieces if isinstance(piece, Word)),
    )


def _size(recording: Finished) -> int:
    return ENTRY_BYTES + len(recording.sound) + WORD_BYTES * len(recording.words)


async def _iterated(pieces: Sequence[T]) -> AsyncGenerator[T, None]:
    for piece in pieces:
        yield piece
