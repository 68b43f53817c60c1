"""The articles of a source, read on a thread: files, standard input and HTML take their time."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from batch.articles import Item, Source

READ_AHEAD = 16

_Read = Item | Exception | None


async def read(source: Source) -> AsyncIterator[Item]:
    """Its items, no more than READ_AHEAD of them ahead. What its reading raises is raised."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[_Read] = asyncio.Queue()
    room = threading.Semaphore(READ_AHEAD)
    left = threading.Event()

    def hand_over(item: _Read) -> None:
        # The loop may be closed by the time that standard input says something.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def run() -> None:
        try:
            for item in source.items():
                room.acquire()
                if left.is_set():
                    return
                hand_over(item)
            hand_over(None)
        except Exception as error:
            hand_over(error)

    threading.Thread(target=run, name="batch-reader", daemon=True).start()
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            room.release()
            yield item
    finally:
        left.set()
        room.release()


def count(source: Source, tell: Callable[[int | None], None]) -> Callable[[], None]:
    """Count on another thread, which tells the loop's thread; returns what ends it."""
    loop = asyncio.get_running_loop()
    left = threading.Event()

    def run() -> None:
        # Whatever is wrong with the source, who reads it says so.
        with suppress(Exception):
            number = source.count(lambda: not left.is_set())
            loop.call_soon_threadsafe(tell, number)

    threading.Thread(target=run, name="batch-counter", daemon=True).start()
    return left.set
