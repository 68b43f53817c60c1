"""One recording: the speech cloud speaks, tried twice; when it fails before its first sound, espeak-ng may."""

import hashlib
import json
import logging
from collections.abc import AsyncGenerator
from typing import Literal, Protocol

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random

from common.errors import UpstreamFailed, UpstreamTimeout
from functions.audio.engine import UpstreamRefused
from functions.audio.espeak import EspeakFailed
from functions.audio.schemas import AudioRequest

logger = logging.getLogger(__name__)

EngineName = Literal["edge-tts", "espeak-ng"]

ATTEMPTS = 2
PAUSE_SECONDS = (0.05, 0.2)


class SpeechEngine(Protocol):
    """What can speak. `stream` yields MP3 as it is made and ends only with a whole recording, else raises."""

    @property
    def name(self) -> EngineName: ...

    def voice(self, request: AudioRequest) -> str:
        """What `X-Audio-Voice` says of a recording of this engine."""

    def stream(self, request: AudioRequest) -> AsyncGenerator[bytes, None]: ...


class Recording:
    """An async iterator of MP3 pieces whose first one has been made; `aclose` stops its engine.

    An error while it is iterated means that the recording is cut: it must not reach the listener as a whole one.
    """

    def __init__(
        self, engine: EngineName, voice: str, etag: str, first: bytes, rest: AsyncGenerator[bytes, None]
    ) -> None:
        self.engine = engine
        self.voice = voice
        self.etag = etag
        self._first: bytes | None = first
        self._rest = rest

    def __aiter__(self) -> "Recording":
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            piece, self._first = self._first, None
            return piece
        return await anext(self._rest)

    async def aclose(self) -> None:
        await self._rest.aclose()


async def record(request: AudioRequest, cloud: SpeechEngine, fallback: SpeechEngine | None) -> Recording:
    """A recording that has begun. Raises UpstreamFailed or UpstreamTimeout when nobody could begin one."""
    retrying = AsyncRetrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random(*PAUSE_SECONDS),
        retry=retry_if_exception(_is_worth_another_try),
        reraise=True,
    )
    try:
        return await retrying(_begin, cloud, request)
    except (UpstreamFailed, UpstreamTimeout) as error:
        if fallback is None:
            raise
        logger.warning("%s failed, %s speaks: %s", cloud.name, fallback.name, error)
        try:
            return await _begin(fallback, request)
        except EspeakFailed:
            logger.exception("%s failed as well", fallback.name)
            raise error from None


def etag(request: AudioRequest, engine: EngineName) -> str:
    """A strong entity tag (RFC 9110, 8.8.3) of the normalised request as this engine speaks it."""
    spelling = json.dumps({"engine": engine, **request.model_dump()}, sort_keys=True)
    return f'"{hashlib.sha256(spelling.encode()).hexdigest()[:32]}"'


async def _begin(engine: SpeechEngine, request: AudioRequest) -> Recording:
    pieces = engine.stream(request)
    first = await anext(pieces)
    return Recording(engine.name, engine.voice(request), etag(request, engine.name), first, pieces)


def _is_worth_another_try(error: BaseException) -> bool:
    # Not after a timeout: the listener has waited long enough.
    return isinstance(error, UpstreamFailed) and not isinstance(error, UpstreamRefused)
