"""Recordings: the first engine that can begin one makes it, equal requests share it, a finished one is kept."""

import hashlib
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol, TypeVar

from common.admission import Admission, Limits, Places, register_queue
from common.cache import AnswerCache, ByteBudget, CacheStatus, SharedRun, register_cache, request_key
from common.errors import FactoryError
from common.settings import get_settings
from functions.audio import metrics
from functions.audio.breaker import Breaker, Tolerance
from functions.audio.engine import EdgeSpeech
from functions.audio.errors import SpeechFailed, UpstreamFailed, UpstreamTimeout, UpstreamUnavailable, VoiceAway
from functions.audio.espeak import EspeakSpeech
from functions.audio.pieces import EngineName, Piece, Word
from functions.audio.piper import PiperSpeech
from functions.audio.relay import CloudSpeech
from functions.audio.schemas import AudioRequest

T = TypeVar("T")

logger = logging.getLogger(__name__)

# What a kept recording takes beside its sound: key, objects, links; and each of its words.
ENTRY_BYTES, WORD_BYTES = 1024, 200
LISTENERS_PER_TURN = 4
ID_BYTES = 20


class SpeechEngine(Protocol):
    """What can speak. `stream` yields pieces as they are made, a sound first, and ends only with a whole recording."""

    @property
    def name(self) -> EngineName: ...

    def voice(self, request: AudioRequest) -> str:
        """What `X-Audio-Voice` says of a recording of this engine."""

    def stream(self, request: AudioRequest, first_by: float, making: "SharedRun[Any]") -> AsyncGenerator[Piece, None]:
        """`first_by` (`time.monotonic`) is when the first sound has to be there; `making` is the run it is for, and
        is asked for room before each further part is made."""


@dataclass(frozen=True)
class Opening:
    """What is known of a recording once it has begun.

    `tag` stands for the request as this engine speaks it, `edition` for the bytes that this run makes of it; under `id`
    it can be had while it is kept.
    """

    engine: EngineName
    voice: str
    tag: str
    edition: str
    id: str


@dataclass(frozen=True)
class _Begun:
    """A recording with its first sound, and the pieces behind it. `is_kept`: it was made before."""

    opening: Opening
    first: Piece
    pieces: AsyncGenerator[Piece, None]
    is_kept: bool = False


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
    """Where recordings are made. Belongs to one event loop.

    What is made and not yet heard, of all recordings together, takes `AudioSettings.held_bytes` at most, and a part or
    two of each: a recording whose listener is slow pauses.
    """

    def __init__(self) -> None:
        budget = ByteBudget(lambda: get_settings().audio.held_bytes)
        self._answers: AnswerCache[Piece | Opening, Finished] = AnswerCache(
            _size, lambda: get_settings().audio.answer_cache_bytes, _piece_size, budget
        )
        # How often the first choice came back. What stood in for it before has another key, and is not asked for again.
        self._returns = 0
        self._is_away = False
        # Who has not made a request cannot tell the id of its recording.
        self._secret = secrets.token_bytes(32)

    @property
    def cache_status(self) -> CacheStatus:
        return self._answers.status

    def kept(self, recording_id: str) -> Recording | None:
        """The finished recording with the `id` that its opening tells, while it is kept."""
        try:
            kept = self._answers.get(bytes.fromhex(recording_id))
        except ValueError:
            return None
        return _whole(kept) if kept else None

    async def recording(self, request: AudioRequest, engines: Sequence[SpeechEngine], first_by: float) -> Recording:
        """A recording that has begun, by the first of `engines` that could; raises why the first of them could not.

        Equal requests with about the same patience share a run.
        """
        if (kept := self._answers.get(self._key(request, engines[0], engines))) is not None:
            return _whole(kept)
        patience = ceil(first_by - time.monotonic())
        run_key = request_key(engines[0].name, request, patience, *(engine.name for engine in engines[1:]))
        pieces = self._answers.join(run_key, lambda run: self._make(run, request, engines, first_by))
        opening = await anext(pieces)
        assert isinstance(opening, Opening)
        return Recording(opening, pieces)

    async def _make(
        self, run: SharedRun[Piece | Opening], request: AudioRequest, engines: Sequence[SpeechEngine], first_by: float
    ) -> AsyncGenerator[Piece | Opening, None]:
        begun = await self._begin(request, engines, first_by, run)
        opening = begun.opening
        yield opening
        made = nullcontext(_uncounted) if begun.is_kept else metrics.recording(opening.engine)
        async with aclosing(begun.pieces) as pieces:
            with made as count:
                count(begun.first)
                yield begun.first
                async for piece in pieces:
                    count(piece)
                    yield piece
        if opening.engine != engines[0].name:
            self._is_away = True
        elif self._is_away:
            # It is back: who asks again shall hear it.
            self._is_away = False
            self._returns += 1
        if run.whole:
            self._answers.keep(bytes.fromhex(opening.id), _finished(opening, run.pieces))

    async def _begin(
        self,
        request: AudioRequest,
        engines: Sequence[SpeechEngine],
        first_by: float,
        making: SharedRun[Piece | Opening],
    ) -> _Begun:
        failure: FactoryError | None = None
        for engine in engines:
            key = self._key(request, engine, engines)
            if (kept := self._answers.get_after_miss(key)) is not None:
                return _Begun(kept.opening, kept.sound, _iterated(kept.words), is_kept=True)
            pieces = engine.stream(request, first_by, making)
            try:
                first = await anext(pieces)
                edition = secrets.token_hex(8)
                opening = Opening(engine.name, engine.voice(request), tag(request, engine), edition, key.hex())
                return _Begun(opening, first, pieces)
            except (UpstreamUnavailable, VoiceAway) as error:
                failure = failure or error
            except (UpstreamFailed, UpstreamTimeout, SpeechFailed) as error:
                logger.warning("%s failed: %s", engine.name, error)
                failure = failure or error
        assert failure is not None
        raise failure

    def _key(self, request: AudioRequest, engine: SpeechEngine, engines: Sequence[SpeechEngine]) -> bytes:
        known = request_key(engine.name, request, None if engine is engines[0] else self._returns)
        return hashlib.blake2b(known, digest_size=ID_BYTES, key=self._secret).digest()


