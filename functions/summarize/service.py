"""The use case: an article in, its summary out, piece by piece."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial

from common.errors import FactoryError, FieldError, InvalidInput, QueueFull, Unavailable
from common.settings import SummarizeSettings
from functions.summarize import condense, prompt
from functions.summarize.budget import MIN_ARTICLE_TOKENS, Demand, Refusal
from functions.summarize.context import DecodeFailed, Sampling
from functions.summarize.engine import LlamaEngine
from functions.summarize.scheduler import Completion, DeadlineExpired, Ticket
from functions.summarize.schemas import SummarizeRequest, SummarizeResponse, Usage

# Map-reduce: what a part's summary may have of the tokens of the whole article's room.
PART_SHARE = 0.2
UNFINISHED = "…"


@dataclass(frozen=True)
class Accepted:
    """The first thing a request yields: it has a place, and what follows takes its time."""


@dataclass(frozen=True)
class Answer:
    """The last thing a request yields, with the milliseconds of its phases.

    `passing` answers are worth less than the same request would get at another time: others were in the way.
    """

    response: SummarizeResponse
    phases: dict[str, float] = field(default_factory=dict)
    passing: bool = False


Piece = Accepted | str | Answer


@dataclass(frozen=True)
class Article:
    """A text with its tokens, and how many of them a prompt may have."""

    text: str
    tokens: list[int]
    room: int


@dataclass(frozen=True)
class Limit:
    """Until when, and how long the caller said it would wait."""

    deadline: float | None = None
    wait: float | None = None


async def summarize(
    request: SummarizeRequest,
    engine: LlamaEngine,
    settings: SummarizeSettings,
    deadline: float | None = None,
    wait: float | None = None,
) -> AsyncGenerator[Piece]:
    """Accepted, pieces of the summary as they come, and the whole answer at last.

    `deadline` is a time of `time.monotonic`, `wait` the seconds that the caller asked for. Raises InvalidInput for a
    `max_tokens` that leaves the article no room and for a `wait` that no summary can keep, QueueFull when there is no
    place or no time, and Unavailable when the deadline came before the first word.
    """
    begun = time.monotonic()
    # Before anything is done for it.
    with engine.places.hold(engine.requests, engine.retry_after):
        async with aclosing(_summarize(request, engine, settings, Limit(deadline, wait), begun)) as pieces:
            async for piece in pieces:
                yield piece


async def _summarize(
    request: SummarizeRequest, engine: LlamaEngine, settings: SummarizeSettings, limit: Limit, begun: float
) -> AsyncGenerator[Piece]:
    article = await _read(request, engine, settings)
    over = len(article.tokens) > article.room
    if over and settings.overflow == "map_reduce" and limit.deadline is None:
        pieces = _map_reduce(request, engine, settings, article, begun)
    else:
        pieces = _condensed(request, engine, settings, article, limit, begun)
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                yield piece
        except DeadlineExpired:
            raise Unavailable("the time was over before the first word", engine.retry_after()) from None
        except DecodeFailed as error:
            raise FactoryError(f"the model failed on this article: {error}") from None


async def _read(request: SummarizeRequest, engine: LlamaEngine, settings: SummarizeSettings) -> Article:
    frame = prompt.frame_length(engine.tokenize, request.max_tokens)
    room = engine.context_tokens - frame - request.max_tokens
    if room < MIN_ARTICLE_TOKENS:
        most = request.max_tokens + room - MIN_ARTICLE_TOKENS
        raise InvalidInput([FieldError("max_tokens", f"may be at most {most} with this model's context")])
    text = request.text.strip()
    tokens = await engine.tokens_of(text)
    room = min(room, settings.max_article_tokens or room)
    if settings.overflow == "error":
        _check_room(len(tokens), room)
    return Article(text, tokens, room)


async def _condensed(
    request: SummarizeRequest,
    engine: LlamaEngine,
    settings: SummarizeSettings,
    article: Article,
    limit: Limit,
    begun: float,
) -> AsyncGenerator[Piece]:
    """The summary of as much of the article as there is room and time for."""
    told = request.max_tokens if limit.deadline is not None else None
    frame = prompt.frame_length(engine.tokenize, told)
    wanted = min(len(article.tokens), article.room)
    beside = engine.requests > 0
    ticket, room = _reserve(Demand(wanted, request.max_tokens, frame), limit, request, engine)
    try:
        if settings.overflow == "error":
            _check_room(len(article.tokens), room)
        yield Accepted()
        condensed = room < len(article.tokens)
        output = ticket.output_tokens
        read = article.tokens
        if condensed:
            shortened = partial(_shortened, article, room, engine, settings.lead_share)
            read = await engine.run(shortened, len(article.text))
        tokens = prompt.build(read, engine.tokenize, output if told is not None else None)
        sampling = Sampling(output, request.temperature, request.seed)
        written: list[str] = []
        async with aclosing(engine.generate(ticket, tokens, sampling)) as stream:
            async for piece in stream:
                if isinstance(piece, str):
                    written.append(piece)
                    yield piece
                else:
                    limited = room < wanted or output < request.max_tokens
                    passing = piece.finish_reason == "deadline" or (beside and limited)
                    if piece.finish_reason == "length" and output < request.max_tokens:
                        # It was time that allowed no more.
                        piece = replace(piece, finish_reason="deadline")
                    response = _response("".join(written), engine, begun, article, condensed, piece)
                    yield Answer(response, _phases(piece), passing)
    finally:
        engine.release(ticket)


def _reserve(
    demand: Demand,
    limit: Limit,
    request: SummarizeRequest,
    engine: LlamaEngine,
) -> tuple[Ticket, int]:
    """A place, and the tokens of the article that will be read; nothing may be awaited in here."""
    outcome = engine.plan(demand, limit.deadline, request.stream)
    if isinstance(outcome, Refusal):
        if limit.wait is not None and outcome.needed > limit.wait:
            detail = f"wait: this model needs {outcome.needed:.0f} s even for a short summary"
            raise InvalidInput([FieldError("Prefer", detail)])
        retry_after = engine.retry_after() if outcome.retry_after is None else outcome.retry_after
        raise QueueFull("summarize: there is no time for one more request before its deadline", retry_after)
    prompt_tokens = demand.frame + outcome.article
    ticket = engine.reserve(prompt_tokens, outcome.output, limit.deadline, request.stream, outcome.place)
    return ticket, outcome.article


def _check_room(tokens: int, room: int) -> None:
    if tokens > room:
        raise InvalidInput([FieldError("text", f"has {tokens} tokens; there is room or time for {room}")])


def _shortened(article: Article, room: int, engine: LlamaEngine, lead_share: float) -> list[int]:
    return engine.tokenize(condense.condense(article.text, room, _counter(engine), lead_share), False)


def _counter(engine: LlamaEngine) -> "condense.Count":
    return lambda part: len(engine.tokenize(part, False))


async def _map_reduce(
    request: SummarizeRequest, engine: LlamaEngine, settings: SummarizeSettings, article: Article, begun: float
) -> AsyncGenerator[Piece]:
    """Summaries of the article's parts, made side by side, and then the summary of these."""
    yield Accepted()
    output = max(1, int(article.room * PART_SHARE))
    room = min(article.room, engine.context_tokens - prompt.frame_length(engine.tokenize) - output)
    text, tokens = article.text, len(article.tokens)
    phases = dict[str, float]()
    turns = asyncio.Semaphore(settings.parallel)

    async def summary(part: str) -> str:
        async with turns:
            return await _part(part, output, request, engine, phases)

    while tokens > article.room:
        parts = await engine.run(partial(condense.windows, text, room, _counter(engine)), len(text))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(summary(part)) for part in parts]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        text, before = "\n\n".join(task.result() for task in tasks), tokens
        tokens = len(await engine.tokens_of(text))
        if tokens >= before:
            # The model writes more than it reads; what is too much is condensed.
            break
    reduced = Article(text, engine.tokenize(text, False), article.room)
    async with aclosing(_condensed(request, engine, settings, reduced, Limit(), begun)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Answer):
                fields = {"condensed": True, "input_tokens": len(article.tokens)}
                _add(phases, piece.phases)
                yield Answer(piece.response.model_copy(update=fields), phases, piece.passing)
            elif isinstance(piece, str):
                yield piece


