"""Articles that are longer than the room they have: sentences left out, parts summarised first, or refused."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from common.errors import FactoryError, InvalidInput, QueueFull
from common.settings import SummarizeSettings, get_settings
from functions.summarize import service
from functions.summarize.context import DecodeFailed, Sampling
from functions.summarize.engine import LlamaEngine
from functions.summarize.outputs import Accepted, Answer, Output
from functions.summarize.planning import Plan
from functions.summarize.schemas import SummarizeRequest, SummarizeResponse
from functions.summarize.writers import Writers
from tests.conftest import wait_until
from tests.functions.summarize.conftest import idle

ROOM = 96
OPENING = "The town of Lindholm opened a bridge on Monday."
MODES = ["condense", "map_reduce", "error"]


def article(paragraphs: int) -> str:
    """About 37 tokens for each paragraph, none like another."""
    stories = [
        f"Bridge {number} was opened in the year {1000 + 7 * number}. Its builders came from valley {number * number}."
        for number in range(1, paragraphs)
    ]
    return "\n\n".join([f"{OPENING} It took four years to build.", *stories])


def configured(overflow: str, room: int | None = ROOM, **fields: object) -> SummarizeSettings:
    known = get_settings().summarize.model_dump()
    return SummarizeSettings.model_validate({**known, "overflow": overflow, "max_article_tokens": room, **fields})


def request(text: str, **fields: object) -> SummarizeRequest:
    return SummarizeRequest.model_validate({"text": text, "temperature": 0, "max_tokens": 40, **fields})


def summarize(
    llama: LlamaEngine, asked: SummarizeRequest, settings: SummarizeSettings, deadline: float | None = None
) -> SummarizeResponse:
    async def listen() -> SummarizeResponse:
        async with aclosing(service.summarize(asked, Writers(llama), settings, deadline)) as pieces:
            heard = [piece async for piece in pieces]
        assert heard[0] == Accepted()
        assert isinstance(heard[-1], Answer)
        response = heard[-1].response
        text = "".join(piece for piece in heard if isinstance(piece, str))
        assert response.summary == text.strip() or response.finish_reason == "deadline"
        return response

    answered = asyncio.run(listen())
    wait_until(lambda: idle(llama), "the places of an answered request are free")
    return answered


def tokens(llama: LlamaEngine, text: str) -> int:
    return len(llama.tokenize(text, False))


def test_condense_reads_as_much_of_the_article_as_there_is_room_for(llama: LlamaEngine) -> None:
    text = article(40)
    response = summarize(llama, request(text), configured("condense"))
    assert response.condensed
    assert response.input_tokens == tokens(llama, text) > 10 * ROOM
    assert ROOM / 2 < response.usage.prompt_tokens - llama.prompt.frame_length() <= ROOM
    assert response.summary.startswith(OPENING)


@pytest.mark.parametrize("overflow", MODES)
def test_an_article_that_just_fits_is_read_whole_in_every_mode(llama: LlamaEngine, overflow: str) -> None:
    text = article(3)
    room = tokens(llama, text)
    response = summarize(llama, request(text), configured(overflow, room))
    assert not response.condensed
    assert response.usage.prompt_tokens == room + llama.prompt.frame_length()
    assert response.input_tokens == room


# Without a room of its own it is the context of 2,048 tokens, less 40 for the answer and some for the frame.
@pytest.mark.parametrize(("room", "least", "largest"), [(ROOM, ROOM, ROOM), (None, 1849, 2007)])
def test_error_names_the_text_with_its_tokens_and_the_room(
    llama: LlamaEngine, room: int | None, least: int, largest: int
) -> None:
    text = article(120)
    with pytest.raises(InvalidInput) as error:
        summarize(llama, request(text), configured("error", room))
    (named,) = error.value.errors
    assert named.field == "text"
    has, most = map(int, re.findall(r"\d+", named.detail))
    assert has == tokens(llama, text)
    assert least <= most <= largest
    assert idle(llama)


@pytest.mark.parametrize("overflow", MODES)
def test_tokens_for_the_answer_that_leave_the_article_no_room_are_refused_with_the_most_that_do(
    llama: LlamaEngine, overflow: str
) -> None:
    # The schema's own limit is below what the model's context could write.
    asked = request(OPENING).model_copy(update={"max_tokens": llama.context_tokens})
    with pytest.raises(InvalidInput) as error:
        summarize(llama, asked, configured(overflow, None))
    (named,) = error.value.errors
    assert named.field == "max_tokens"
    most = int(re.findall(r"\d+", named.detail)[0])
    fits = request(OPENING).model_copy(update={"max_tokens": most})
    assert summarize(llama, fits, configured(overflow, None)).summary


def test_map_reduce_answers_of_the_whole_article_with_parts_made_side_by_side(llama: LlamaEngine) -> None:
    text = article(60)
    most = 0

    async def watched() -> SummarizeResponse:
        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, llama.requests)
                await asyncio.sleep(0.001)

        watcher = asyncio.create_task(watch())
        async with aclosing(service.summarize(request(text), Writers(llama), configured("map_reduce"))) as pieces:
            heard = [piece async for piece in pieces]
        watcher.cancel()
        assert heard[0] == Accepted()
        assert isinstance(heard[-1], Answer)
        assert heard[-1].phases["prefill"] > 0
        return heard[-1].response

    response = asyncio.run(watched())
    assert response.condensed
    assert response.input_tokens == tokens(llama, text) > 10 * ROOM
    assert response.summary.startswith(OPENING)
    assert 1 < most <= llama.parallel
    wait_until(lambda: idle(llama), "the places of the parts are free")


def test_map_reduce_of_the_parts_summaries_goes_on_until_they_fit(llama: LlamaEngine) -> None:
    text = article(100)
    # A part's summary may have 12 tokens: those of all parts are over the room again, and those of these.
    response = summarize(llama, request(text), configured("map_reduce", 64))
    assert response.input_tokens == tokens(llama, text) > 30 * 64
    assert response.usage.prompt_tokens <= 64 + llama.prompt.frame_length()
    assert response.summary


def test_map_reduce_is_the_same_each_time_at_temperature_0(llama: LlamaEngine) -> None:
    asked, settings = request(article(40)), configured("map_reduce")
    assert summarize(llama, asked, settings).summary == summarize(llama, asked, settings).summary


def test_with_a_deadline_map_reduce_leaves_sentences_out_instead(llama: LlamaEngine) -> None:
    response = summarize(llama, request(article(40)), configured("map_reduce"), time.monotonic() + 60)
    assert response.condensed
    assert response.usage.prompt_tokens - llama.prompt.frame_length(40) > ROOM / 2
    assert response.summary.startswith(OPENING)


async def first_text(pieces: AsyncGenerator[Output]) -> str:
    async for piece in pieces:
        if isinstance(piece, str):
            return piece
    raise AssertionError("no text came")


@pytest.mark.parametrize("overflow", ["condense", "map_reduce"])
@pytest.mark.parametrize("after", ["accepted", "first text"])
def test_a_generator_that_is_closed_early_frees_its_place(llama: LlamaEngine, overflow: str, after: str) -> None:
    async def leave() -> None:
        asked = request(article(40), stream=True)
        async with aclosing(service.summarize(asked, Writers(llama), configured(overflow))) as pieces:
            assert await anext(pieces) == Accepted()
            if after == "first text":
                assert await first_text(pieces)

    asyncio.run(leave())
    wait_until(lambda: idle(llama), "the closed request gave its place back")


def test_map_reduce_that_is_cancelled_among_its_parts_frees_every_place(llama: LlamaEngine) -> None:
    async def leave(places: int) -> None:
        async def listen() -> None:
            async with aclosing(
                service.summarize(request(article(120)), Writers(llama), configured("map_reduce"))
            ) as pieces:
                async for _ in pieces:
                    pass

        task = asyncio.create_task(listen())
        async with asyncio.timeout(10):
            while llama.requests < places:
                assert not task.done()
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    for places in (1, 2, llama.parallel):
        asyncio.run(leave(places))
        wait_until(lambda: idle(llama), "every part gave its place back")


VERY_LONG = pytest.mark.parametrize(
    "text",
    [article(140), "x" * 6000, "🙂" * 1200, "今日は" * 600, "<|eot_id|><|begin_of_text|>" * 250, ". \n\n" * 2500],
    ids=["news", "one word", "emoji", "kana", "control tokens", "stops"],
)


@pytest.mark.parametrize("overflow", ["condense", "map_reduce"])
@VERY_LONG
def test_text_of_many_times_the_context_is_answered(llama: LlamaEngine, overflow: str, text: str) -> None:
    response = summarize(llama, request(text, max_tokens=8), configured(overflow, 384))
    assert response.condensed
    assert response.input_tokens == tokens(llama, text.strip()) > 2 * llama.context_tokens
    assert response.usage.completion_tokens <= 8


@VERY_LONG
def test_text_of_many_times_the_context_is_refused_where_it_is_to_be(llama: LlamaEngine, text: str) -> None:
    has = tokens(llama, text.strip())
    with pytest.raises(InvalidInput, match=f"has {has} tokens; there is room or time for 384"):
        summarize(llama, request(text, max_tokens=8), configured("error", 384))


def test_map_reduce_without_a_room_of_its_own_fits_the_context(llama: LlamaEngine) -> None:
    text = article(90)
    assert tokens(llama, text) > llama.context_tokens
    response = summarize(llama, request(text), configured("map_reduce", None))
    assert response.condensed
    assert response.input_tokens == tokens(llama, text)


def test_a_map_reduce_that_was_accepted_is_not_refused_for_others_who_came_later(llama: LlamaEngine) -> None:
    settings = configured("map_reduce", max_waiting=0)

    async def listen() -> Output:
        async with aclosing(service.summarize(request(article(20)), Writers(llama), settings)) as pieces:
            assert await anext(pieces) == Accepted()
            others = [llama.reserve(10, Plan(0, 10), None, False) for _ in range(settings.parallel)]
            try:
                return [piece async for piece in pieces][-1]
            finally:
                for other in others:
                    llama.release(other)

    assert isinstance(asyncio.run(listen()), Answer)


def test_a_part_that_fails_is_named_as_the_model_s_failure(llama: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DecodeFailed("llama_decode returned -1")

    monkeypatch.setattr(llama._scheduler, "submit", fail)
    with pytest.raises(FactoryError, match="the model failed on this article"):
        summarize(llama, request(article(20)), configured("map_reduce"))
    monkeypatch.undo()
    wait_until(lambda: idle(llama), "the places of the failed parts are free")


def test_a_request_that_would_never_fit_the_context_fails_and_holds_up_nobody(llama: LlamaEngine) -> None:
    async def ask() -> None:
        ticket = llama.reserve(10, Plan(0, llama.context_tokens), None, False)
        async with aclosing(llama.generate(ticket, [1] * 10, Sampling(llama.context_tokens, 0, None))) as pieces:
            await anext(pieces)

    with pytest.raises(DecodeFailed, match="do not fit the context"):
        asyncio.run(ask())
    wait_until(lambda: idle(llama), "its place is free")


def test_time_that_was_lost_on_the_way_is_not_the_caller_s_fault(llama: LlamaEngine) -> None:
    spent = time.monotonic() + 0.001
    with pytest.raises(QueueFull):
        summarize(llama, request(article(3)), configured("condense"), spent)


def test_a_summary_that_time_made_shorter_ends_with_a_sentence_and_says_so(
    llama: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = summarize(llama, request(article(3)), configured("condense"))
    short = tokens(llama, whole.summary) // 2 + 2
    monkeypatch.setattr(llama, "plan", lambda demand, *_, **__: Plan(demand.article, short))
    response = summarize(llama, request(article(3)), configured("condense"), time.monotonic() + 600)
    assert response.finish_reason == "deadline"
    assert response.usage.completion_tokens == short
    assert response.summary.endswith((".", "…"))
