"""One thread for work that blocks, so that the event loop does not. Callers share it fairly."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from common.callers import Flow, flow
from common.fair import FairQueue

T = TypeVar("T")

# The expected time of a piece of work. The time that it took is charged afterwards.
EXPECTED_SECONDS = 0.02


@dataclass(eq=False)
class _Job:
    work: Callable[[threading.Event], Any]
    seconds: float
    flow: Flow
    future: "Future[Any]" = field(default_factory=Future)
    cancelled: threading.Event = field(default_factory=threading.Event)


class Worker:
    """Runs one piece of work at a time on a thread of its own, which starts with the first.

    A piece of work is never interrupted. Long work comes in pieces of some 20 ms, so that others can go between them.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: FairQueue[_Job] = FairQueue()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[threading.Event], T], seconds: float = EXPECTED_SECONDS) -> T:
        """The result of `work(cancelled)`; `seconds` is about how long it will take.

        It is done for the caller of the request at hand. When that is cancelled, work that has not begun is dropped;
        of work that has, the event is set, and this returns only when it has ended: whoever holds a slot for it then
        gives back a slot that is really free.
        """
        job = _Job(work, seconds, flow())
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
                self._thread.start()
            self._queue.push(job, job.flow, job.seconds)
            self._changed.notify()
        future = asyncio.wrap_future(job.future)
        try:
            result: T = await asyncio.shield(future)
            return result
        except asyncio.CancelledError:
            job.cancelled.set()
            with self._changed:
                waits = self._queue.remove(job, job.flow)
            if waits:
                job.future.cancel()
            with suppress(Exception, asyncio.CancelledError):
                await future
            raise

    def _serve(self) -> None:
        while True:
            with self._changed:
                while (job := self._queue.pop()) is None:
                    self._changed.wait()
            # From here on it cannot be cancelled: who waits for it may be cancelled twice.
            if not job.future.set_running_or_notify_cancel():
                del job
                continue
            begun = time.monotonic()
            try:
                outcome = job.work(job.cancelled)
            except BaseException as error:
                job.future.set_exception(error)
            else:
                job.future.set_result(outcome)
                del outcome
            with self._changed:
                self._queue.charge(job.flow, time.monotonic() - begun - job.seconds)
            # Else the last job and its result stay in memory while the thread waits.
            del job
