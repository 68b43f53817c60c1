"""Turns of the calls of one function: no more at the same time than the limiter lets, and none while all pause."""

import asyncio
import random
import time
from collections import deque

from batch.limiter import Limiter

# Callers that wait for the same moment come a little apart: by this share of the wait, and at least so many seconds.
JITTER_SHARE, LEAST_JITTER_SECONDS = 0.05, 0.05


class Slots:
    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        self._waiting: deque[asyncio.Future[None]] = deque()
        # Turns that are given to somebody who has not begun yet.
        self._given = 0
        self._paused_until = 0.0
        self._jitter_seconds = 0.0

    async def take(self, *, again: bool) -> float:
        """Wait for a turn and begin; who was sent away before goes first. Returns what `Limiter.begin` does."""
        if self._is_free() and not self._waiting:
            self._given += 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            (self._waiting.appendleft if again else self._waiting.append)(turn)
            self.wake()
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._given -= 1
                raise
        try:
            await self._over()
        except asyncio.CancelledError:
            self._given -= 1
            raise
        self._given -= 1
        return self.limiter.begin()

    def wake(self) -> None:
        """A call has ended: who waits and may begin now does."""
        while self._waiting and self._is_free():
            turn = self._waiting.popleft()
            if not turn.done():
                self._given += 1
                turn.set_result(None)

    def pause(self, seconds: float) -> None:
        """Nobody begins within this time. It never ends a longer pause."""
        until = time.monotonic() + seconds
        if until > self._paused_until:
            self._paused_until = until
            self._jitter_seconds = max(LEAST_JITTER_SECONDS, JITTER_SHARE * seconds)

    async def _over(self) -> None:
        while (left := self._paused_until - time.monotonic()) > 0:
            await asyncio.sleep(left + random.uniform(0, self._jitter_seconds))

    def _is_free(self) -> bool:
        return self.limiter.at_work + self._given < self.limiter.limit
