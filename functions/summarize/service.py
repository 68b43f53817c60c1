"""The use case: an article in, its summary out, piece by piece."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
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


async def summarize(
    request: SummarizeRequest, engine: LlamaEngine, settings: SummarizeSettings, deadline: float | None = None
) -> AsyncGenerator[Piece]:
    """Accepted, pieces of the summary as they come, and the whole answer at last.

    `deadline` is a time of `time.monotonic`. Raises InvalidInput for a `max_tokens` that leaves the article no room
    and for a deadline that no request can keep, QueueFull, and Unavailable where the deadline came first.
    """
    begun = time.monotonic()
    article = await _read(request, engine, settings)
    over = len(article.tokens) > article.room
    if over and settings.overflow == "map_reduce" and deadline is None:
        pieces = _map_reduce(request, engine, settings, article, begun)
    else:
        pieces = _condensed(request, engine, settings, article, deadline, begun)
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
    tokens = await engine.run(lambda: engine.tokenize(text, False))
    room = min(room, settings.max_article_tokens or room)
    if settings.overflow == "error":
        _check_room(len(tokens), room)
    return Article(text, tokens, room)


async def _condensed(
    request: SummarizeRequest,
    engine: LlamaEngine,
    settings: SummarizeSettings,
    article: Article,
    deadline: float | None,
    begun: float,
) -> AsyncGenerator[Piece]:
    """The summary of as much of the article as there is room and time for."""
    told = request.max_tokens if deadline is not None else None
    frame = prompt.frame_length(engine.tokenize, told)
    wanted = min(len(article.tokens), article.room)
    beside = engine.requests > 0
    ticket, room = _reserve(Demand(wanted, request.max_tokens, frame), deadline, request, engine, settings)
    try:
        if settings.overflow == "error":
            _check_room(len(article.tokens), room)
        yield Accepted()
        condensed = room < len(article.tokens)
        output = ticket.output_tokens
        tokens = await engine.run(
            lambda: prompt.build(
                _shortened(article, room, engine, settings.lead_share) if condensed else article.tokens,
                engine.tokenize,
                output if told is not None else None,
            )
        )
        sampling = Sampling(output, request.temperature, request.seed)
        written: list[str] = []
        async with aclosing(engine.generate(ticket, tokens, sampling)) as stream:
            async for piece in stream:
                if isinstance(piece, str):
                    written.append(piece)
                    yield piece
                else:
                    short = room < wanted or output < request.max_tokens
                    passing = piece.finish_reason == "deadline" or (beside and short)
                    response = _response("".join(written), engine, begun, article, condensed, piece)
                    yield Answer(response, _phases(piece), passing)
    finally:
        engine.release(ticket)


def _reserve(
    demand: Demand,
    deadline: float | None,
    request: SummarizeRequest,
    engine: LlamaEngine,
    settings: SummarizeSettings,
) -> tuple[Ticket, int]:
    """A place, and the tokens of the article that will be read; nothing may be awaited in here."""
    if engine.requests >= settings.parallel + settings.max_waiting:
        raise QueueFull(f"summarize: {settings.max_waiting} requests wait already", engine.retry_after())
    outcome = engine.plan(demand, deadline, request.stream)
    if isinstance(outcome, Refusal):
        if outcome.retry_after is None:
            detail = f"wait: this model needs at least {outcome.needed:.0f} s for the shortest summary"
            raise InvalidInput([FieldError("Prefer", detail)])
        raise QueueFull("summarize: there is no time for one more request before its deadline", outcome.retry_after)
    ticket = engine.reserve(demand.frame + outcome.article, outcome.output, deadline, request.stream)
    return ticket, outcome.article


def _check_room(tokens: int, room: int) -> None:
    if tokens > room:
        raise InvalidInput([FieldError("text", f"has {tokens} tokens; there is room for {room}")])


def _shortened(article: Article, room: int, engine: LlamaEngine, lead_share: float) -> list[int]:
    return engine.tokenize(condense.condense(article.text, room, _counter(engine), lead_share), False)


def _counter(engine: LlamaEngine) -> "condense.Count":
    return lambda part: len(engine.tokenize(part, False))


async def _map_reduce(
    request: SummarizeRequest, engine: LlamaEngine, settings: SummarizeSettings, article: Article, begun: float
) -> AsyncGenerator[Piece]:
    """Summaries of the article's parts, made side by side, and then the summary of these."""
    if engine.requests >= settings.parallel + settings.max_waiting:
        raise QueueFull(f"summarize: {settings.max_waiting} requests wait already", engine.retry_after())
    yield Accepted()
    part_tokens = max(1, int(article.room * PART_SHARE))
    text, phases = article.text, dict[str, float]()
    turns = asyncio.Semaphore(settings.parallel)

    async def summary(part: str) -> str:
        async with turns:
            return await _part(part, part_tokens, request, engine, phases)

    while len(engine.tokenize(text, False)) > article.room:
        parts = await engine.run(partial(condense.windows, text, article.room, _counter(engine)))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(summary(part)) for part in parts]
        text = "\n\n".join(task.result() for task in tasks)
    whole = request.model_copy(update={"text": text})
    reduced = Article(text, engine.tokenize(text, False), article.room)
    async with aclosing(_condensed(whole, engine, settings, reduced, None, begun)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Answer):
                fields = {"condensed": True, "input_tokens": len(article.tokens)}
                for name, milliseconds in piece.phases.items():
                    phases[name] = phases.get(name, 0.0) + milliseconds
                yield Answer(piece.response.model_copy(update=fields), phases, piece.passing)
            elif isinstance(piece, str):
                yield piece


async def _part(
    text: str, output: int, request: SummarizeRequest, engine: LlamaEngine, phases: dict[str, float]
) -> str:
    tokens = await engine.run(lambda: prompt.build(engine.tokenize(text, False), engine.tokenize))
    ticket = engine.reserve(len(tokens), output, None, False)
    written = ""
    sampling = Sampling(output, request.temperature, request.seed)
    async with aclosing(engine.generate(ticket, tokens, sampling)) as stream:
        async for piece in stream:
            if isinstance(piece, str):
                written += piece
            else:
                for name, milliseconds in _phases(piece).items():
                    phases[name] = phases.get(name, 0.0) + milliseconds
    return condense.last_finished(written) or written.strip()


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
