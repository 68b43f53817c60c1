"""Llama on llama.cpp: one model, one context that several requests share, one thread that owns both.

The boundary is `tokenize`, `run`, `plan`, `reserve` and `generate`; the scheduler behind it batches what runs at the
same time.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from common import model_files
from common.admission import Limits, Places
from common.errors import ModelLoadFailed
from common.lazy import LazyModel, ModelStatus, Report
from common.settings import SummarizeSettings, get_settings
from common.worker import Worker
from functions.summarize import adapter, cpu, memory, merging, model_kind, tuning
from functions.summarize import model as llama
from functions.summarize.context import DecodeFailed, LlamaContext, Sampling
from functions.summarize.planning import MIN_ARTICLE_TOKENS, MIN_OUTPUT_TOKENS, Demand, Plan, Refusal, Simulation
from functions.summarize.prompt import Prompt
from functions.summarize.rates import Rates
from functions.summarize.scheduler import Scheduler
from functions.summarize.thinking import Thoughts
from functions.summarize.tickets import Completion, Emit, Event, Ticket

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Estimates. The time that it took is charged afterwards.
SECONDS_PER_CHARACTER = 0.5e-6
CONDENSING_SECONDS_PER_CHARACTER = 2.5e-6


class LlamaEngine:
    """One loaded GGUF. Its methods are called from the event loop and return at once, or are awaited."""

    def __init__(
        self, name: str, settings: SummarizeSettings, context: LlamaContext, facts: Mapping[str, str] | None = None
    ) -> None:
        """Take over `context`, with room for `settings.parallel` sequences, of the model that answers call `name`.

        `facts` are shown with the model's state. Raises ModelLoadFailed.
        """
        self.name = name
        self.detail = f"CPU backend: {cpu.variant()}"
        self.facts = dict(facts or {})
        self.parallel = settings.parallel
        self._context = context
        self._worker = Worker("tokenizer")
        self._condenser = Worker("condenser")
        self.places = Places("summarize", lambda: Limits(settings.parallel, settings.max_waiting))
        self._rates = Rates(settings.parallel, settings.slice_ms / 1000)
        try:
            self.prompt = Prompt(context, settings)
            self._check_room()
            self._scheduler = Scheduler(self._context, self.prompt.opening, settings.parallel, self._rates)
        except (DecodeFailed, ModelLoadFailed) as error:
            self._context.close()
            raise ModelLoadFailed(f"{context.path} cannot be used: {error}") from None
        self.context_tokens = self._context.cells

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Tokens of `text` without a BOS; `special` reads `<|eot_id|>` and its like as the tokens they name."""
        return self._context.tokenize(text, special)

    async def tokens_of(self, text: str) -> list[int]:
        """The tokens of a whole article, on a thread of its own: that takes about a microsecond a character."""
        return await self._worker.run(lambda _: self.prompt.article(text), SECONDS_PER_CHARACTER * len(text))

    async def run(self, work: Callable[[], T], characters: int) -> T:
        """The result of `work`, which goes through so many characters, on another: nobody's tokens wait for it."""
        return await self._condenser.run(lambda _: work(), CONDENSING_SECONDS_PER_CHARACTER * characters)

    @property
    def thinking_tokens(self) -> int:
        """Tokens that a request has for thoughts, before those of its summary."""
        return self.prompt.thinking.tokens if self.prompt.thinking is not None else 0

    @property
    def requests(self) -> int:
        """How many requests have a place."""
        return len(self._scheduler.jobs())

    def plan(self, demand: Demand, deadline: float | None, streams: bool) -> Plan | Refusal:
        """How much of `demand` can be done until `deadline` (as of `time.monotonic`) beside those who have a place."""
        demand = self._from_now(demand, deadline)
        simulation = self._simulation(streams)
        place = self._place(demand, simulation)
        if place < len(simulation.jobs):
            return Plan(demand.article, demand.output, place)
        outcome = simulation.plan(demand)
        if isinstance(outcome, Refusal) and outcome.retry_after_seconds is None:
            # At the recent pace there is never enough time. After a slow spell nothing would run, so nothing would be
            # measured again. So the best pace ever decides whether to try.
            outcome = self._simulation(streams, best=True).plan(demand)
        return replace(outcome, place=place) if isinstance(outcome, Plan) else outcome

    def retry_after(self) -> float:
        """Seconds until the first of the present requests is answered."""
        return min(self._simulation().finish_seconds(), default=0.0)

    def reserve(self, frame_tokens: int, plan: Plan, deadline: float | None, streams: bool) -> Ticket:
        """A place for a prompt of the frame and the planned part of the article, and for the planned summary.

        It is the planned one in the order of service, else the fair one if nobody is made late by that. It is given
        back by `release`, or used up by `generate`.
        """
        ticket = Ticket(frame_tokens + plan.article, plan.output, deadline, streams)
        place = plan.place
        if place is None:
            demand = self._from_now(Demand(0, plan.output, ticket.prompt_tokens), deadline)
            place = self._place(demand, self._simulation(streams))
        self._scheduler.reserve(ticket, place)
        return ticket

    def _from_now(self, demand: Demand, deadline: float | None) -> Demand:
        """`demand` without the opening, which is read already, and with its deadline in seconds from now."""
        frame = max(0, demand.frame - self._scheduler.opening_tokens)
        return replace(demand, frame=frame, deadline=None if deadline is None else deadline - time.monotonic())

    def _simulation(self, streams: bool = False, *, best: bool = False) -> Simulation:
        """Of all requests with a place, at the recent or the best pace. `streams`: one more client reads along."""
        costs = self._rates.best_costs if best else self._rates.costs
        return Simulation(self._scheduler.jobs(), costs(streams or self._scheduler.streams()), self.parallel)

    def _place(self, demand: Demand, simulation: Simulation) -> int:
        """The fair place of all of `demand` among the jobs; the last where that is too late or makes somebody late."""
        place = self._scheduler.fair_place(demand.article + demand.frame + demand.output)
        last = len(simulation.jobs)
        return place if place < last and simulation.fits_at(place, demand) else last

    def _check_room(self) -> None:
        """Raises ModelLoadFailed when the frame leaves no room for the least summary of the least article."""
        frame, least = self.prompt.frame_length(MIN_OUTPUT_TOKENS), MIN_ARTICLE_TOKENS + MIN_OUTPUT_TOKENS
        if (needed := frame + self.thinking_tokens + least) > self._context.cells:
            thoughts = f" and {self.thinking_tokens} for thoughts" if self.thinking_tokens else ""
            raise ModelLoadFailed(
                f"its prompt has {frame} tokens without an article{thoughts}: it needs a context of {needed} or more, "
                f"which FACTORY_SUMMARIZE__CONTEXT sets, and has {self._context.cells}"
            )

    def release(self, ticket: Ticket) -> None:
        """Give a place back; nothing happens if it is used up."""
        self._scheduler.cancel(ticket)

    async def generate(
        self, ticket: Ticket, tokens: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[str | Completion]:
        """Pieces of text as they come, and a Completion at last. Raises DecodeFailed and DeadlineExpired.

        Thoughts are no part of the text. A text that is nothing but thoughts is a DecodeFailed.

        Closing the generator stops the work on it within a step, and in the middle of a prefill.
        """
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event] = asyncio.Queue()
        # The scheduler looks at the deadline between steps; this ends a prefill that is still running then.
        alarm = None
        if ticket.deadline is not None:
            seconds = max(0.0, ticket.deadline - time.monotonic())
            alarm = loop.call_later(seconds, self._scheduler.cancel, ticket, True)
        if self.prompt.thinking is not None:
            ticket.thoughts = Thoughts(self.prompt.thinking, sampling.thinking_tokens)
        said = False
        try:
            self._scheduler.submit(ticket, tokens, sampling, self._emit(ticket, loop, events))
            while True:
                event = await events.get()
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, Completion):
                    if event.thinking_tokens and not said:
                        raise DecodeFailed("it wrote its thoughts and no summary")
                    yield event
                    return
                said = said or not event.isspace()
                yield event
        finally:
            if alarm is not None:
                alarm.cancel()
            self._scheduler.cancel(ticket)

    def _emit(self, ticket: Ticket, loop: asyncio.AbstractEventLoop, events: asyncio.Queue[Event]) -> Emit:
        """What puts the scheduler's events of `ticket` into `events`."""
        # Without a reader each piece would wake the event loop for nothing.
        held: list[str] = []

        def emit(event: Event) -> None:
            if isinstance(event, str) and not ticket.streams:
                held.append(event)
                return
            try:
                if held and isinstance(event, Completion):
                    loop.call_soon_threadsafe(events.put_nowait, "".join(held))
                loop.call_soon_threadsafe(events.put_nowait, event)
            except RuntimeError:
                # The loop is closed: nobody is left to read.
                self._scheduler.cancel(ticket)

        return emit


