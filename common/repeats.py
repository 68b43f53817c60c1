"""For requests that come more than once: one run for equal ones at the same time, and results that are kept."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Generic, TypeVar

from cachetools import LRUCache

from common.callers import flow

T = TypeVar("T")

KEY_BYTES = 20
# It is given its run, to ask for room.
Produce = Callable[["Run[T]"], AsyncGenerator[T]]


def request_key(*parts: object) -> bytes:
    """The key of the request at hand: its caller, and all that decides the answer: texts, and what `repr` tells of.

    The caller is part of it: nobody shall learn, from an answer that comes too soon, what others have sent.
    """
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in (flow().caller, *parts):
        told = (part if isinstance(part, str) else repr(part)).encode("utf-8", "surrogatepass")
        # With its length, so that no part can pass for two.
        digest.update(len(told).to_bytes(8, "big") + told)
    return digest.digest()


class Kept(Generic[T]):
    """The results that were asked for last, as many as fit into a number of bytes."""

    def __init__(self, size: Callable[[T], int], most_bytes: Callable[[], int]) -> None:
        """`size` tells the bytes that a result takes, all that it holds; `most_bytes` is called on use."""
        self._size = size
        self._most_bytes = most_bytes
        self._results: LRUCache[bytes, T] = LRUCache(0)

    def get(self, key: bytes) -> T | None:
        return self._results.get(key)

    def keep(self, key: bytes, result: T) -> None:
        """Keep a result, and drop those that were asked for longest ago. One that is larger than all the room is not
        kept, and drops no other."""
        most_bytes = self._most_bytes()
        if self._results.maxsize != most_bytes:
            before, self._results = self._results, LRUCache(most_bytes, self._size)
            for known, other in before.items():
                self._put(known, other)
        if key not in self._results:
            self._put(key, result)

    def _put(self, key: bytes, result: T) -> None:
        # Raised for what is larger than all the room.
        with suppress(ValueError):
            self._results[key] = result

    def clear(self) -> None:
        self._results.clear()


class Room:
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


class Run(Generic[T]):
    """What `produce` yields, taken as fast as it comes and kept for those who listen, late ones included.

    Where there is no room for that, nobody can join any more, what all have heard is dropped, and `has_room` waits.
    """

    def __init__(self, produce: Produce[T], size: Callable[[T], int] = lambda _: 0, room: Room | None = None) -> None:
        """`size` tells the bytes of a piece; without a `room` there is always enough."""
        self.listeners = 0
        # Whether all of it is still there.
        self.whole = True
        self.error: Exception | None = None
        self.over = False
        self._size, self._room = size, room
        self._pieces: list[T] = []
        self._dropped = self._bytes = 0
        # How many pieces each listener has heard.
        self._heard: dict[object, int] = {}
        self._news = asyncio.Event()
        self.task = asyncio.create_task(self._run(produce))

    @property
    def pieces(self) -> list[T]:
        return self._pieces

    async def has_room(self) -> None:
        """Wait until more may be made."""
        while self._room is not None and not self._room.allows(self._bytes):
            self.whole = False
            self._drop_heard()
            if not self._bytes or self._room.allows(self._bytes):
                return
            await self._room.changed()

    def ahead(self, produce: Produce[T]) -> "Run[T]":
        """A run for one listener that makes what comes later in this one. What it holds counts as well."""
        made: Run[T] = Run(produce, self._size, self._room)
        made.whole = False
        return made

    async def listen(self) -> AsyncGenerator[T]:
        me = object()
        self._heard[me] = 0
        try:
            while True:
                # Taken before looking: what comes after the look sets it.
                news = self._news
                while (at := self._heard[me] - self._dropped) < len(self._pieces):
                    self._heard[me] += 1
                    yield self._pieces[at]
                    if not self.whole:
                        self._drop_heard()
                if self.error is not None:
                    raise self.error
                if self.over:
                    return
                await news.wait()
        finally:
            del self._heard[me]

    async def end(self) -> None:
        """Stop the run, if it is not over, and wait until it has stopped. What it holds is given back."""
        if not self.over:
            self.task.cancel()
            await asyncio.wait([self.task])
        self._drop(len(self._pieces))

    async def _run(self, produce: Produce[T]) -> None:
        try:
            async with aclosing(produce(self)) as pieces:
                async for piece in pieces:
                    self._pieces.append(piece)
                    self._count(self._size(piece))
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
            freed = sum(map(self._size, self._pieces[:number]))
            del self._pieces[:number]
            self._dropped += number
            self._count(-freed)

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._room is not None:
            self._room.add(size)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Flights(Generic[T]):
    """Runs that several may listen to. Belongs to one event loop."""

    def __init__(self, size: Callable[[T], int] = lambda _: 0, room: Room | None = None) -> None:
        """`size` and `room` are those of each run."""
        self._size, self._room = size, room
        self._flights: dict[bytes, Run[T]] = {}

    async def join(self, key: bytes, produce: Produce[T]) -> AsyncGenerator[T]:
        """What `produce` yields, from the start: of the run under `key`, if there is one, else of a new one.

        The run ends when nobody listens any more.
        """
        flight = self._flights.get(key)
        if flight is None or flight.error or not flight.whole:
            flight = self._begin(key, produce)
        flight.listeners += 1
        try:
            async with aclosing(flight.listen()) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            flight.listeners -= 1
            if not flight.listeners:
                # Before it is over: who comes now must not join a run that is being ended.
                self._forget(key, flight)
                await flight.end()

    def _begin(self, key: bytes, produce: Produce[T]) -> Run[T]:
        flight = self._flights[key] = Run(produce, self._size, self._room)
        flight.task.add_done_callback(lambda _: self._forget(key, flight))
        return flight

    def _forget(self, key: bytes, flight: Run[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
