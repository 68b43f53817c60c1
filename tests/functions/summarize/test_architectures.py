"""Every decoder that llama.cpp runs with several sequences, on tiny models of random weights.

What a request gets among others, with batches that are broken off and fail, is what it gets alone.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

import llama_cpp
import pytest

from functions.summarize.context import DecodeAborted, DecodeFailed, LlamaContext, Options, Row, Sampling
from functions.summarize.rates import Rates
from functions.summarize.scheduler import Scheduler
from functions.summarize.tickets import Completion, Event, Ticket
from tests.conftest import WAIT_SECONDS, wait_until
from tests.doubles import tiny_gguf

PARALLEL = 4
CELLS = 1024
# Small, so that a batch is several passes and windows of other requests are overwritten within it.
OPTIONS = Options(threads=1, micro_batch=16)
OPENING, LONG_OPENING = "Sum it up in short: ", "Sum this article up in a few plain sentences of your own: "
TEXT = "The town of Lindholm opened a bridge on Monday, which took four years to build and cost too much. " * 4
# Logits of these models are spread over tens.
ROUNDING = 0.1
RECURRENT = ("mamba", "mamba2", "lfm2")


class RoughContext(LlamaContext):
    """The real context; some batches are broken off half way, and those with a certain token fail half way."""

    source: random.Random | None = None
    poison: int | None = None
    rebuilt = 0

    def decode(self, rows: Sequence[Row]) -> None:
        half = len(rows) // 2
        if any(row.token == self.poison for row in rows):
            self._part(rows[:half])
            raise DecodeFailed("llama_decode returned -3")
        if self.source and self.source.random() < 0.15:
            self._part(rows[:half])
            self.abort()
            with pytest.raises(DecodeAborted):
                super().decode(rows[half:])
            raise DecodeAborted
        super().decode(rows)

    def rebuild(self) -> None:
        super().rebuild()
        self.rebuilt += 1

    def _part(self, rows: Sequence[Row]) -> None:
        if rows:
            super().decode(rows)


@dataclass(eq=False)
class Request:
    """A ticket, and the text that it got."""

    ticket: Ticket
    text: str = ""
    ended: Queue[Completion | Exception] = field(default_factory=Queue)

    def end(self) -> Completion | Exception:
        return self.ended.get(timeout=WAIT_SECONDS * 12)


class Desk:
    """A scheduler on a tiny model, and prompts for it."""

    def __init__(self, path: Path, opening: str = OPENING) -> None:
        self.context = RoughContext(path, CELLS, PARALLEL, OPTIONS)
        self.opening = self.context.tokenize(opening, False)
        self.scheduler = Scheduler(self.context, self.opening, PARALLEL, Rates(PARALLEL, 0.25))

    def prompt(self, length: int, start: int) -> list[int]:
        return [*self.opening, *self.context.tokenize(TEXT[start:], False)[:length]]

    def submit(self, prompt: Sequence[int], count: int, heard: Callable[[], None] = lambda: None) -> Request:
        request = Request(Ticket(len(prompt), count, None, True))

        def emit(event: Event) -> None:
            if isinstance(event, str):
                request.text += event
                heard()
            else:
                request.ended.put(event)

        self.scheduler.reserve(request.ticket, len(self.scheduler.jobs()))
        self.scheduler.submit(request.ticket, prompt, Sampling(count, 0.0, None), emit)
        return request

    def alone(self, prompt: Sequence[int], count: int) -> str:
        request = self.submit(prompt, count)
        assert isinstance(request.end(), Completion)
        return request.text


@pytest.fixture(scope="module", params=tiny_gguf.KINDS)
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tiny_gguf.write(tmp_path_factory.mktemp("tiny") / f"{request.param}.gguf", request.param))


@pytest.fixture(autouse=True)
def smooth(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "desk" in request.fixturenames:
        context = request.getfixturevalue("desk").context
        context.source = context.poison = None


def test_a_request_gets_among_others_what_it_gets_alone(desk: Desk) -> None:
    source = random.Random(1)
    leaving: list[Request] = []

    def one_leaves() -> None:
        if leaving and source.random() < 0.1:
            desk.scheduler.cancel(leaving.pop().ticket)

    desk.context.source = random.Random(2)
    works = [(desk.prompt(source.randint(20, 250), source.randrange(200)), source.randint(4, 24)) for _ in range(12)]
    requests = [desk.submit(prompt, count, one_leaves) for prompt, count in works]
    leaving += requests[1::4]
    staying = [request for index, request in enumerate(requests) if index % 4 != 1]
    assert all(isinstance(request.end(), Completion) for request in staying)
    for request in requests[1::4]:
        desk.scheduler.cancel(request.ticket)
    wait_until(lambda: not desk.scheduler.jobs(), "all are gone")
    alone = LlamaContext(desk.context._path, CELLS, 1, OPTIONS)
    for request in staying:
        assert _shortfall(alone, request.ticket) < ROUNDING
    alone.close()


def test_a_request_that_fails_alone_fails_alone(desk: Desk) -> None:
    poison = desk.context.tokenize("~", False)[-1]
    works = [desk.prompt(120, start) for start in (0, 40, 80)]
    expected = [desk.alone(prompt, 8) for prompt in works]
    desk.context.poison = poison
    bad = desk.submit([*desk.prompt(100, 7), poison, *desk.prompt(20, 9)], 8)
    good = [desk.submit(prompt, 8) for prompt in works]
    assert isinstance(bad.end(), DecodeFailed)
    assert [(type(request.end()), request.text) for request in good] == [(Completion, text) for text in expected]


def test_the_opening_is_read_once(desk: Desk) -> None:
    assert desk.scheduler.opening_tokens == len(desk.opening)
    request = desk.submit(desk.prompt(30, 0), 4)
    end = request.end()
    assert isinstance(end, Completion)
    assert end.cached_tokens == len(desk.opening)


def test_a_prompt_with_half_the_opening_gets_what_it_gets_in_a_context_of_its_own(desk: Desk) -> None:
    prompt = [*desk.opening[: len(desk.opening) // 2], *desk.prompt(40, 3)[len(desk.opening) :]]
    fresh = Desk(desk.context._path, "Other words: ")
    assert desk.alone(prompt, 12) == fresh.alone(prompt, 12)


@pytest.mark.parametrize("position", [1, 40, 150, 290, 299])
def test_what_goes_on_behind_a_cut_is_as_if_the_rest_had_never_been(desk: Desk, position: int) -> None:
    context = LlamaContext(desk.context._path, CELLS, 1, OPTIONS)
    tokens = desk.prompt(300, 0)[:300]
    try:
        expected = _after(context, tokens[:position])
        _read(context, tokens, 0)
        assert context.can_cut_back == (not desk.context._path.name.startswith(RECURRENT))
        if context.cut_back(1, position - 1):
            assert context.can_cut_back or position == 1
            _read(context, tokens[:position], position - 1)
            assert _greedy(context) == expected
        else:
            assert context.length(1) == 0
    finally:
        context.close()


def test_an_opening_longer_than_the_window_is_read_by_each(tmp_path: Path) -> None:
    desk = Desk(tiny_gguf.write(tmp_path / "gemma3.gguf", "gemma3"), LONG_OPENING)
    assert len(desk.opening) > tiny_gguf.WINDOW
    assert desk.scheduler.opening_tokens == 0
    request = desk.submit(desk.prompt(30, 0), 4)
    end = request.end()
    assert isinstance(end, Completion)
    assert end.cached_tokens == 0


def _shortfall(context: LlamaContext, ticket: Ticket) -> float:
    """How far the tokens that a request got are at most below the best ones of a context of its own.

    In a batch of other rows sums are rounded otherwise, so that of two tokens as likely either may be drawn.
    """
    read = len(ticket.prompt)
    context.forget(1)
    _read(context, ticket.tokens[:read], 0)
    worst = 0.0
    for place in range(read, len(ticket.tokens)):
        logits = llama_cpp.llama_get_logits_ith(context._context, -1)[: llama_cpp.llama_vocab_n_tokens(context._vocab)]
        worst = max(worst, max(logits) - logits[ticket.tokens[place]])
        _read(context, ticket.tokens[: place + 1], place)
    return worst


def _read(context: LlamaContext, tokens: Sequence[int], begin: int) -> None:
    last = len(tokens) - 1
    context.decode([Row(tokens[place], place, 1, place == last) for place in range(begin, len(tokens))])


def _greedy(context: LlamaContext) -> int:
    sampler = context.sampler(Sampling(1, 0.0, None))
    try:
        return context.sample(sampler, -1)
    finally:
        sampler.free()


def _after(context: LlamaContext, tokens: Sequence[int]) -> int:
    context.forget(1)
    _read(context, tokens, 0)
    found = _greedy(context)
    context.forget(1)
    return found
