import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from pydantic import BaseModel

from common.cache import AnswerCache, CacheStatus, request_key
from common.callers import begin_flow

BOUND_SECONDS = 10.0


class Fields(BaseModel):
    text: str = "text"
    number: int = 1


def test_what_was_asked_for_last_is_kept_within_the_bytes() -> None:
    kept: AnswerCache[str, str] = AnswerCache(len, lambda: 12)
    for name in "abc":
        kept.keep(name.encode(), name * 4)
    assert kept.get(b"a") == "aaaa"
    kept.keep(b"d", "dddd")
    assert [kept.get(name.encode()) for name in "abcd"] == ["aaaa", None, "cccc", "dddd"]


def test_a_result_that_is_larger_than_all_the_room_is_not_kept_and_nothing_is_lost_for_it() -> None:
    kept: AnswerCache[str, str] = AnswerCache(len, lambda: 12)
    kept.keep(b"small", "x")
    kept.keep(b"large", "x" * 20)
    assert kept.get(b"large") is None
    assert kept.get(b"small") == "x"


def test_what_one_caller_has_sent_is_no_earlier_request_of_another() -> None:
    begin_flow("192.0.2.1")
    mine = request_key("model", Fields())
    begin_flow("192.0.2.1")
    assert request_key("model", Fields()) == mine
    begin_flow("192.0.2.2")
    assert request_key("model", Fields()) != mine


@pytest.mark.parametrize(
    "other",
    [
        ("another model", Fields()),
        ("model", Fields(text="another")),
        ("model", Fields(number=2)),
        ("model", Fields(), "more"),
        ("model", Fields(), None),
    ],
)
def test_the_model_every_field_and_what_else_decides_make_another_request(other: tuple[str, Fields, object]) -> None:
    assert request_key(*other) != request_key("model", Fields())


def test_no_bytes_keep_nothing() -> None:
    kept: AnswerCache[str, str] = AnswerCache(len, lambda: 0)
    kept.keep(b"a", "a")
    assert kept.get(b"a") is None


def test_who_joins_late_hears_all_and_a_failure_is_everyones_and_then_forgotten() -> None:
    runs = 0

    async def play() -> None:
        cache: AnswerCache[int, int] = AnswerCache(lambda _: 1, lambda: 0)
        go = asyncio.Event()

        async def produce(_: object) -> AsyncGenerator[int]:
            nonlocal runs
            runs += 1
            yield 1
            await go.wait()
            yield 2
            if runs == 1:
                raise RuntimeError("broken")

        async def listen() -> list[int]:
            heard = []
            async with aclosing(cache.join(b"key", produce)) as pieces:
                async for piece in pieces:
                    heard.append(piece)
            return heard

        first = asyncio.create_task(listen())
        await asyncio.sleep(0.01)
        second = asyncio.create_task(listen())
        await asyncio.sleep(0.01)
        go.set()
        for task in (first, second):
            with pytest.raises(RuntimeError, match="broken"):
                await task
        assert runs == 1
        assert await listen() == [1, 2]
        assert runs == 2

    asyncio.run(asyncio.wait_for(play(), BOUND_SECONDS))


def test_what_is_kept_found_missed_and_joined_is_told() -> None:
    kept: AnswerCache[str, str] = AnswerCache(len, lambda: 12)
    kept.keep(b"a", "aaaa")
    kept.get(b"a"), kept.get(b"b")
    kept.get_after_miss(b"a"), kept.get_after_miss(b"b")

    async def run(_: object) -> AsyncGenerator[str]:
        yield "piece"

    async def together() -> None:
        async with aclosing(kept.join(b"b", run)) as first, aclosing(kept.join(b"b", run)) as second:
            assert [await anext(first), await anext(second)] == ["piece", "piece"]

    asyncio.run(together())
    assert kept.status == CacheStatus(answers=1, bytes=4, hits=2, misses=1, joined=1)
