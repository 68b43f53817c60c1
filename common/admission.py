"""A bounded queue per function: who is let in, who waits, and who is told at once to come back later."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from common.errors import QueueFull

# Weight of the newest sample in the moving average of how long a slot is held.
SMOOTHING = 0.2


@dataclass(frozen=True)
class Limits:
    """`concurrency` requests are served at a time, `max_waiting` more wait in order of arrival."""

    concurrency: int
    max_waiting: int


class Admission:
    """The queue of one function. `limits` is called on use, so that importing a handler reads no settings."""

    def __init__(self, name: str, limits: Callable[[], Limits]) -> None:
        self.name = name
        self._limits = limits
        self._active = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._held_seconds = 1.0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Hold one slot; yields the milliseconds that were spent waiting for it. Raises QueueFull."""
        queued_at = time.monotonic()
        await self._enter()
        entered_at = time.monotonic()
        try:
            yield (entered_at - queued_at) * 1000
        finally:
            self._held_seconds += SMOOTHING * (time.monotonic() - entered_at - self._held_seconds)
            self._leave()

    async def _enter(self) -> None:
        limits = self._limits()
        if self._active < limits.concurrency:
            self._active += 1
            return
        waiting = len(self._waiting)
        if waiting >= limits.max_waiting:
            turns = (waiting + 1) / limits.concurrency
            raise QueueFull(
                f"{self.name}: {self._active + waiting} requests are there already",
                retry_after=turns * self._held_seconds,
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # The slot may have been handed over in the same step in which the wait was cancelled.
            if turn.done() and not turn.cancelled():
                self._leave()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _leave(self) -> None:
        """Hand the slot to the next in line, who is then active in this one's place."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._active -= 1
