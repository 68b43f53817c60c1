"""The articles that wait for one function. Each function has its own number of calls at work, and its own pauses."""

import asyncio
from contextlib import suppress
from math import ceil

from batch.functions import MOST_TEXTS_CHARACTERS, Function
from batch.limiter import Limiter
from batch.slots import Slots
from batch.work import Desk, Pending


class Lane:
    def __init__(self, function: Function, desk: Desk, most: int) -> None:
        self.function = function
        self.slots = Slots(Limiter(most))
        self._desk = desk
        self._queue: asyncio.Queue[Pending] = asyncio.Queue()

    def put(self, pending: Pending) -> None:
        """How many may wait is the pipeline's to know: see `Room`."""
        self._queue.put_nowait(pending)

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        """Begin one call after another, until it is cancelled."""
        while True:
            first = await self._queue.get()
            began_at = await self.slots.take(again=False)
            tasks.create_task(self._desk.do(self.function, self.slots, began_at, [first, *self._others(first)]))

    def _others(self, first: Pending) -> list[Pending]:
        """Who goes along in the same call: of those who wait a part for each call that may be at work."""
        share = ceil((self._queue.qsize() + 1) / self.slots.limiter.limit)
        characters = len(first.article.text)
        some: list[Pending] = []
        with suppress(asyncio.QueueEmpty):
            while len(some) + 1 < min(share, self.function.together) and characters < MOST_TEXTS_CHARACTERS:
                some.append(self._queue.get_nowait())
                characters += len(some[-1].article.text)
        return some
