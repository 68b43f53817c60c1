"""A recording from the speech cloud in as many turns as its text needs, the next one fetched while one is heard.

Every turn is tried again when it fails before its first sound, within the listener's patience: nothing of it has been
heard yet. After that a failure cuts the recording.
"""

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from math import inf
from typing import Any, ClassVar, Literal, Protocol

from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt, wait_random

from common.admission import Admission
from common.cache import Produce, SharedRun
from common.errors import QueueFull
from common.logs import trace
from functions.audio import metrics
from functions.audio.breaker import Breaker
from functions.audio.errors import ImpatientTimeout, UpstreamFailed, UpstreamRefused, UpstreamSilent, UpstreamTimeout
from functions.audio.pieces import BYTES_PER_SECOND, Piece
from functions.audio.schemas import AudioRequest
from functions.audio.splitter import MAX_BYTES, PART_BYTES

# A turn that has begun: its first piece and the others.
Begun = tuple[Piece, AsyncGenerator[Piece, None]]

ATTEMPTS = 2
PAUSE_SECONDS = (0.05, 0.2)
# With less of the listener's patience left another try is of no use.
LEAST_SECONDS = 0.5
# A slow voice says less in the same time: its turns have fewer bytes, so that no turn is much longer than 90 s.
LEAST_PART_BYTES = 150
# A wait for a turn that does not count.
OWN_QUEUE_MS = 100.0


class Turns(Protocol):
    """What says one turn; see EdgeSpeech."""

    def turn(self, text: str, request: AudioRequest, first_by: float | None) -> AsyncGenerator[Piece, None]: ...


async def _room_in(making: SharedRun[Any] | None) -> None:
    if making is not None:
        await making.has_room()


class CloudSpeech:
    """The speech cloud behind its circuit breaker, for texts of any length."""

    name: ClassVar[Literal["edge-tts"]] = "edge-tts"

    def __init__(self, engine: Turns, breaker: Breaker, admission: Admission) -> None:
        """`admission` bounds how many turns are made at the same time."""
        self._engine = engine
        self._breaker = breaker
        self._admission = admission

    def voice(self, request: AudioRequest) -> str:
        return request.voice

    async def stream(
        self, request: AudioRequest, first_by: float, making: SharedRun[Any] | None = None
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of the whole recording, in order.

        Raises UpstreamFailed, UpstreamTimeout and UpstreamUnavailable; QueueFull when no turn was free in time.
        """
        part_bytes = round(PART_BYTES * min(1.0, request.speed))
        texts = iter(await request.parts(max(LEAST_PART_BYTES, part_bytes), MAX_BYTES))
        # The first part needs no run of its own: who iterates this takes what comes at once.
        current = self._part(request, next(texts), first_by)
        following: SharedRun[Piece] | None = None
        sound_bytes = 0
        try:
            while True:
                seconds = sound_bytes / BYTES_PER_SECOND
                async with aclosing(current) as pieces:
                    async for piece in pieces:
                        if following is None:
                            # Not before there is room for it, while those who listen are slow.
                            await _room_in(making)
                            following = self._next_run(request, texts, making)
                        if isinstance(piece, bytes):
                            sound_bytes += len(piece)
                            yield piece
                        else:
                            yield piece.later(seconds)
                # A part without a sound has not begun to fetch the one behind it.
                await _room_in(making)
                run = following or self._next_run(request, texts, making)
                if run is None:
                    break
                current, following = run.listen(), None
        finally:
            # The run that is listened to ends with its listener.
            if following is not None:
                await following.end()
        if not sound_bytes:
            raise UpstreamSilent("the speech cloud sent no sound; the text may hold nothing that can be spoken")

    def _next_run(
        self, request: AudioRequest, texts: Iterator[str], making: SharedRun[Any] | None
    ) -> SharedRun[Piece] | None:
        if (text := next(texts, None)) is None:
            return None
        begin: Callable[[Produce[Piece]], SharedRun[Piece]] = making.ahead if making is not None else SharedRun
        return begin(lambda _: self._part(request, text))

    async def _part(
        self, request: AudioRequest, text: str, first_by: float | None = None
    ) -> AsyncGenerator[Piece, None]:
        # Stars between two paragraphs, say, are not spoken; words that are not would be lost without a sign.
        may_be_silent = not any(character.isalnum() for character in text)

        def is_worth_another_try(state: RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome else None
            in_time = first_by is None or time.monotonic() + LEAST_SECONDS < first_by
            in_vain = isinstance(error, UpstreamRefused) or (may_be_silent and isinstance(error, UpstreamSilent))
            return in_time and isinstance(error, UpstreamFailed | UpstreamTimeout) and not in_vain

        retrying = AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random(*PAUSE_SECONDS),
            retry=is_worth_another_try,
            reraise=True,
            before_sleep=lambda _: metrics.cloud_retries.inc(),
        )
        try:
            begun: Begun = await retrying(self._begin, request, text, first_by)
        except UpstreamSilent:
            if may_be_silent:
                return
            raise
        first, rest = begun
        async with aclosing(rest) as pieces:
            yield first
            async for piece in pieces:
                yield piece

    async def _begin(self, request: AudioRequest, text: str, first_by: float | None) -> Begun:
        pieces = self._attempt(request, text, first_by)
        return await anext(pieces), pieces

    async def _attempt(self, request: AudioRequest, text: str, first_by: float | None) -> AsyncGenerator[Piece, None]:
        # While the cloud is left alone nobody waits for a turn with it.
        if first_by is not None:
            with metrics.cloud_left_alone():
                self._breaker.check()
        async with self._admission.slot(request.seconds_of(text), inf if first_by is None else first_by) as waited_ms:
            if first_by is not None:
                trace().add("queue", waited_ms)
            try:
                # A recording under way goes on for as long as it can.
                with metrics.cloud_turn(), self._breaker.attempt(refuse=first_by is not None):
                    async with aclosing(self._engine.turn(text, request, first_by)) as pieces:
                        async for piece in pieces:
                            yield piece
            except ImpatientTimeout:
                if waited_ms > OWN_QUEUE_MS:
                    # It was our queue that used up the time: the other engine is no help for that.
                    seconds = self._admission.wait_seconds(request.seconds_of(text))
                    raise QueueFull("audio: no turn was free early enough", seconds) from None
                raise