async def _part(
    text: str, output: int, request: SummarizeRequest, engine: LlamaEngine, phases: dict[str, float]
) -> str:
    tokens = prompt.build(await engine.tokens_of(text), engine.tokenize)
    sampling = Sampling(output, request.temperature, request.seed)
    ticket = engine.reserve(len(tokens), output, None, False)
    written = ""
    try:
        async with aclosing(engine.generate(ticket, tokens, sampling)) as stream:
            async for piece in stream:
                if isinstance(piece, str):
                    written += piece
                else:
                    _add(phases, _phases(piece))
    finally:
        engine.release(ticket)
    return condense.last_finished(written) or written.strip()


def _add(phases: dict[str, float], more: dict[str, float]) -> None:
    for name, milliseconds in more.items():
        phases[name] = phases.get(name, 0.0) + milliseconds


def _phases(completion: Completion) -> dict[str, float]:
    return {"queue": completion.queue_ms, "prefill": completion.prefill_ms, "decode": completion.decode_ms}


def _response(
    text: str, engine: LlamaEngine, begun: float, article: Article, condensed: bool, completion: Completion
) -> SummarizeResponse:
    summary = text.strip()
    if completion.finish_reason == "deadline":
        summary = condense.last_finished(text).strip() or summary + UNFINISHED
    return SummarizeResponse(
        summary=summary,
        model=engine.name,
        inference_time_ms=round((time.monotonic() - begun) * 1000),
        finish_reason=completion.finish_reason,
        usage=Usage(
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
            completion_tokens=completion.completion_tokens,
            cached_answer=False,
        ),
        condensed=condensed,
        input_tokens=len(article.tokens),
    )
