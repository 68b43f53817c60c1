"""For requests that come more than once: one run for equal ones at the same time, and results that are kept."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Generic, TypeVar

T = TypeVar("T")
Produce = Callable[[], AsyncGenerator[T]]


class Kept(Generic[T]):
    """The results that were asked for last, as many as fit into a number of bytes."""

    def __init__(self, size: Callable[[T], int]) -> None:
        """`size` tells the bytes of a result."""
        self._size = size
        self._results: OrderedDict[bytes, T] = OrderedDict()
        self._bytes = 0

    def get(self, key: bytes) -> T | None:
        result = self._results.get(key)
        if result is not None:
            self._results.move_to_end(key)
        return result

    def keep(self, key: bytes, result: T, max_bytes: int) -> None:
        if key in self._results:
            return
        self._results[key] = result
        self._bytes += self._size(result)
        while self._bytes > max_bytes:
            _, oldest = self._results.popitem(last=False)
            self._bytes -= self._size(oldest)

    def drop(self, key: bytes) -> None:
        if (result := self._results.pop(key, None)) is not None:
            self._bytes -= self._size(result)


class Run(Generic[T]):
    """What `produce` yields, taken as fast as it comes and kept for those who listen, late ones included."""

    def __init__(self, produce: Produce[T]) -> None:
        self.listeners = 0
        self._pieces: list[T] = []
        self.error: Exception | None = None
        self.over = False
        self._news = asyncio.Event()
        self.task = asyncio.create_task(self._run(produce))

    async def listen(self) -> AsyncGenerator[T]:
        heard = 0
        while True:
            # Taken before looking: what comes after the look sets it.
            news = self._news
            while heard < len(self._pieces):
                heard += 1
                yield self._pieces[heard - 1]
            if self.error is not None:
                raise self.error
            if self.over:
                return
            await news.wait()

    async def end(self) -> None:
        """Stop the run, if it is not over, and wait until it has stopped."""
        if not self.over:
            self.task.cancel()
            await asyncio.wait([self.task])

    async def _run(self, produce: Produce[T]) -> None:
        try:
            async with aclosing(produce()) as pieces:
                async for piece in pieces:
                    self._pieces.append(piece)
                    self._wake()
        except Exception as error:
            self.error = error
        finally:
            self.over = True
            self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Flights(Generic[T]):
    """Runs that several may listen to. Belongs to one event loop."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Run[T]] = {}

    async def join(self, key: bytes, produce: Produce[T]) -> AsyncGenerator[T]:
        """What `produce` yields, from the start: of the run under `key`, if there is one, else of a new one.

        The run ends when nobody listens any more.
        """
        flight = self._flights.get(key)
        if flight is None or flight.error:
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
        flight = self._flights[key] = Run(produce)
        flight.task.add_done_callback(lambda _: self._forget(key, flight))
        return flight

    def _forget(self, key: bytes, flight: Run[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
