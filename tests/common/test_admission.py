import asyncio
from contextlib import AsyncExitStack
from math import inf

import pytest

from common.admission import Admission, Limits
from common.errors import QueueFull


def admission(concurrency: int, max_waiting: int) -> Admission:
    return Admission("test", lambda: Limits(concurrency, max_waiting))


async def until_waiting(queue: Admission, count: int) -> None:
    async with asyncio.timeout(5):
        while len(queue._waiting) < count:
            await asyncio.sleep(0)


def test_waiting_requests_are_served_in_order_of_arrival() -> None:
    async def scenario() -> list[int]:
        queue, served = admission(1, 10), []

        async def request(number: int) -> None:
            async with queue.slot():
                served.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(request(number) for number in range(8)))
        return served

    assert asyncio.run(scenario()) == list(range(8))


def test_one_request_too_many_is_refused_with_a_time_to_come_back() -> None:
    async def scenario() -> None:
        queue = admission(1, 1)
        async with queue.slot():
            waiting = asyncio.create_task(queue._enter(1.0, inf))
            await until_waiting(queue, 1)
            with pytest.raises(QueueFull) as error:
                async with queue.slot():
                    pass
            assert error.value.retry_after >= 1
        await waiting

    asyncio.run(scenario())


def test_a_cancelled_wait_leaves_no_hole_in_the_queue() -> None:
    async def scenario() -> None:
        queue = admission(2, 10)
        async with AsyncExitStack() as held:
            await held.enter_async_context(queue.slot())
            await held.enter_async_context(queue.slot())
            waits = [asyncio.create_task(queue._enter(1.0, inf)) for _ in range(5)]
            await until_waiting(queue, 5)
            for wait in waits[:3]:
                wait.cancel()
        # One of the slots just freed may go to a wait that is cancelled in the same step: it must be passed on.
        waits[3].cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        queue._leave()
        assert (queue._active, len(queue._waiting)) == (0, 0)

    asyncio.run(scenario())
