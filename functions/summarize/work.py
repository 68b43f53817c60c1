"""One request on its way: read, planned, condensed where there is no time for all of it, written, answered."""

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from common.callers import flow
from common.errors import FactoryError, FieldError, InvalidInput, QueueFull, Unavailable
from common.sentences import finished
from common.settings import SummarizeSettings
from functions.summarize import condense, facts, metrics, progress, reducing
from functions.summarize.context import DecodeFailed, Sampling
from functions.summarize.engine import LlamaEngine
from functions.summarize.outputs import Accepted, Answer, Keep, Output, Status
from functions.summarize.planning import MIN_ARTICLE_TOKENS, Demand, Plan, Refusal
from functions.summarize.schemas import SummarizeRequest, SummarizeResponse, Usage
from functions.summarize.tickets import Completion, DeadlineExpired, Elsewhere, HandedOver, Ticket
from functions.summarize.writers import Choice, Offer, Request, Why, Writers, choose

UNFINISHED = "…"
Spans = list[tuple[int, int]]
# By then another one is asked.
CLOSED_RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class _Article:
    """The text to summarise and its tokens for one model. `room`: tokens that a prompt may have of it.

    `sent_tokens` are those of the text as it was sent: of a reduced article, whose text is made of summaries, more.
    `phases`: the milliseconds that reducing it took.
    """

    engine: LlamaEngine
    text: str
    tokens: list[int]
    room: int
    sent_tokens: int
    is_reduced: bool = False
    phases: dict[str, float] = field(default_factory=dict)

    @property
    def wanted(self) -> int:
        """Tokens of it that would be read if there were time enough."""
        return min(len(self.tokens), self.room)


@dataclass(frozen=True)
class _Place:
    """A place among the requests of the model that writes. `contended`: others had places when this one came.

    `thinking_tokens` are those for thoughts, beside the planned ones of the summary. `why`: it is the stand-in.
    """

    article: _Article
    ticket: Ticket
    plan: Plan
    thinking_tokens: int
    contended: bool
    why: Why | None


