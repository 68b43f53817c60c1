"""What a stream tells before its first word, and which part of a condensed article was read."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions.summarize.outputs import Status
from functions.summarize.progress import Piece, watched
from tests.conftest import Runner, run_service, wait_until
from tests.doubles import lead_model
from tests.functions.summarize.test_summarize import ARTICLE, events, post

READING = Status("reading", "a model", tokens=9, read=3)
WRITING = Status("writing", "a model")


def test_news_is_told_once_and_the_rest_of_the_stream_as_it_comes() -> None:
    looks = iter([READING, READING, None, WRITING])
    go = asyncio.Event()

    async def stream() -> AsyncGenerator[Piece]:
        await go.wait()
        yield "One"
        yield " two"

    def look() -> Status | None:
        status = next(looks)
        if status is None:
            go.set()
        return status

    async def heard() -> list[Piece | Status]:
        return [piece async for piece in watched(stream(), look)]

    assert asyncio.run(heard()) == [READING, WRITING, "One", " two"]


@pytest.mark.parametrize("told", [True, False], ids=["after a status", "before one"])
def test_who_leaves_before_the_first_word_ends_the_stream(told: bool) -> None:
    ended = []

    async def stream() -> AsyncGenerator[Piece]:
        try:
            await asyncio.Event().wait()
            yield "never"
        finally:
            ended.append(True)

    async def leave() -> None:
        pieces = watched(stream(), lambda: READING if told else None)
        coming = asyncio.ensure_future(anext(pieces))
        done, _ = await asyncio.wait([coming], timeout=5 if told else 0.3)
        assert bool(done) is told
        if not told:
            coming.cancel()
            await asyncio.wait([coming])
        await pieces.aclose()

    asyncio.run(leave())
    assert ended == [True]


def test_a_failure_before_the_first_word_is_the_stream_s() -> None:
    async def stream() -> AsyncGenerator[Piece]:
        await asyncio.sleep(0)
        raise RuntimeError("no more")
        yield ""

    async def heard() -> list[Piece | Status]:
        return [piece async for piece in watched(stream(), lambda: READING)]

    with pytest.raises(RuntimeError, match="no more"):
        asyncio.run(heard())


def told(runner: Runner, **body: object) -> tuple[list[dict[str, Any]], list[str], dict[str, Any]]:
    """The status events of a stream, the names of the other events before the last, and the whole answer."""
    found = list(events(post(runner, stream=True, progress=True, **body).text))
    assert found[-1][0] == "done"
    return [data for name, data in found if name == "status"], [name for name, _ in found[:-1]], found[-1][1]


def test_a_stream_with_progress_says_who_begins_to_write(runner: Runner) -> None:
    statuses, names, _ = told(runner, text=ARTICLE + " Nobody had seen it before.", temperature=0)
    assert statuses[-1] == {"state": "writing", "model": lead_model.NAME}
    assert [name for name, _ in groupby(names)] == ["status", "token"]


@pytest.mark.parametrize("progress", [None, False])
def test_without_the_field_no_status_is_sent(runner: Runner, progress: bool | None) -> None:
    asked = {} if progress is None else {"progress": progress}
    assert {name for name, _ in events(post(runner, text=ARTICLE, stream=True, **asked).text)} == {"token", "done"}


def test_progress_changes_nothing_about_an_answer_that_is_no_stream(runner: Runner) -> None:
    first = post(runner, text=ARTICLE, seed=77).json()
    again = post(runner, text=ARTICLE, seed=77, progress=True).json()
    assert again["usage"]["cached_answer"] is True
    assert again["summary"] == first["summary"]


def test_who_waits_is_told_the_place_and_then_how_much_is_read(tmp_path: Path) -> None:
    settings = {"SUMMARIZE__CONTEXT": 8192, "SUMMARIZE__MAX_ARTICLE_TOKENS": 4_000, "SUMMARIZE__PARALLEL": 1}
    long = "word " * 3_000
    with run_service(tmp_path / "log.txt", **settings) as runner, ThreadPoolExecutor(1) as pool:
        assert post(runner, text=ARTICLE).status_code == 200
        first = pool.submit(post, runner, text=long, max_tokens=4)

        def at_work() -> bool:
            return bool(httpx.get(f"{runner.url}/health").json()["queues"]["summarize"]["at_work"])

        wait_until(at_work, "the long article is read")
        statuses, _, whole = told(runner, text=long + "again", max_tokens=4)
        assert first.result().status_code == 200
    states = [name for name, _ in groupby(status["state"] for status in statuses)]
    assert states == ["waiting", "reading", "writing"]
    waiting = [status for status in statuses if status["state"] == "waiting"]
    assert {status["place"] for status in waiting} == {1}
    assert all(status["seconds"] >= 0 for status in waiting)
    reading = [status for status in statuses if status["state"] == "reading"]
    usage = whole["usage"]
    assert {status["tokens"] for status in reading} == {usage["prompt_tokens"] - usage["cached_tokens"]}
    assert all(before["read"] < after["read"] for before, after in pairwise(reading))
    assert reading[-1]["read"] <= reading[-1]["tokens"]


def test_of_a_condensed_article_it_is_told_what_was_read(runner: Runner) -> None:
    # An astral character and white space in front: offsets are in code points of the text as it was sent.
    text = "\n  🙂 " + ARTICLE + " More was said about it later, in many words that say little." * 2000
    body = post(runner, text=text, temperature=0).json()
    assert body["condensed"] is True
    spans = body["read"]
    assert all(start < end for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    read = " ".join(text[start:end] for start, end in spans)
    assert "The town of Lindholm opened a bridge on Monday." in read
    assert read.count("More was said about it later") == 1
    kept = post(runner, text=text.lstrip(), temperature=0).json()
    assert kept["usage"]["cached_answer"] is True
    assert [[start + 3, end + 3] for start, end in kept["read"]] == spans


def test_of_an_article_that_was_read_whole_nothing_is_told(runner: Runner) -> None:
    assert "read" not in post(runner, text=ARTICLE).json()
