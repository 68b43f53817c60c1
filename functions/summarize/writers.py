"""Who writes a summary: the main model, or the small one that stands in where the main one has no time.

    1  no deadline                                            the main model
    2  it has time for `min_read` of the article
       and for all of the wished length                       the main model
    3  the stand-in has time for more of the article          the stand-in
    4  only one of them has time for anything                 that one
    5  neither has, but would if others who wait for the
       main model went over to the stand-in, in time          the stand-in
    6  else                                                   a refusal, with the time to come back

Both models are planned on the same cores, with what each has to do already.
"""

from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from common.claims import Claims
from common.rounds import Rounds
from functions.summarize.engine import NOBODY_AHEAD, Ahead, LlamaEngine
from functions.summarize.planning import MIN_ARTICLE_TOKENS, Demand, Job, Plan, Refusal

# Why the stand-in writes: the main model is not there, or would have no time even by itself, or has none beside others;
# or it had a request and gave it up for another.
Why = Literal["not-loaded", "no-time", "busy", "handed-over"]


@dataclass(frozen=True)
class Writers:
    """The models that may write; one of them at least is there."""

    main: LlamaEngine | None
    stand_in: LlamaEngine | None = None
    # Of those that were refused and told when to come back.
    claims: Claims[tuple[LlamaEngine, Job]] = field(default_factory=Claims)
    rounds: Rounds = field(default_factory=Rounds)

    @property
    def engines(self) -> tuple[LlamaEngine, ...]:
        return tuple(engine for engine in (self.main, self.stand_in) if engine is not None)

    @property
    def names(self) -> str:
        return "\n".join(engine.name for engine in self.engines)

    @property
    def requests(self) -> int:
        """How many requests have a place."""
        return sum(engine.requests for engine in self.engines)

    def retry_after(self) -> float:
        """Seconds until the first of the present requests is answered."""
        return min((engine.retry_after() for engine in self.engines if engine.requests), default=0.0)


@dataclass(frozen=True)
class Offer:
    """One model, and what it would be asked for: `demand` in its tokens.

    `tokens`: those of the article that anybody is to read, whether this model has room for them or not.
    """

    engine: LlamaEngine
    demand: Demand
    tokens: int

    def share(self, plan: Plan) -> float:
        """The share of the article that is read."""
        return plan.article / max(1, self.tokens)

    def wished(self, min_read: float) -> Plan:
        """The least that is good enough: so much of the article, and all of the wished length."""
        return Plan(max(MIN_ARTICLE_TOKENS, ceil(min_read * self.tokens)), self.demand.output)


@dataclass(frozen=True)
class Choice:
    """Who writes, and how much. `why` is set where that is not the main model."""

    offer: Offer
    plan: Plan
    why: Why | None = None

    @property
    def is_whole(self) -> bool:
        """Whether there is time for all that was asked for."""
        demand = self.offer.demand
        return self.plan.article >= demand.article and self.plan.output >= demand.output


@dataclass(frozen=True)
class Request:
    """What a choice depends on beside the offers; `deadline` is a time of `time.monotonic`."""

    deadline: float | None
    streams: bool
    min_read: float


def choose(
    main: Offer | None, stand_in: Offer | None, request: Request, ahead: Ahead = NOBODY_AHEAD
) -> Choice | Refusal:
    """Who writes, as the table above has it. Those `ahead` have no place, and are planned as if they had."""
    if main is None or stand_in is None or request.deadline is None:
        offer = main or stand_in
        assert offer is not None
        outcome = _plan(offer, request, ahead)
        why: Why | None = "not-loaded" if main is None else None
        return outcome if isinstance(outcome, Refusal) else Choice(offer, outcome, why)
    enough = _plan(main, request, ahead, main.wished(request.min_read))
    if isinstance(enough, Plan) and main.share(enough) >= request.min_read:
        return Choice(main, enough)
    part, more = _plan(main, request, ahead), _plan(stand_in, request, ahead)
    if isinstance(more, Plan) and (isinstance(part, Refusal) or stand_in.share(more) > main.share(part)):
        return Choice(
            stand_in,
            more,
            "busy" if isinstance(enough, Refusal) and enough.retry_after_seconds is not None else "no-time",
        )
    if isinstance(part, Plan):
        return Choice(main, part)
    assert isinstance(more, Refusal)
    if not ahead:
        room = stand_in.engine.plan_in_place_of(main.engine, stand_in.demand, request.deadline, request.streams)
        if room is not None:
            return Choice(stand_in, room, "busy")
    return _sooner(part, more)


def _plan(offer: Offer, request: Request, ahead: Ahead, least: Plan | None = None) -> Plan | Refusal:
    return offer.engine.plan(offer.demand, request.deadline, request.streams, least=least, ahead=ahead)


def _sooner(*refusals: Refusal) -> Refusal:
    """By the model that has time first, or for the shortest wait."""
    times = [refusal.retry_after_seconds for refusal in refusals if refusal.retry_after_seconds is not None]
    return Refusal(min(times, default=None), min(refusal.needed_seconds for refusal in refusals))
