"""Requests that are worked on at the same time: each gets what it gets alone, whatever happens to the others."""

import asyncio
import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass

import pytest

from common.settings import ROOT, get_settings
from functions.summarize.context import DecodeFailed, Options, Sampling
from functions.summarize.engine import LlamaEngine
from functions.summarize.planning import Plan
from functions.summarize.tickets import Completion, DeadlineExpired
from tests.conftest import wait_until
from tests.doubles import lead_model
from tests.doubles.faulty_context import FaultyContext
from tests.functions.summarize.conftest import idle

ARTICLES = [
    json.loads(line)["text"]
    for line in (ROOT / "tests" / "data" / "articles.jsonl").read_text(encoding="utf-8").splitlines()
]
PARALLEL = 4


@dataclass(frozen=True)
class Request:
    tokens: list[int]
    sampling: Sampling
    streams: bool


@pytest.fixture(scope="module")
def context() -> FaultyContext:
    return FaultyContext(lead_model.FILE, lead_model.CONTEXT, PARALLEL, Options(threads=1))


@pytest.fixture(scope="module")
def shared(context: FaultyContext) -> LlamaEngine:
    return LlamaEngine(lead_model.NAME, get_settings().summarize, context)


@pytest.fixture
def llama(shared: LlamaEngine, context: FaultyContext) -> Iterator[LlamaEngine]:
    yield shared
    context.poison, context.broken = None, False
    context.hold.set()
    wait_until(lambda: idle(shared), "every place and every cell is free again")


async def answer(llama: LlamaEngine, request: Request, deadline: float | None = None) -> tuple[str, Completion]:
    ticket = llama.reserve(len(request.tokens), Plan(0, request.sampling.max_tokens), deadline, request.streams)
    text, completion = "", None
    async with aclosing(llama.generate(ticket, request.tokens, request.sampling)) as pieces:
        async for piece in pieces:
            if isinstance(piece, str):
                text += piece
            else:
                completion = piece
    assert completion is not None
    return text, completion


def request_for(
    llama: LlamaEngine,
    article: str,
    *,
    max_tokens: int = 60,
    temperature: float = 0.7,
    seed: int = 3,
    streams: bool = False,
) -> Request:
    tokens = llama.prompt.build(llama.tokenize(article, False)[:384])
    return Request(tokens, Sampling(max_tokens, temperature, seed), streams)


def alone(llama: LlamaEngine, request: Request) -> str:
    return asyncio.run(answer(llama, request))[0]


@pytest.mark.parametrize("seed", range(4))
def test_any_mix_of_arrivals_cancels_and_lengths_gives_each_the_text_it_gets_alone(
    llama: LlamaEngine, seed: int
) -> None:
    source = random.Random(seed)
    requests = [
        request_for(
            llama,
            source.choice(ARTICLES)[: source.randint(40, 2500)],
            max_tokens=source.randint(1, 90),
            temperature=source.choice([0.0, 0.7, 1.3]),
            seed=source.randrange(1000),
            streams=source.random() < 0.5,
        )
        for _ in range(24)
    ]
    expected = [alone(llama, request) for request in requests]
    leaves = [source.random() < 0.3 for _ in requests]
    delays = [source.random() * 0.4 for _ in requests]

    async def client(request: Request, delay: float, leaves: bool) -> str | None:
        await asyncio.sleep(delay)
        task = asyncio.create_task(answer(llama, request))
        if leaves:
            await asyncio.sleep(delay / 4)
            task.cancel()
            await asyncio.wait([task])
            return None
        return (await task)[0]

    async def together() -> list[str | None]:
        return await asyncio.gather(*map(client, requests, delays, leaves))

    for text, alone_text, left in zip(asyncio.run(together()), expected, leaves, strict=True):
        assert left or text == alone_text


def test_requests_beyond_the_slots_and_the_cells_wait_for_their_turn(llama: LlamaEngine) -> None:
    requests = [request_for(llama, ARTICLES[i] * 3, max_tokens=120) for i in range(12)]
    needed = sum(len(request.tokens) + request.sampling.max_tokens for request in requests[:PARALLEL])
    assert needed > llama.context_tokens
    expected = [alone(llama, request) for request in requests]

    async def together() -> list[tuple[str, Completion]]:
        return await asyncio.gather(*(answer(llama, request) for request in requests))

    answers = asyncio.run(together())
    assert [text for text, _ in answers] == expected
    assert max(completion.queue_ms for _, completion in answers) > 0