@dataclass(frozen=True)
class Work:
    """One request, with all that it is answered with."""

    request: SummarizeRequest
    writers: Writers
    settings: SummarizeSettings
    deadline: float | None
    wait: float | None
    keep: Keep
    begun: float = field(default_factory=time.monotonic)

    async def run(self) -> AsyncGenerator[Output]:
        """The outputs of `service.summarize`."""
        # A place before anything is done for it.
        places = self.writers.engines[0].places
        with self._kept(), places.hold(self.writers.requests, self.writers.retry_after), self._told():
            articles = await self._read()
            reduces = self.settings.overflow == "map_reduce" and self.deadline is None
            reduces = reduces and len(articles[0].tokens) > articles[0].room
            if reduces:
                yield Accepted()
                articles = [await self._reduced(articles[0])]
            place = self._reserve(articles)
            try:
                if not reduces:
                    yield Accepted()
                with self.writers.rounds.present(flow(), self.writers.claims.clients()):
                    while True:
                        try:
                            async with aclosing(self._written(place)) as outputs:
                                async for output in outputs:
                                    yield output
                            return
                        except HandedOver as there:
                            place = self._moved(articles, there)
            finally:
                self._release(place)

    async def _written(self, place: _Place) -> AsyncGenerator[str | Status | Answer]:
        tokens, read = await self._prompt(place)
        sampling = self._sampling(place.plan.output, place.thinking_tokens)
        engine = place.article.engine
        written: list[str] = []
        generated = engine.generate(place.ticket, tokens, sampling)
        pieces: AsyncGenerator[str | Completion | Status] = generated
        if self.request.progress:
            pieces = progress.watched(generated, partial(engine.status, place.ticket))
        async with aclosing(pieces) as stream:
            async for piece in stream:
                if isinstance(piece, Completion):
                    self._count(engine, piece)
                    answer = await self._checked(place, self._answer("".join(written), place, piece, read))
                    self.keep(answer)
                    metrics.count_summary(answer)
                    yield answer
                    continue
                if isinstance(piece, str):
                    written.append(piece)
                yield piece

    def _count(self, engine: LlamaEngine, completion: Completion) -> None:
        metrics.count_completion(engine.name, "main" if engine is self.writers.main else "stand-in", completion)

    def _release(self, place: _Place) -> None:
        place.article.engine.release(place.ticket)
        if place.ticket.handed_over is not None and self.writers.stand_in is not None:
            # The news may have come too late to be heard.
            self.writers.stand_in.release(place.ticket.handed_over.ticket)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Neither model is closed within."""
        with ExitStack() as stack:
            if not all([stack.enter_context(engine.in_use()) for engine in self.writers.engines]):
                raise Unavailable("a model was taken out of service just now", CLOSED_RETRY_SECONDS)
            yield

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except DeadlineExpired:
            raise Unavailable("the time was over before the first word", self.writers.retry_after()) from None
        except DecodeFailed as error:
            raise FactoryError(f"the model failed on this article: {error}") from None

    async def _read(self) -> list[_Article]:
        """The article as each of the models sees it that have room for it; raises InvalidInput where none has."""
        articles, failures = list[_Article](), list[InvalidInput]()
        for engine in self.writers.engines:
            try:
                articles.append(await self._read_by(engine))
            except InvalidInput as failure:
                failures.append(failure)
        if not articles:
            raise failures[0]
        return articles

    async def _read_by(self, engine: LlamaEngine) -> _Article:
        frame = engine.prompt.frame_length(self.request.max_tokens)
        room = engine.context_tokens - frame - self.request.max_tokens - engine.thinking_tokens
        if room < MIN_ARTICLE_TOKENS:
            most = self.request.max_tokens + room - MIN_ARTICLE_TOKENS
            raise InvalidInput([FieldError("max_tokens", f"may be at most {most} with this model's context")])
        text = self.request.text.strip()
        tokens = await engine.tokens_of(text)
        room = min(room, self.settings.max_article_tokens or room)
        self._check_room(len(tokens), room)
        return _Article(engine, text, tokens, room, len(tokens))

    def _check_room(self, tokens: int, room: int) -> None:
        if self.settings.overflow == "error" and tokens > room:
            raise InvalidInput([FieldError("text", f"has {tokens} tokens; there is room or time for {room}")])

    def _reserve(self, articles: Sequence[_Article]) -> _Place:
        """A place, and how much of the article will be read; nothing may be awaited in here."""
        contended = self.writers.requests > 0
        offers = [self._offer(article) for article in articles]
        main = next((offer for offer in offers if offer.engine is self.writers.main), None)
        stand_in = next((offer for offer in offers if offer.engine is self.writers.stand_in), None)
        min_read = 1.0 if self.settings.overflow == "error" else self.settings.min_read
        claims = self.writers.claims
        ahead = [claim.demand for claim in claims.ahead(flow())]
        choice = choose(main, stand_in, Request(self.deadline, self.request.stream, min_read), ahead)
        if isinstance(choice, Refusal):
            raise self._refused(choice, offers[-1])
        if not (choice.is_whole or self.writers.rounds.has_turn(flow(), claims.clients())):
            # There is too little for all who are here, and somebody had less of it.
            wait = Refusal(self.writers.retry_after(), 0.0)
            raise self._refused(wait, offers[-1])
        claims.settle(flow())
        article = next(article for article in articles if article.engine is choice.offer.engine)
        self._check_room(len(article.tokens), choice.plan.article)
        elsewhere = None
        if choice.offer is main and stand_in is not None and self.deadline is not None:
            elsewhere = Elsewhere(stand_in.demand, choice.offer.share(choice.plan))
        frame, stream = choice.offer.demand.frame, self.request.stream
        ticket = article.engine.reserve(frame, choice.plan, self.deadline, stream, elsewhere)
        return self._place(article, ticket, choice, contended)

    def _offer(self, article: _Article) -> Offer:
        engine = article.engine
        output = self.request.max_tokens + engine.thinking_tokens
        demand = Demand(article.wanted, output, engine.prompt.frame_length(self._told_tokens))
        return Offer(engine, demand, min(len(article.tokens), self.settings.max_article_tokens or len(article.tokens)))

    def _refused(self, refusal: Refusal, offer: Offer) -> FactoryError:
        """The error, with a claim to be served before others at the time that it tells."""
        if self.wait is not None and refusal.needed_seconds > self.wait:
            detail = f"wait: this model needs {refusal.needed_seconds:.0f} s even for a short summary"
            return InvalidInput([FieldError("Prefer", detail)])
        fits = refusal.retry_after_seconds
        retry_after = self.writers.retry_after() if fits is None else fits
        error = QueueFull("summarize: there is no time for one more request before its deadline", retry_after)
        if fits is not None:
            least = offer.engine, offer.engine.least_job(offer.demand, self.request.stream)
            self.writers.claims.grant(flow(), error.retry_after, least)
        return error

    def _place(self, article: _Article, ticket: Ticket, choice: Choice, contended: bool) -> _Place:
        # Where time is short, it is thoughts that there is no time for.
        summary = min(choice.plan.output, self.request.max_tokens)
        plan = replace(choice.plan, output=summary)
        return _Place(article, ticket, plan, choice.plan.output - summary, contended, choice.why)

    def _moved(self, articles: Sequence[_Article], there: HandedOver) -> _Place:
        """The place that the stand-in has for it by now."""
        article = next(article for article in articles if article.engine is self.writers.stand_in)
        return self._place(article, there.ticket, Choice(self._offer(article), there.plan, "handed-over"), True)

    @property
    def _told_tokens(self) -> int | None:
        """The length that the model is told to keep to; without a deadline it is told none."""
        return self.request.max_tokens if self.deadline is not None else None

    async def _prompt(self, place: _Place) -> tuple[list[int], Spans | None]:
        """Its tokens, and of a shortened article what is read of its text."""
        article, engine = place.article, place.article.engine
        tokens, read = article.tokens, None
        if place.plan.article < len(tokens):
            shortened = partial(self._shortened, article, place.plan.article)
            tokens, read = await engine.run(shortened, len(article.text))
        told = place.plan.output if self._told_tokens is not None else None
        return engine.prompt.build(tokens, told), read

    def _sampling(self, output_tokens: int, thinking_tokens: int) -> Sampling:
        return Sampling(output_tokens, self.request.temperature, self.request.seed, thinking_tokens)

    def _shortened(self, article: _Article, most_tokens: int) -> tuple[list[int], Spans | None]:
        engine = article.engine
        shortened = condense.condense(article.text, most_tokens, engine.count, self.settings.lead_share)
        return engine.prompt.article(shortened.text), None if article.is_reduced else shortened.spans

    def _answer(self, text: str, place: _Place, completion: Completion, read: Spans | None) -> Answer:
        article, plan = place.article, place.plan
        limited = plan.article < article.wanted or plan.output < self.request.max_tokens or place.why == "busy"
        passing = completion.finish_reason == "deadline" or place.why in ("not-loaded", "handed-over")
        passing = passing or (place.contended and limited)
        if completion.finish_reason == "length" and plan.output < self.request.max_tokens:
            # It was time that allowed no more.
            completion = replace(completion, finish_reason="deadline")
        summary = text.strip()
        if completion.finish_reason == "deadline":
            summary = finished(text).strip() or summary + UNFINISHED
        response = SummarizeResponse(
            summary=summary,
            model=article.engine.name,
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
            read=read,
        )
        notes = {"writer": "main"} if place.why is None else {"writer": "stand-in", "why": place.why}
        return Answer(response, reducing.added(article.phases, completion), passing, notes)

    async def _checked(self, place: _Place, answer: Answer) -> Answer:
        """With what its summary has and the article, as it was sent, has not; where the settings want that."""
        if not self.settings.check_facts:
            return answer
        begun = time.monotonic()
        summary, text = answer.response.summary, self.request.text
        missing = await place.article.engine.run(partial(facts.unsupported, summary, text), len(text))
        response = answer.response.model_copy(update={"unsupported": missing})
        phases = {**answer.phases, "check": (time.monotonic() - begun) * 1000}
        return replace(answer, response=response, phases=phases)

    async def _reduced(self, article: _Article) -> _Article:
        """Map-reduce: the summaries of the article's parts in its place."""
        count = partial(self._count, article.engine)
        parts = reducing.Parts(article.engine, self.settings.parallel, self._sampling, count)
        text, tokens, phases = await parts.reduced(article.text, article.tokens, article.room)
        return replace(article, text=text, tokens=tokens, is_reduced=True, phases=phases)
