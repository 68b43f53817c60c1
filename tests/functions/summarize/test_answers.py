import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest

from common.errors import QueueFull
from functions.summarize.outputs import Accepted, Answer, Keep, Output
from functions.summarize.schemas import SummarizeRequest, SummarizeResponse, Usage
from functions.summarize.service import ENTRY_BYTES, Answers, new_answers, shared

PLENTY = 1_000_000
BOUND_SECONDS = 10.0


def request(text: str = "An article.", **fields: Any) -> SummarizeRequest:
    return SummarizeRequest.model_validate({"text": text, "temperature": 0, **fields})


def answer(summary: str, *, passing: bool = False) -> Answer:
    usage = Usage(prompt_tokens=9, cached_tokens=4, completion_tokens=2)
    response = SummarizeResponse(
        summary=summary,
        model="fake",
        inference_time_ms=5,
        finish_reason="stop",
        usage=usage,
        condensed=False,
        input_tokens=5,
    )
    return Answer(response, {"queue": 1.0, "decode": 2.0}, passing)


@dataclass
class Model:
    """Writes "run 1", "run 2", ..; every step waits until `go` is set. It counts what was begun and what was closed."""

    passing: bool = False
    error: Exception | None = None
    summary: str = "run {}"
    started: int = 0
    closed: int = 0
    finished: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def produce(self, keep: Keep) -> AsyncGenerator[Output]:
        self.started += 1
        summary = self.summary.format(self.started)
        try:
            yield Accepted()
            for word in summary.partition(" "):
                await self.go.wait()
                yield word
            if self.error is not None:
                raise self.error
            made = answer(summary, passing=self.passing)
            keep(made)
            yield made
            self.finished += 1
        finally:
            self.closed += 1


def going(model: Model) -> Model:
    model.go.set()
    return model


def ask(
    answers: Answers, asked: SummarizeRequest, wait: float | None, produce: Callable[[Keep], AsyncGenerator[Output]]
) -> AsyncGenerator[Output]:
    return shared(answers, asked, "fake", wait, produce)


async def hear(answers: Answers, asked: SummarizeRequest, model: Model, *, wait: float | None = None) -> list[Output]:
    async with asyncio.timeout(BOUND_SECONDS), aclosing(ask(answers, asked, wait, model.produce)) as pieces:
        return [piece async for piece in pieces]


def response(pieces: list[Output]) -> SummarizeResponse:
    assert isinstance(pieces[-1], Answer)
    return pieces[-1].response


async def is_kept(asked: SummarizeRequest, model: Model, max_bytes: int = PLENTY) -> bool:
    """Whether the second of two equal requests, one after the other, is answered without a run."""
    answers = new_answers(lambda: max_bytes)
    first = response(await hear(answers, asked, model))
    again = response(await hear(answers, asked, model))
    assert not first.usage.cached_answer
    assert again.usage.cached_answer == (model.started == 1)
    return again.usage.cached_answer


async def until_listening(listeners: list[asyncio.Task[list[Output]]]) -> None:
    """Every task has run as far as it gets without the model."""
    for _ in range(10 * len(listeners)):
        await asyncio.sleep(0)


@pytest.mark.parametrize("temperature", [0, 0.7])
def test_equal_requests_at_the_same_time_run_once_and_all_hear_it_from_the_start(temperature: float) -> None:
    async def scenario() -> None:
        answers, model = new_answers(), Model()
        asked = request(temperature=temperature)
        early = [asyncio.create_task(hear(answers, asked, model)) for _ in range(4)]
        await until_listening(early)
        late = ask(answers, asked, None, model.produce)
        assert await anext(late) == Accepted()
        model.go.set()
        heard = [*await asyncio.gather(*early), [Accepted(), *[piece async for piece in late]]]
        assert model.started == 1
        for pieces in heard:
            assert pieces == [Accepted(), "run", " ", "1", answer("run 1")]

    asyncio.run(scenario())


