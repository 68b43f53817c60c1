"""One run for equal requests at the same time, and answers that are kept for those who ask again."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from functions.summarize.schemas import SummarizeRequest
from functions.summarize.service import Accepted, Answer, Piece

# What an entry takes beside its text: key, objects, links.
ENTRY_BYTES = 1024

Produce = Callable[[], AsyncGenerator[Piece]]


class Answers:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Answer] = OrderedDict()
        self._bytes = 0
        self._flights: dict[bytes, _Flight] = {}

    async def get(
        self, request: SummarizeRequest, wait: float | None, max_bytes: int, produce: Produce
    ) -> AsyncGenerator[Piece]:
        """The pieces that `produce` yields, from the start, or one kept answer.

        Requests are equal when all their fields and their `wait` are. An answer is kept when it is repeatable
        (temperature 0 or a seed), at most `max_bytes` of them. The run ends when nobody listens any more.
        """
        key = _key(request, wait)
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            yield Accepted()
            yield kept.response.summary
            yield kept
            return
        repeatable = request.temperature == 0 or request.seed is not None
        flight_key = key + bytes([request.stream])
        flight = self._flights.get(flight_key)
        if flight is None or flight.error:
            flight = self._flights[flight_key] = _Flight(produce)
            flight.task.add_done_callback(lambda _: self._forget(flight_key, flight))
        flight.listeners += 1
        try:
            async with aclosing(flight.listen()) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Answer) and repeatable and not piece.passing:
                        self._keep(key, piece, max_bytes)
                    yield piece
        finally:
            flight.listeners -= 1
            if not flight.listeners:
                # Before it is over: who comes now must not join a run that is being ended.
                self._forget(flight_key, flight)
                await flight.end()

    def _forget(self, key: bytes, flight: "_Flight") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _keep(self, key: bytes, answer: Answer, max_bytes: int) -> None:
        if key in self._kept:
            return
        usage = answer.response.usage.model_copy(update={"cached_answer": True})
        response = answer.response.model_copy(update={"usage": usage})
        self._kept[key] = Answer(response)
        self._bytes += _size(response.summary)
        while self._bytes > max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= _size(oldest.response.summary)


class _Flight:
    """One run and those who listen to it; a late listener hears it from the start."""

    def __init__(self, produce: Produce) -> None:
        self.listeners = 0
        self._pieces: list[Piece] = []
        self.error: Exception | None = None
        self.over = False
        self._news = asyncio.Event()
        self.task = asyncio.create_task(self._run(produce))

    async def listen(self) -> AsyncGenerator[Piece]:
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

    async def _run(self, produce: Produce) -> None:
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


def _key(request: SummarizeRequest, wait: float | None) -> bytes:
    fields = request.model_dump(exclude={"stream", "text"}) | {"wait": wait}
    return hashlib.sha256(f"{fields} {request.text.strip()}".encode()).digest()


def _size(summary: str) -> int:
    return ENTRY_BYTES + len(summary.encode())
