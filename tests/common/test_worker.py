"""The thread of a Worker outlives whatever becomes of those who wait for its work."""

import asyncio
import threading
from contextlib import suppress

import pytest

from common.worker import Worker


def test_who_is_cancelled_twice_does_not_end_the_thread() -> None:
    worker = Worker("tried")
    begun, goes_on = threading.Event(), threading.Event()

    def work(_: threading.Event) -> None:
        begun.set()
        goes_on.wait(5)

    async def twice() -> str:
        waiting = asyncio.create_task(worker.run(work))
        await asyncio.to_thread(begun.wait, 5)
        for _ in range(2):
            waiting.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        goes_on.set()
        with suppress(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(5):
            return await worker.run(lambda _: "still there")

    assert asyncio.run(twice()) == "still there"


def test_work_that_fails_fails_for_who_waits_for_it_only() -> None:
    worker = Worker("tried")

    def fail(_: threading.Event) -> None:
        raise ValueError("no")

    async def both() -> str:
        with pytest.raises(ValueError, match="no"):
            await worker.run(fail)
        return await worker.run(lambda _: "still there")

    assert asyncio.run(both()) == "still there"