def tag(request: AudioRequest, engine: SpeechEngine) -> str:
    """What an entity tag begins with: the normalised request as this engine speaks it.

    Two recordings of it need not be the same to the byte, so by itself it only makes a weak one (RFC 9110, 8.8.1).
    """
    fields = json.dumps([request.model_dump(), engine.name], sort_keys=True)
    return hashlib.sha256(fields.encode()).hexdigest()[:32]


def _piece_size(piece: Piece | Opening) -> int:
    return len(piece) if isinstance(piece, bytes) else WORD_BYTES


def _uncounted(_: Piece) -> None: ...


def _finished(opening: Opening, pieces: Sequence[Piece | Opening]) -> Finished:
    return Finished(
        opening,
        sound=b"".join(piece for piece in pieces if isinstance(piece, bytes)),
        words=tuple(piece for piece in pieces if isinstance(piece, Word)),
    )


def _size(recording: Finished) -> int:
    return ENTRY_BYTES + len(recording.sound) + WORD_BYTES * len(recording.words)


def _whole(kept: Finished) -> Recording:
    return Recording(kept.opening, _iterated(()), kept)


async def _iterated(pieces: Sequence[T]) -> AsyncGenerator[T, None]:
    for piece in pieces:
        yield piece


def _turns() -> Limits:
    settings = get_settings().audio
    return Limits(settings.concurrency, settings.max_waiting)


def _listeners() -> Limits:
    """Requests at the same time: listeners may take long to hear what was made long ago."""
    settings = get_settings().audio
    return Limits(settings.concurrency, LISTENERS_PER_TURN * (settings.concurrency + settings.max_waiting))


def _tolerance() -> Tolerance:
    settings = get_settings().audio
    return Tolerance(settings.breaker_failures, settings.breaker_seconds)


studio = Studio()
places = Places("audio", _listeners)
register_queue("audio", places.status)
register_cache("audio", lambda: studio.cache_status)
admission = Admission("audio", _turns, shared_slots=True)
breaker = Breaker("speech cloud", _tolerance)


def engines() -> list[SpeechEngine]:
    """What may speak by the settings, the first choice first."""
    settings = get_settings().audio
    found: list[SpeechEngine] = []
    if settings.engine in ("auto", "edge-tts"):
        found.append(CloudSpeech(EdgeSpeech(settings), breaker, admission))
    if settings.engine in ("auto", "piper"):
        found.append(PiperSpeech())
    if settings.engine != "edge-tts":
        found.append(EspeakSpeech())
    return found
