"""Llama on llama.cpp: one model and one context that several requests share, on the thread that all models share.

The boundary is `tokenize`, `run`, `plan`, `reserve` and `generate`; the scheduler behind it batches what runs at the
same time.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from typing import TypeVar

from common.admission import Limits, Places, QueueStatus
from common.errors import ModelLoadFailed
from common.settings import SummarizeSettings
from common.worker import Worker
from functions.summarize import cpu
from functions.summarize.context import DecodeFailed, LlamaContext, Sampling
from functions.summarize.handover import Movable, hand_over
from functions.summarize.outputs import Status
from functions.summarize.planning import MIN_ARTICLE_TOKENS, MIN_OUTPUT_TOKENS, Demand, Job, Plan, Refusal, Simulation
from functions.summarize.prompt import Prompt
from functions.summarize.rates import Rates
from functions.summarize.scheduler import Scheduler
from functions.summarize.thinking import Thoughts
from functions.summarize.tickets import Completion, Elsewhere, Emit, Event, HandedOver, State, Ticket
from functions.summarize.turns import Turns

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Work that has no place yet and goes before that of the request at hand, with the model that it is for.
Ahead = Sequence[tuple["LlamaEngine", Job]]
NOBODY_AHEAD: Ahead = ()

# Estimates. The time that it took is charged afterwards.
SECONDS_PER_CHARACTER = 0.5e-6
CONDENSING_SECONDS_PER_CHARACTER = 2.5e-6
# Longer than this no request of a model that is closed is waited for.
CLOSING_SECONDS = 60.0
# To play the queue holds up the event loop: however many look on, it is done so often.
PLAYED_SECONDS = 1.0


class LlamaEngine:
    """One loaded GGUF. Its methods are called from the event loop and return at once, or are awaited."""

    def __init__(
        self,
        name: str,
        settings: SummarizeSettings,
        context: LlamaContext,
        facts: Mapping[str, str] | None = None,
        turns: Turns | None = None,
    ) -> None:
        """Take over `context`, with room for `settings.parallel` sequences, of the model that answers call `name`.

        `facts` are shown with the model's state. Models with the same `turns` share one thread. Raises ModelLoadFailed.
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
            self._scheduler = Scheduler(context, self.prompt.opening, settings.parallel, self._rates, turns)
        except (DecodeFailed, ModelLoadFailed) as error:
            self._context.close()
            raise ModelLoadFailed(f"{context.path} cannot be used: {error}") from None
        self.context_tokens = self._context.cells
        # Requests from their first step on: they are not known to the scheduler before they have a place.
        self._users, self._closing, self._left = 0, False, threading.Condition()
        # When the requests that are there are finished, and when that was found out.
        self._ends, self._played_at = list[float](), -inf

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Tokens of `text` without a BOS; `special` reads `<|eot_id|>` and its like as the tokens they name."""
        return self._context.tokenize(text, special)

    def count(self, text: str) -> int:
        """How many tokens `text` has."""
        return len(self.tokenize(text, False))

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

    @property
    def queue(self) -> QueueStatus:
        """Of those who have a place, how many are read or written for, and how many wait for that."""
        requests, at_work = self._scheduler.counts()
        return QueueStatus(at_work, requests - at_work)

    @property
    def rates(self) -> dict[str, float]:
        """Tokens a second of one request by itself, lately: of its prompt, and of its summary."""
        costs = self._rates.costs(False)
        seconds = {"reading": costs.prefill_seconds_per_token, "writing": costs.step_seconds(1)}
        return {f"{name}_tokens_per_second": round(1 / cost, 1) for name, cost in seconds.items() if cost}

    def plan(
        self,
        demand: Demand,
        deadline: float | None,
        streams: bool,
        *,
        least: Plan | None = None,
        ahead: Ahead = NOBODY_AHEAD,
    ) -> Plan | Refusal:
        """How much of `demand` can be done until `deadline` (as of `time.monotonic`) beside those who have a place.

        Less than `least` is a Refusal. Those `ahead` have no place, and are planned as if they had.
        """
        demand = self.from_now(demand, deadline, streams)
        ahead = _within(ahead, demand.deadline)
        simulation = self._simulation(streams, ahead=ahead)
        place = len(simulation.jobs) if ahead else self._place(demand, simulation)
        if place < len(simulation.jobs):
            return Plan(demand.article, demand.output, place)
        outcome = simulation.plan(demand, least)
        if isinstance(outcome, Refusal) and outcome.retry_after_seconds is None:
            # At the recent pace there is never enough time. After a slow spell nothing would run, so nothing would be
            # measured again. So the best pace ever decides whether to try.
            outcome = self._simulation(streams, best=True, ahead=ahead).plan(demand, least)
            if isinstance(outcome, Refusal):
                self._scheduler.measure_again()
        return replace(outcome, place=None if ahead else place) if isinstance(outcome, Plan) else outcome

    def plan_in_place_of(self, other: "LlamaEngine", demand: Demand, deadline: float, streams: bool) -> Plan | None:
        """A plan for `demand`, for which requests of `other` that have not begun to write move to this model.

        They are in time there, and so is everybody else. None where that does not make room enough.
        """
        movable = {
            place: (ticket, ticket.elsewhere)
            for place, ticket in other._scheduler.movable()
            if ticket.elsewhere is not None and ticket.deadline is not None
        }
        if not movable:
            return None
        queues = self._scheduler.queues(streams=streams)
        own, theirs = queues[self._scheduler], queues[other._scheduler]
        if len(theirs.jobs) <= max(movable):
            return None
        candidates = [
            Movable(place, self.from_now(elsewhere.demand, ticket.deadline, ticket.streams), elsewhere.least_share)
            for place, (ticket, elsewhere) in movable.items()
        ]
        found = hand_over(theirs, own, candidates, self.from_now(demand, deadline, streams))
        if found is None:
            return None
        for move, plan in found.moves:
            ticket, elsewhere = movable[move.place]
            moved = Ticket(elsewhere.demand.frame + plan.article, plan.output, ticket.deadline, ticket.streams)
            moved.flow = ticket.flow
            self._scheduler.reserve(moved, len(self._scheduler.jobs()))
            if not other._scheduler.hand_over(ticket, HandedOver(moved, plan)):
                self._scheduler.cancel(moved)
        return found.plan

    def least_seconds(self, job: Job) -> float:
        """What `job` takes of the cores at the least, beside as many others as there may be."""
        costs = self._rates.costs(False)
        return job.prefill * costs.prefill_seconds_per_token + job.output * costs.step_seconds(1) / self.parallel

    def least_job(self, demand: Demand, streams: bool) -> Job:
        """What somebody is sure to be given who was refused `demand` and comes back, as work that is there already."""
        demand = self.from_now(demand, None, streams)
        return Job(min(demand.article, MIN_ARTICLE_TOKENS) + demand.frame, min(demand.output, MIN_OUTPUT_TOKENS))

    def retry_after(self) -> float:
        """Seconds until the first of the present requests is answered."""
        return min(self._simulation().finish_seconds(), default=0.0)

    def reserve(
        self,
        frame_tokens: int,
        plan: Plan,
        deadline: float | None,
        streams: bool,
        elsewhere: Elsewhere | None = None,
    ) -> Ticket:
        """A place for a prompt of the frame and the planned part of the article, and for the planned summary.

        It is the planned one in the order of service, else the fair one if nobody is made late by that. It is given
        back by `release`, or used up by `generate`. `elsewhere`: what another model would be asked for in its place.
        """
        ticket = Ticket(frame_tokens + plan.article, plan.output, deadline, streams, elsewhere, plan.width)
        place = plan.place
        if place is None:
            demand = self.from_now(Demand(0, plan.output, ticket.prompt_tokens), deadline, streams)
            place = self._place(demand, self._simulation(streams))
        self._scheduler.reserve(ticket, place)
        return ticket

    def from_now(self, demand: Demand, deadline: float | None, streams: bool) -> Demand:
        """`demand` without the opening, which is read already, and with its deadline in seconds from now."""
        frame = max(0, demand.frame - self._scheduler.opening_tokens)
        left = None if deadline is None else deadline - time.monotonic()
        return replace(demand, frame=frame, deadline=left, streams=streams)

    def _simulation(self, streams: bool = False, *, best: bool = False, ahead: Ahead = NOBODY_AHEAD) -> Simulation:
        """Of all requests with a place, at the recent or the best pace. `streams`: one more client reads along."""
        queues = self._scheduler.queues(best=best, streams=streams)
        for engine, job in ahead:
            # Somebody may have been told when to come back by a model that is closed since then.
            if (queue := queues.get(engine._scheduler)) is not None:
                queues[engine._scheduler] = replace(queue, jobs=[*queue.jobs, job])
        own, *beside = queues.values()
        return Simulation.of(own, beside)

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

    @contextmanager
    def in_use(self) -> Iterator[bool]:
        """Whether the model may be used within: it is not closed before its users have left."""
        with self._left:
            is_open = not self._closing
            self._users += is_open
        try:
            yield is_open
        finally:
            with self._left:
                self._users -= is_open
                self._left.notify_all()

    def close(self) -> None:
        """Free the memory, once those who use it are answered; nothing may be asked for after it."""
        given_up_at = time.monotonic() + CLOSING_SECONDS
        with self._left:
            self._closing = True
            self._left.wait_for(lambda: not self._users, CLOSING_SECONDS)
        self._scheduler.close(max(0.0, given_up_at - time.monotonic()))
        with self._left:
            # Those who took too long have failed by now; the memory under the others is not taken away.
            if not self._left.wait_for(lambda: not self._users, CLOSING_SECONDS):
                logger.warning("%s stays in memory: somebody still uses it", self.name)
                return
        self._context.close()

    def status(self, ticket: Ticket) -> Status | None:
        """How far a request is that has a place; None: it is over."""
        if (before := self._scheduler.waiting_before(ticket)) is not None:
            return Status("waiting", self.name, place=before + 1, seconds=self._begun_in(before))
        if ticket.state is State.READING and not ticket.written:
            tokens, read = len(ticket.prompt) - ticket.cached, max(0, ticket.position - ticket.cached)
            seconds = (tokens - read) * self._rates.costs(False).prefill_seconds_per_token
            return Status("reading", self.name, tokens=tokens, read=read, seconds=round(seconds, 1) or None)
        if ticket.state is State.ENDED:
            return None
        return Status("thinking" if ticket.thought == ticket.written else "writing", self.name)

    def _begun_in(self, before: int) -> float | None:
        """Seconds until a request is begun that so many wait in front of."""
        now = time.monotonic()
        if now - self._played_at > PLAYED_SECONDS:
            self._ends, self._played_at = [now + seconds for seconds in self._simulation().finish_seconds()], now
        ahead = sorted(self._ends[: self.queue.at_work + before])
        if len(ahead) <= before:
            return None
        return round(max(0.0, ahead[before] - now), 1)

    async def generate(
        self, ticket: Ticket, tokens: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[str | Completion]:
        """Pieces of text as they come, and a Completion at last. Raises DecodeFailed, DeadlineExpired and HandedOver.

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


def _within(ahead: Ahead, seconds: float | None) -> Ahead:
    """Those `ahead` who may be at work within so many seconds: to play the others takes time, and changes no plan."""
    spent = dict.fromkeys((engine for engine, _ in ahead), 0.0)
    found: list[tuple[LlamaEngine, Job]] = []
    for engine, job in ahead:
        if spent[engine] <= (seconds or 0.0):
            found.append((engine, job))
            spent[engine] += engine.least_seconds(job)
    return found