def test_a_request_that_fails_alone_fails_alone(llama: LlamaEngine, context: FaultyContext) -> None:
    poison = llama.tokenize("\x7f", False)[-1]
    good = [request_for(llama, article) for article in ARTICLES[:6]]
    assert not any(poison in request.tokens for request in good)
    bad = Request([*good[0].tokens[:-3], poison, *good[0].tokens[-3:]], good[0].sampling, False)
    expected = [alone(llama, request) for request in good]
    context.poison = poison

    async def together() -> list[tuple[str, Completion] | BaseException]:
        mixed = [*good[:3], bad, *good[3:]]
        return await asyncio.gather(*(answer(llama, request) for request in mixed), return_exceptions=True)

    outcomes = asyncio.run(together())
    assert isinstance(outcomes.pop(3), DecodeFailed)
    assert [outcome[0] for outcome in outcomes if not isinstance(outcome, BaseException)] == expected


def test_a_context_that_fails_for_all_is_rebuilt_and_those_who_wait_are_served(
    llama: LlamaEngine, context: FaultyContext
) -> None:
    requests = [request_for(llama, article) for article in ARTICLES[:8]]
    expected = [alone(llama, request) for request in requests]
    rebuilt = context.rebuilt

    async def together() -> list[tuple[str, Completion] | BaseException]:
        context.hold.clear()
        tasks = [asyncio.create_task(answer(llama, request)) for request in requests]
        await asyncio.sleep(0)
        context.broken = True
        context.hold.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(together())
    failed = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
    assert context.rebuilt == rebuilt + 1
    assert 1 <= len(failed) <= PARALLEL
    for index, outcome in enumerate(outcomes):
        assert index in failed or (not isinstance(outcome, BaseException) and outcome[0] == expected[index])
    assert alone(llama, requests[0]) == expected[0]


def test_two_hundred_disconnects_leave_nothing_behind(llama: LlamaEngine) -> None:
    requests = [request_for(llama, ARTICLES[i % len(ARTICLES)] * 2) for i in range(200)]
    witness = request_for(llama, ARTICLES[0])
    expected = alone(llama, witness)

    async def leave(request: Request, delay: float) -> None:
        task = asyncio.create_task(answer(llama, request))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])

    async def together() -> str:
        source = random.Random(0)
        staying = asyncio.create_task(answer(llama, witness))
        await asyncio.gather(*(leave(request, source.random()) for request in requests))
        return (await staying)[0]

    assert asyncio.run(together()) == expected
    wait_until(lambda: idle(llama), "all are gone")


def test_at_the_deadline_what_is_written_is_the_answer(llama: LlamaEngine) -> None:
    request = request_for(llama, "word " * 300, max_tokens=1000, temperature=2.0)
    whole = Request(request.tokens, Sampling(1000, 2.0, 1), True)
    begun = time.monotonic()
    text, completion = asyncio.run(answer(llama, whole, deadline=begun + 0.3))
    if completion.finish_reason == "deadline":
        assert 0 < completion.completion_tokens < 1000
        assert text
    assert completion.finish_reason in ("deadline", "stop")


def test_a_deadline_within_the_prefill_ends_it(llama: LlamaEngine, context: FaultyContext) -> None:
    request = Request(llama.tokenize("word " * 1500, False)[:1500], Sampling(50, 0, 1), False)
    context.hold.clear()
    release = threading.Timer(0.2, context.hold.set)
    release.start()
    with pytest.raises(DeadlineExpired):
        asyncio.run(answer(llama, request, deadline=time.monotonic() + 0.1))
    release.join()


def test_a_clock_that_jumps_changes_nothing(llama: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    request = request_for(llama, ARTICLES[0])
    expected = alone(llama, request)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    text, completion = asyncio.run(answer(llama, request, deadline=time.monotonic() + 60))
    assert text == expected
    assert completion.finish_reason != "deadline"


def test_a_place_that_is_given_back_unused_is_free(llama: LlamaEngine) -> None:
    ticket = llama.reserve(100, Plan(0, 100), None, False)
    assert llama.requests == 1
    llama.release(ticket)
    llama.release(ticket)
    assert llama.requests == 0