def test_one_who_comes_in_the_middle_hears_the_beginning_too() -> None:
    async def scenario() -> None:
        answers, model = new_answers(), going(Model())
        # Nothing of it is kept.
        asked = request(temperature=0.7)
        first = ask(answers, asked, None, model.produce)
        for _ in range(3):
            await anext(first)
        assert (await hear(answers, asked, model))[:3] == [Accepted(), "run", " "]
        assert [piece async for piece in first] == ["1", answer("run 1")]
        assert model.started == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("other", "wait"),
    [
        (request(stream=True), 5.0),
        (request(), 6.0),
        (request(), None),
        (request(seed=1), 5.0),
        (request(temperature=0.5), 5.0),
        (request(max_tokens=149), 5.0),
        (request("Another article."), 5.0),
        (request("an article."), 5.0),
    ],
)
def test_requests_that_differ_run_apart(other: SummarizeRequest, wait: float | None) -> None:
    async def scenario() -> None:
        answers, model = new_answers(), Model()
        listeners = [
            asyncio.create_task(hear(answers, request(), model, wait=5.0)),
            asyncio.create_task(hear(answers, other, model, wait=wait)),
        ]
        await until_listening(listeners)
        assert model.started == 2
        model.go.set()
        assert {response(pieces).summary for pieces in await asyncio.gather(*listeners)} == {"run 1", "run 2"}

    asyncio.run(scenario())


def test_fields_of_one_request_cannot_be_taken_for_the_text_of_another() -> None:
    async def scenario() -> None:
        answers, model = new_answers(), going(Model())
        fields = request().model_dump(exclude={"stream", "text"}) | {"wait": None}
        await hear(answers, request("x"), model)
        await hear(answers, request(f"{fields} x"), model)
        assert model.started == 2

    asyncio.run(scenario())


def test_white_space_around_an_article_makes_no_other_request_of_it() -> None:
    async def scenario() -> None:
        answers, model = new_answers(), going(Model())
        await hear(answers, request("An article."), model)
        await hear(answers, request("\n An article.\t"), model)
        assert model.started == 1

    asyncio.run(scenario())


def test_a_kept_answer_serves_streams_and_whole_answers_alike() -> None:
    async def scenario() -> None:
        answers, model = new_answers(), going(Model())
        await hear(answers, request(), model)
        assert response(await hear(answers, request(stream=True), model)).usage.cached_answer
        assert model.started == 1

    asyncio.run(scenario())


def test_the_run_goes_on_when_one_of_its_listeners_leaves() -> None:
    async def scenario() -> None:
        answers, model = new_answers(), Model()
        first, second = (asyncio.create_task(hear(answers, request(), model)) for _ in range(2))
        await until_listening([first, second])
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        assert model.closed == 0
        model.go.set()
        assert response(await second).summary == "run 1"

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["cancelled", "closed"])
def test_the_run_ends_when_the_last_of_its_listeners_leaves_and_the_next_request_starts_anew(how: str) -> None:
    async def scenario() -> None:
        answers, model = new_answers(), Model()
        tasks = [asyncio.create_task(hear(answers, request(), model)) for _ in range(2)]
        reader = ask(answers, request(), None, model.produce)
        await anext(reader)
        await until_listening(tasks)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert model.closed == 0
        if how == "closed":
            await reader.aclose()
        else:
            waiting = asyncio.ensure_future(anext(reader))
            await until_listening(tasks)
            waiting.cancel()
            await asyncio.wait([waiting])
        assert (model.started, model.closed, model.finished) == (1, 1, 0)
        model.go.set()
        assert response(await hear(answers, request(), model)).summary == "run 2"

    asyncio.run(scenario())


def test_who_comes_while_an_abandoned_run_is_ending_gets_a_run_of_its_own() -> None:
    async def scenario() -> None:
        answers, model = new_answers(), Model()
        ending = asyncio.Event()

        async def slow_to_end(_: Keep) -> AsyncGenerator[Output]:
            try:
                yield Accepted()
                await asyncio.Event().wait()
            finally:
                await ending.wait()

        abandoned = ask(answers, request(), None, slow_to_end)
        assert await anext(abandoned) == Accepted()
        leaving = asyncio.create_task(abandoned.aclose())
        await asyncio.sleep(0)
        assert response(await hear(answers, request(), going(model))).summary == "run 1"
        ending.set()
        await leaving

    asyncio.run(scenario())


