"""Answers that are kept, and runs that equal requests share: no request is worked on twice without need."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Generic, TypeVar

from cachetools import LRUCache
from pydantic import BaseModel

from common.callers import flow

# A piece of an answer that is being made, and the whole answer as it is kept.
P = TypeVar("P")
A = TypeVar("A")

KEY_BYTES = 20
# It is given its run, to ask for room.
Produce = Callable[["SharedRun[P]"], AsyncGenerator[P]]


@dataclass(frozen=True)
class CacheStatus:
    """What is kept now, and since the start: how often an answer was there, or not, and a run was joined."""

    answers: int
    bytes: int
    hits: int
    misses: int
    joined: int


_registry: dict[str, Callable[[], CacheStatus]] = {}


def register_cache(function: str, status: Callable[[], CacheStatus]) -> None:
    """From now on metrics show the kept answers of `function`; `status` is asked each time."""
    _registry[function] = status


def caches() -> Mapping[str, Callable[[], CacheStatus]]:
    """By the name of each function: what returns the status of its kept answers."""
    return MappingProxyType(_registry)


def request_key(model: str, fields: BaseModel, *more: object) -> bytes:
    """The key of the request at hand: who asks, which model answers, all fields, and whatever else decides the answer.

    The caller is part of it: nobody shall learn, from an answer that comes too soon, what others have sent.
    """
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in (flow().caller, model, fields.model_dump(), *more):
        told = (part if isinstance(part, str) else repr(part)).encode("utf-8", "surrogatepass")
        # With its length, so that no part can pass for two.
        digest.update(len(told).to_bytes(8, "big") + told)
    return digest.digest()


class AnswerCache(Generic[P, A]):
    """The answers of one function that were asked for last, and its runs. Belongs to one event loop."""

    def __init__(
        self,
        answer_bytes: Callable[[A], int],
        most_bytes: Callable[[], int],
        piece_bytes: Callable[[P], int] = lambda _: 0,
        budget: "ByteBudget | None" = None,
    ) -> None:
        """`answer_bytes` tells what a kept answer takes, all that it holds; they take `most_bytes()` at most.

        `piece_bytes` tells what a piece of a run takes; all runs together hold no more than `budget` allows.
        """
        self._answer_bytes = answer_bytes
        self._most_bytes = most_bytes
        self._piece_bytes, self._budget = piece_bytes, budget
        self._kept: LRUCache[bytes, A] = LRUCache(0)
        self._runs: dict[bytes, SharedRun[P]] = {}
        self._hits = self._misses = self._joined = 0

    @property
    def status(self) -> CacheStatus:
        return CacheStatus(len(self._kept), int(self._kept.currsize), self._hits, self._misses, self._joined)

    def get(self, key: bytes) -> A | None:
        """The answer that is kept under `key`."""
        if (kept := self.get_after_miss(key)) is None:
            self._misses += 1
        return kept

    def get_after_miss(self, key: bytes) -> A | None:
        """The same for a further look by one request: that nothing is there has been counted."""
        if (kept := self._kept.get(key)) is not None:
            self._hits += 1
        return kept

    def keep(self, key: bytes, answer: A) -> None:
        """Keep an answer, and drop those that were asked for longest ago.

        One that is larger than all the room is not kept, and drops no other.
        """
        most_bytes = self._most_bytes()
        if self._kept.maxsize != most_bytes:
            before, self._kept = self._kept, LRUCache(most_bytes, self._answer_bytes)
            for known, other in before.items():
                self._put(known, other)
        if key not in self._kept:
            self._put(key, answer)

    def join(self, key: bytes, produce: Produce[P]) -> AsyncGenerator[P]:
        """What `produce` yields, from the start: of the run under `key`, if there is one, else of a new one.

        To be iterated at once. The run ends when nobody listens any more.
        """
        run = self._runs.get(key)
        if run is None or run.error or not run.whole:
            run = self._runs[key] = SharedRun(produce, self._piece_bytes, self._budget)
            run.task.add_done_callback(partial(self._forget, key, run))
        else:
            self._joined += 1
        # It is forgotten before it is ended: a request that comes meanwhile must not join it.
        return run.listen(partial(self._forget, key, run))

    def _forget(self, key: bytes, run: "SharedRun[P]", _: object = None) -> None:
        if self._runs.get(key) is run:
            del self._runs[key]

    def _put(self, key: bytes, answer: A) -> None:
        # Raised for an answer that is larger than all the room.
        with suppress(ValueError):
            self._kept[key] = answer


class ByteBudget:
    """The bytes that all runs of a kind may hold together. No run may hold more than is left free."""

    def __init__(self, most_bytes: Callable[[], int]) -> None:
        """`most_bytes` is called on use."""
        self._most_bytes = most_bytes
        self._held = 0
        self._changed = asyncio.Event()

    def add(self, size: int) -> None:
        self._held += size
        if size < 0:
            self._changed.set()
            self._changed = asyncio.Event()

    def allows(self, own: int) -> bool:
        return own <= self._most_bytes() - self._held

    async def changed(self) -> None:
        """Until some of it is given back."""
        await self._changed.wait()


class SharedRun(Generic[P]):
    """Takes what `produce` yields as fast as it comes, and keeps it for all listeners, those who come late included.

    Where there is no room for that, nobody can join any more, what all have heard is dropped, and `has_room` waits.
    """

    def __init__(
        self, produce: Produce[P], piece_bytes: Callable[[P], int] = lambda _: 0, budget: ByteBudget | None = None
    ) -> None:
        """`piece_bytes` tells what a piece takes; without a `budget` there is always room."""
        # Whether all of it is still there.
        self.whole = True
        self.error: Exception | None = None
        self.over = False
        self._piece_bytes, self._budget = piece_bytes, budget
        self.pieces: list[P] = []
        self._dropped = self._bytes = 0
        # How many pieces each listener has heard.
        self._heard: dict[object, int] = {}
        self._news = asyncio.Event()
        self.task = asyncio.create_task(self._run(produce))

    async def has_room(self) -> None:
        """Wait until more may be made."""
        while self._budget is not None and not self._budget.allows(self._bytes):
            self.whole = False
            self._drop_heard()
            if not self._bytes or self._budget.allows(self._bytes):
                return
            await self._budget.changed()

    def ahead(self, produce: Produce[P]) -> "SharedRun[P]":
        """A run for one listener that makes a later part of this one. Its bytes count as well."""
        made: SharedRun[P] = SharedRun(produce, self._piece_bytes, self._budget)
        made.whole = False
        return made

    async def listen(self, when_deserted: "Callable[[], None]" = lambda: None) -> AsyncGenerator[P]:
        """Every piece from the first on. The run ends with its last listener, after a call of `when_deserted`."""
        me = object()
        self._heard[me] = 0
        try:
            while True:
                # Taken before looking at the pieces: a piece that comes after the look sets it.
                news = self._news
                while (at := self._heard[me] - self._dropped) < len(self.pieces):
                    self._heard[me] += 1
                    yield self.pieces[at]
                    if not self.whole:
                        self._drop_heard()
                if self.error is not None:
                    raise self.error
                if self.over:
                    return
                await news.wait()
        finally:
            del self._heard[me]
            if not self._heard:
                when_deserted()
                await self.end()

    async def end(self) -> None:
        """Stop the run, if it is not over, and wait until it has stopped. Its bytes are given back."""
        if not self.over:
            self.task.cancel()
            await asyncio.wait([self.task])
        self._drop(len(self.pieces))

    async def _run(self, produce: Produce[P]) -> None:
        try:
            async with aclosing(produce(self)) as pieces:
                async for piece in pieces:
                    self.pieces.append(piece)
                    self._count(self._piece_bytes(piece))
                    self._wake()
        except Exception as error:
            self.error = error
        finally:
            self.over = True
            self._wake()

    def _drop_heard(self) -> None:
        self._drop(min(self._heard.values(), default=self._dropped) - self._dropped)

    def _drop(self, number: int) -> None:
        """Drop the first pieces of those that are there."""
        if number > 0:
            freed = sum(map(self._piece_bytes, self.pieces[:number]))
            del self.pieces[:number]
            self._dropped += number
            self._count(-freed)

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._budget is not None:
            self._budget.add(size)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