def _context_tokens(path: Path, wanted: int, settings: SummarizeSettings) -> int:
    """Tokens of context: what is set, else `wanted`, but no more than the model was trained for."""
    trained = memory.trained_tokens(path)
    if trained is None or wanted <= trained:
        return wanted
    if settings.context is None:
        logger.info("a context of %d tokens: %s was trained for no more", trained, path.name)
        return trained
    logger.warning(
        "FACTORY_SUMMARIZE__CONTEXT is %d, but %s was trained for %d tokens: longer prompts may give nonsense",
        settings.context,
        path.name,
        trained,
    )
    return wanted


def load(report: Report) -> LlamaEngine:
    """Load the GGUF that the settings name; raises ModelLoadFailed."""
    settings = get_settings()
    wanted = llama.resolve(settings.summarize)
    path = model_files.local(wanted.file, settings, report)
    lora, facts = adapter.local(wanted.adapter, settings, report), dict[str, str]()
    if lora:
        facts["adapter"] = f"{lora.name}, {lora.stat().st_size / 1e6:.1f} MB"
    if lora == llama.ADAPTER:
        report(ModelStatus("loading", None, "merging the adapter into the weights"))
        if made := merging.merged(path, lora, settings.summarize.cache_folder / "summarize"):
            path, lora, facts["adapter"] = made, None, facts["adapter"] + ", merged"
    model_kind.check(path)
    cells = _context_tokens(path, wanted.context, settings.summarize)
    memory.check(path, cells, adapter=lora, sequences=settings.summarize.parallel + 1)
    report(ModelStatus("loading", None, "finding out how this machine computes fastest"))
    options = tuning.choose(path, settings.summarize, lora)
    report(ModelStatus("loading"))
    context = LlamaContext(path, cells, settings.summarize.parallel, options, lora)
    return LlamaEngine(wanted.name, settings.summarize, context, facts)


model: LazyModel[LlamaEngine] = LazyModel("llama", load)
