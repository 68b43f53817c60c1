"""The use case: an article in, its summary out, piece by piece."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from common.cache import AnswerCache, request_key
from common.errors import FactoryError, FieldError, InvalidInput, QueueFull, Unavailable
from common.sentences import finished
from common.settings import SummarizeSettings, get_settings
from functions.summarize import condense, facts
from functions.summarize.context import DecodeFailed, Sampling
from functions.summarize.engine import LlamaEngine, model
from functions.summarize.planning import MIN_ARTICLE_TOKENS, Demand, Plan, Refusal
from functions.summarize.schemas import SummarizeRequest, SummarizeResponse, Usage
from functions.summarize.tickets import Completion, DeadlineExpired, Ticket

# Map-reduce: the summary of a part may have this share of the tokens that a prompt has room for.
PART_SHARE = 0.2
UNFINISHED = "…"
# What a kept answer takes beside its text: key, objects, links.
ENTRY_BYTES = 1024


@dataclass(frozen=True)
class Accepted:
    """The first output: the request has a place. The next output may take a while."""


@dataclass(frozen=True)
class Answer:
    """The last output, with the milliseconds of the phases.

    `passing`: other requests or the deadline made it shorter than it would be at another time.
    """

    response: SummarizeResponse
    phases: dict[str, float] = field(default_factory=dict)
    passing: bool = False


# A str is a part of the summary, as it is written.
Output = Accepted | str | Answer
Keep = Callable[[Answer], None]
Answers = AnswerCache[Output, Answer]


def new_answers(most_bytes: Callable[[], int] = lambda: get_settings().summarize.answer_cache_bytes) -> Answers:
    return AnswerCache(lambda answer: ENTRY_BYTES + len(answer.response.summary.encode()), most_bytes)


answers = new_answers()


async def respond(request: SummarizeRequest, deadline: float | None, wait: int | None) -> AsyncGenerator[Output]:
    """The outputs of `summarize`, or those of an equal request. To be iterated at once.

    `deadline` is a time of `time.monotonic`, `wait` the seconds that the caller asked for. Raises ModelNotReady.
    """
    settings = get_settings()
    patience = settings.model_wait_seconds
    if deadline is not None:
        patience = max(0.0, min(patience, deadline - time.monotonic()))
    engine = await model.ready(patience)
    produce = partial(summarize, request, engine, settings.summarize, deadline, wait)
    return shared(answers, request, engine.name, wait, produce)


def shared(
    cache: Answers,
    request: SummarizeRequest,
    name: str,
    wait: float | None,
    produce: Callable[[Keep], AsyncGenerator[Output]],
) -> AsyncGenerator[Output]:
    """The outputs of `produce` from the first one on, or a kept answer.

    Requests are equal when their caller, all their fields and their `wait` are. An answer is kept when it is repeatable
    (temperature 0 or a seed) and nobody was in its way.
    """
    equal = request.model_copy(update={"text": request.text.strip(), "stream": False})
    key = request_key(name, equal, wait)
    if (kept := cache.get(key)) is not None:
        return _repeated(kept)

    def keep(answer: Answer) -> None:
        if (request.temperature == 0 or request.seed is not None) and not answer.passing:
            cache.keep(key, answer)

    # Streams are planned otherwise: they share no run with others.
    return cache.join(key + bytes([request.stream]), lambda _: produce(keep))


async def _repeated(kept: Answer) -> AsyncGenerator[Output]:
    usage = kept.response.usage.model_copy(update={"cached_answer": True})
    yield Accepted()
    yield kept.response.summary
    yield Answer(kept.response.model_copy(update={"usage": usage}))


def summarize(
    request: SummarizeRequest,
    engine: LlamaEngine,
    settings: SummarizeSettings,
    deadline: float | None = None,
    wait: float | None = None,
    keep: Keep = lambda _: None,
) -> AsyncGenerator[Output]:
    """Accepted, pieces of the summary as they come, and the whole answer at last, which `keep` is given as well.

    Raises InvalidInput for a `max_tokens` that leaves the article no room and for a `wait` that no summary can keep,
    QueueFull when there is no place or no time, and Unavailable when the deadline came before the first word.
    """
    return _Work(request, engine, settings, deadline, wait, keep).run()


@dataclass(frozen=True)
class _Article:
    """The text to summarise and its tokens. `room`: tokens that a prompt may have of it.

    `sent_tokens` are those of the text as it was sent: of a reduced article more. `phases`: the milliseconds that
    reducing it took.
    """

    text: str
    tokens: list[int]
    room: int
    sent_tokens: int
    phases: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """A place among the requests. `contended`: others had places when this one came.

    `thinking_tokens` are those for thoughts, beside the planned ones of the summary.
    """

    ticket: Ticket
    plan: Plan
    thinking_tokens: int
    wanted: int
    contended: bool


@dataclass(frozen=True)
class _Work:
    """One request, with all that it is answered with."""

    request: SummarizeRequest
    engine: LlamaEngine
    settings: SummarizeSettings
    deadline: float | None
    wait: float | None
    keep: Keep
    begun: float = field(default_factory=time.monotonic)

    async def run(self) -> AsyncGenerator[Output]:
        # A place before anything is done for it.
        with self.engine.places.hold(self.engine.requests, self.engine.retry_after), self._told():
            article = await self._read()
            over = len(article.tokens) > article.room
            reduces = over and self.settings.overflow == "map_reduce" and self.deadline is None
            if reduces:
                yield Accepted()
                article = await self._reduced(article)
            place = self._reserve(article)
            try:
                if not reduces:
                    yield Accepted()
                tokens = await self._prompt(article, place)
                sampling = self._sampling(place.plan.output, place.thinking_tokens)
                written: list[str] = []
                async with aclosing(self.engine.generate(place.ticket, tokens, sampling)) as stream:
                    async for piece in stream:
                        if isinstance(piece, str):
                            written.append(piece)
                            yield piece
                        else:
                            answer = await self._checked(self._answer("".join(written), article, place, piece))
                            self.keep(answer)
                            yield answer
            finally:
                self.engine.release(place.ticket)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except DeadlineExpired:
            raise Unavailable("the time was over before the first word", self.engine.retry_after()) from None
        except DecodeFailed as error:
            raise FactoryError(f"the model failed on this article: {error}") from None

    async def _read(self) -> _Article:
        frame = self.engine.prompt.frame_length(self.request.max_tokens)
        room = self.engine.context_tokens - frame - self.request.max_tokens - self.engine.thinking_tokens
        if room < MIN_ARTICLE_TOKENS:
            most = self.request.max_tokens + room - MIN_ARTICLE_TOKENS
            raise InvalidInput([FieldError("max_tokens", f"may be at most {most} with this model's context")])
        text = self.request.text.strip()
        tokens = await self.engine.tokens_of(text)
        room = min(room, self.settings.max_article_tokens or room)
        self._check_room(len(tokens), room)
        return _Article(text, tokens, room, len(tokens))

    def _check_room(self, tokens: int, room: int) -> None:
        if self.settings.overflow == "error" and tokens > room:
            raise InvalidInput([FieldError("text", f"has {tokens} tokens; there is room or time for {room}")])

    def _reserve(self, article: _Article) -> _Place:
        """A place, and how much of the article will be read; nothing may be awaited in here."""
        contended = self.engine.requests > 0
        wanted = min(len(article.tokens), article.room)
        output = self.request.max_tokens + self.engine.thinking_tokens
        demand = Demand(wanted, output, self.engine.prompt.frame_length(self._told_tokens))
        outcome = self.engine.plan(demand, self.deadline, self.request.stream)
        if isinstance(outcome, Refusal):
            if self.wait is not None and outcome.needed_seconds > self.wait:
                detail = f"wait: this model needs {outcome.needed_seconds:.0f} s even for a short summary"
                raise InvalidInput([FieldError("Prefer", detail)])
            retry_after = outcome.retry_after_seconds
            retry_after = self.engine.retry_after() if retry_after is None else retry_after
            raise QueueFull("summarize: there is no time for one more request before its deadline", retry_after)
        self._check_room(len(article.tokens), outcome.article)
        ticket = self.engine.reserve(demand.frame, outcome, self.deadline, self.request.stream)
        # Where time is short, it is thoughts that there is no time for.
        summary = min(outcome.output, self.request.max_tokens)
        return _Place(ticket, replace(outcome, output=summary), outcome.output - summary, wanted, contended)

    @property
    def _told_tokens(self) -> int | None:
        """The length that the model is told to keep to; without a deadline it is told none."""
        return self.request.max_tokens if self.deadline is not None else None

    async def _prompt(self, article: _Article, place: _Place) -> list[int]:
        tokens = article.tokens
        if place.plan.article < len(tokens):
            shortened = partial(self._shortened, article.text, place.plan.article)
            tokens = await self.engine.run(shortened, len(article.text))
        told = place.plan.output if self._told_tokens is not None else None
        return self.engine.prompt.build(tokens, told)

    def _sampling(self, output_tokens: int, thinking_tokens: int) -> Sampling:
        return Sampling(output_tokens, self.request.temperature, self.request.seed, thinking_tokens)

    def _shortened(self, text: str, most_tokens: int) -> list[int]:
        shortened = condense.condense(text, most_tokens, self._count, self.settings.lead_share)
        return self.engine.prompt.article(shortened)

    def _count(self, text: str) -> int:
        return len(self.engine.tokenize(text, False))

    def _answer(self, text: str, article: _Article, place: _Place, completion: Completion) -> Answer:
        plan = place.plan
        limited = plan.article < place.wanted or plan.output < self.request.max_tokens
        passing = completion.finish_reason == "deadline" or (place.contended and limited)
        if completion.finish_reason == "length" and plan.output < self.request.max_tokens:
            # It was time that allowed no more.
            completion = replace(completion, finish_reason="deadline")
        summary = text.strip()
        if completion.finish_reason == "deadline":
            summary = finished(text).strip() or summary + UNFINISHED
        response = SummarizeResponse(
            summary=summary,
            model=self.engine.name,
            inference_time_ms=round((time.monotonic() - self.begun) * 1000),
            finish_reason=completion.finish_reason,
            usage=Usage(
                prompt_tokens=completion.prompt_tokens,
                cached_tokens=completion.cached_tokens,
                completion_tokens=completion.completion_tokens,
                cached_answer=False,
            ),
            condensed=plan.article < article.sent_tokens,
            input_tokens=article.sent_tokens,
        )
        return Answer(response, _added(article.phases, completion), passing)

    async def _checked(self, answer: Answer) -> Answer:
        """With what its summary has and the article, as it was sent, has not; where the settings want that."""
        if not self.settings.check_facts:
            return answer
        begun = time.monotonic()
        summary, text = answer.response.summary, self.request.text
        missing = await self.engine.run(partial(facts.unsupported, summary, text), len(text))
        response = answer.response.model_copy(update={"unsupported": missing})
        phases = {**answer.phases, "check": (time.monotonic() - begun) * 1000}
        return replace(answer, response=response, phases=phases)

    async def _reduced(self, article: _Article) -> _Article:
        """Map-reduce: the summaries of the article's parts, made side by side, in its place."""
        output = max(1, int(article.room * PART_SHARE))
        taken = self.engine.prompt.frame_length() + output + self.engine.thinking_tokens
        room = min(article.room, self.engine.context_tokens - taken)
        text, tokens = article.text, article.tokens
        phases = dict[str, float]()
        turns = asyncio.Semaphore(self.settings.parallel)

        async def summary(part: str) -> str:
            async with turns:
                written, completion = await self._summary_of(part, output)
            phases.update(_added(phases, completion))
            return written

        while len(tokens) > article.room:
            parts = await self.engine.run(partial(condense.windows, text, room, self._count), len(text))
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(summary(part)) for part in parts]
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from None
            text, before = "\n\n".join(task.result() for task in tasks), len(tokens)
            tokens = await self.engine.tokens_of(text)
            if len(tokens) >= before:
                # The model writes more than it reads. The rest is left to condensing.
                break
        return replace(article, text=text, tokens=tokens, phases=phases)

    async def _summary_of(self, part: str, output_tokens: int) -> tuple[str, Completion]:
        tokens = self.engine.prompt.build(await self.engine.tokens_of(part))
        thinking = self.engine.thinking_tokens
        ticket = self.engine.reserve(len(tokens), Plan(0, output_tokens + thinking), None, False)
        sampling = self._sampling(output_tokens, thinking)
        try:
            async with aclosing(self.engine.generate(ticket, tokens, sampling)) as stream:
                *written, completion = [piece async for piece in stream]
        finally:
            self.engine.release(ticket)
        assert isinstance(completion, Completion)
        text = "".join(map(str, written))
        return finished(text) or text.strip(), completion


def _added(phases: dict[str, float], completion: Completion) -> dict[str, float]:
    """`phases` with the milliseconds of one more generation."""
    more = {"queue": completion.queue_ms, "prefill": completion.prefill_ms, "decode": completion.decode_ms}
    return {name: phases.get(name, 0.0) + milliseconds for name, milliseconds in more.items()}
