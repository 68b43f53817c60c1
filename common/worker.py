"""One thread for work that blocks, so that the event loop never does."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class Cancelled(Exception):
    """Raised by work that found its event set: nobody waits for the result any more."""


class Worker:
    """Runs one piece of work at a time on a thread of its own, which starts with the first."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, work: Callable[[threading.Event], T]) -> T:
        """The result of `work(cancelled)`.

        When the caller is cancelled the event is set, and this returns only when the work has ended: whoever holds a
        slot for it then gives back a slot that is really free.
        """
        cancelled = threading.Event()
        future = asyncio.get_running_loop().run_in_executor(self._executor, work, cancelled)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            cancelled.set()
            with suppress(Exception):
                await future
            raise
