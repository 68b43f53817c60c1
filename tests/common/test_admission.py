import asyncio
import time
from contextlib import AsyncExitStack, ExitStack, suppress
from math import inf

import pytest

from common.admission import Admission, Limits, Places
from common.callers import begin_flow
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
        queue._leave("")
        assert (queue._active, len(queue._waiting)) == (0, 0)

    asyncio.run(scenario())


async def wait_as(queue: Admission, caller: str, served: list[str], until: float = inf) -> None:
    begin_flow(caller)
    async with queue.slot(1.0, until):
        served.append(caller)
        await asyncio.sleep(0)


def test_a_newcomer_goes_ahead_of_all_but_one_that_another_caller_has_waiting() -> None:
    async def scenario() -> list[str]:
        queue, served = admission(1, 10), list[str]()
        async with asyncio.TaskGroup() as group, queue.slot():
            for _ in range(8):
                group.create_task(wait_as(queue, "flooder", served))
            await until_waiting(queue, 8)
            group.create_task(wait_as(queue, "honest", served))
            await until_waiting(queue, 9)
        return served

    assert "honest" in asyncio.run(scenario())[:3]


def test_who_has_no_place_gets_one_however_many_another_caller_has() -> None:
    async def scenario() -> None:
        queue = admission(1, 4)
        async with queue.slot(), asyncio.TaskGroup() as group:
            waits = [group.create_task(wait_as(queue, "flooder", [])) for _ in range(4)]
            await until_waiting(queue, 4)
            with pytest.raises(QueueFull, match="4 of this caller wait"):
                await wait_as(queue, "flooder", [])
            waits += [group.create_task(wait_as(queue, f"honest {number}", [])) for number in range(3)]
            await until_waiting(queue, 7)
            for wait in waits:
                wait.cancel()

    asyncio.run(scenario())


def test_the_wait_ends_when_the_caller_would_wait_no_longer() -> None:
    async def scenario() -> None:
        queue = admission(1, 4)
        async with queue.slot():
            with pytest.raises(QueueFull) as error:
                await wait_as(queue, "honest", [], until=time.monotonic() + 0.05)
            assert error.value.retry_after >= 1
            assert len(queue._waiting) == 0
        async with queue.slot():
            pass

    asyncio.run(scenario())


def test_who_would_wait_far_too_long_is_told_at_once_and_when_to_come_back() -> None:
    async def scenario() -> None:
        queue = admission(1, 10)
        queue._seconds_per_cost = 10.0
        async with queue.slot(), asyncio.TaskGroup() as group:
            waits = [group.create_task(wait_as(queue, "early", [])) for _ in range(3)]
            await until_waiting(queue, 3)
            begin_flow("early")
            with pytest.raises(QueueFull, match="longer than the request may wait") as error:
                async with queue.slot(1.0, time.monotonic() + 5):
                    pass
            # Three are ahead, and one of those at work has to end.
            assert error.value.retry_after == 40
            for wait in waits:
                wait.cancel()

    asyncio.run(scenario())


def flood(places: Places, held: ExitStack, caller: str, times: int = 500, known: int = 0) -> int:
    """How many places `caller` gets of so many that it asks for at once."""
    got = 0
    for _ in range(times):
        begin_flow(caller)
        with suppress(QueueFull):
            held.enter_context(places.hold(known))
            got += 1
    return got


@pytest.mark.parametrize(("concurrency", "max_waiting"), [(1, 1), (1, 4), (4, 1), (4, 64)])
def test_who_comes_now_and_then_has_a_place_whatever_another_caller_does(concurrency: int, max_waiting: int) -> None:
    places = Places("test", lambda: Limits(concurrency, max_waiting))
    with ExitStack() as held:
        assert flood(places, held, "flooder") == concurrency + max_waiting
        for _ in range(20):
            begin_flow("honest")
            with places.hold():
                flood(places, held, "flooder")
            # What it gave back is not taken by the one who has so many.
            assert flood(places, held, "flooder") == 0


@pytest.mark.parametrize("callers", range(1, 9))
def test_the_last_place_is_for_somebody_who_has_none(callers: int) -> None:
    places = Places("test", lambda: Limits(4, 8))
    with ExitStack() as held:
        for _ in range(30):
            for number in range(callers):
                flood(places, held, f"flooder {number}", times=1)
        begin_flow("honest")
        with places.hold():
            pass


def test_a_request_that_became_many_takes_nobody_his_first_place() -> None:
    places = Places("test", lambda: Limits(4, 8))
    with ExitStack() as held:
        assert flood(places, held, "flooder", times=3) == 3
        assert flood(places, held, "flooder", times=1, known=20) == 0
        assert flood(places, held, "honest", times=1, known=20) == 1
        assert flood(places, held, "honest", times=1, known=20) == 0
    assert flood(places, ExitStack(), "flooder", times=1) == 1


def test_without_a_queue_one_caller_may_have_all_that_are_at_work() -> None:
    places = Places("test", lambda: Limits(2, 0))
    with ExitStack() as held:
        assert flood(places, held, "one") == 2
        assert flood(places, held, "another") == 0