def test_an_error_reaches_every_listener_and_is_not_kept() -> None:
    async def scenario() -> None:
        answers, model = new_answers(), Model(error=QueueFull("full", 3))
        tasks = [asyncio.create_task(hear(answers, request(), model)) for _ in range(3)]
        await until_listening(tasks)
        model.go.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert outcomes == [model.error] * 3
        assert (model.started, model.closed) == (1, 1)
        model.error = None
        await asyncio.sleep(0)
        assert response(await hear(answers, request(), model)).summary == "run 2"

    asyncio.run(scenario())


def test_an_error_does_not_swallow_what_came_before_it() -> None:
    async def scenario() -> None:
        answers, model = new_answers(), going(Model(error=ValueError("broken")))
        pieces = ask(answers, request(), None, model.produce)
        assert [await anext(pieces) for _ in range(4)] == [Accepted(), "run", " ", "1"]
        with pytest.raises(ValueError, match="broken"):
            await anext(pieces)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"temperature": 0}, True),
        ({"temperature": 0, "stream": True}, True),
        ({"temperature": 0.7, "seed": 0}, True),
        ({"temperature": 0.7}, False),
        ({"temperature": 0.7, "stream": True}, False),
    ],
)
def test_only_a_repeatable_answer_is_kept(fields: dict[str, Any], kept: bool) -> None:
    async def scenario() -> None:
        assert await is_kept(request(**fields), going(Model())) == kept

    asyncio.run(scenario())


def test_an_answer_that_others_cut_short_is_not_kept() -> None:
    async def scenario() -> None:
        assert not await is_kept(request(), going(Model(passing=True)))

    asyncio.run(scenario())


def test_a_kept_answer_is_the_same_but_for_its_mark_and_its_text_comes_before_it() -> None:
    async def scenario() -> None:
        answers, model = new_answers(), going(Model())
        made = response(await hear(answers, request(stream=True), model))
        accepted, text, kept = await hear(answers, request(stream=True), model)
        assert accepted == Accepted()
        assert text == made.summary
        assert isinstance(kept, Answer)
        assert kept.response.usage == made.usage.model_copy(update={"cached_answer": True})
        assert kept.response.model_copy(update={"usage": made.usage}) == made
        # Whoever reads a kept answer spends no time in any phase.
        assert kept.phases == {}
        assert not made.usage.cached_answer

    asyncio.run(scenario())


def test_over_the_cap_the_answer_that_was_longest_unused_goes_first() -> None:
    async def scenario() -> None:
        room = 3 * (ENTRY_BYTES + 2000)
        answers, model = new_answers(lambda: room), going(Model(summary="é" * 1000))

        async def is_hit(name: str) -> bool:
            pieces = await hear(answers, request(name), model)
            return response(pieces).usage.cached_answer

        for name in "abc":
            assert not await is_hit(name)
        assert await is_hit("a")
        assert not await is_hit("d")
        assert [await is_hit(name) for name in "acd"] == [True, True, True]
        assert not await is_hit("b")

    asyncio.run(scenario())


@pytest.mark.parametrize("max_bytes", [0, ENTRY_BYTES])
def test_an_answer_that_is_over_the_cap_is_not_kept(max_bytes: int) -> None:
    async def scenario() -> None:
        assert not await is_kept(request(), going(Model()), max_bytes)

    asyncio.run(scenario())


def test_equal_requests_share_a_run_even_where_nothing_is_kept() -> None:
    async def scenario() -> None:
        answers, model = new_answers(lambda: 0), Model()
        tasks = [asyncio.create_task(hear(answers, request(), model)) for _ in range(5)]
        await until_listening(tasks)
        model.go.set()
        summaries = {response(pieces).summary for pieces in await asyncio.gather(*tasks)}
        assert summaries == {"run 1"}

    asyncio.run(scenario())
