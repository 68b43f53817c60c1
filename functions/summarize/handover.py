"""Requests that wait for the main model go over to the stand-in, where that makes room for one more.

The main model takes 30 s for a request, and has two. The stand-in takes 3 s for one:

>>> from functions.summarize.planning import Costs
>>> main = Queue([Job(200, 50, deadline=31.0), Job(200, 50, deadline=60.5)], Costs(0.1, 0.1, (0.2,), 10), parallel=1)
>>> stand_in = Queue([], Costs(0.01, 0.01, (0.02,), 10), parallel=1)

A newcomer that waits for 40 s at most would make the second late. If the second goes over, both are answered after the
first, at 33 and 36 s:

>>> newcomer = Demand(200, 50, frame=0, deadline=40.0)
>>> type(Simulation.of(stand_in, [main]).plan(newcomer)).__name__
'Refusal'
>>> second = Movable(1, Demand(200, 50, frame=0, deadline=60.5), read_share=1.0)
>>> made = hand_over(main, stand_in, [second], newcomer)
>>> [plan for _, plan in made.moves], made.plan
([Plan(article=200, output=50, place=0)], Plan(article=200, output=50, place=1))
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, inf

from functions.summarize.planning import (
    MIN_ARTICLE_TOKENS,
    MIN_OUTPUT_TOKENS,
    NEGLIGIBLE_TOKENS,
    TOLERANCE_SECONDS,
    Demand,
    Job,
    Plan,
    Queue,
    Simulation,
    latest_end,
)

SEARCH_STEPS = 6


@dataclass(frozen=True)
class Movable:
    """A request of the main model that has not begun to write, at this place among its jobs.

    `demand` is the whole of it, as the stand-in would count its tokens; `read_share` is the part of its article that
    the main model was to read.
    """

    place: int
    demand: Demand
    read_share: float


@dataclass(frozen=True)
class HandOver:
    """Those that go over with their plans there, in the order of service. Behind them comes the newcomer's `plan`."""

    moves: tuple[tuple[Movable, Plan], ...]
    plan: Plan


def hand_over(main: Queue, stand_in: Queue, movables: Sequence[Movable], newcomer: Demand) -> HandOver | None:
    """The last of the main model's requests go over to the stand-in, as few as make room there for `newcomer`.

    Who goes over reads no smaller part of its article than it was to, and writes no less. It is in time, and so are all
    others that would be in time otherwise. None: that cannot be.
    """
    before = Simulation.of(stand_in, [main])
    in_order = sorted(movables, key=lambda movable: movable.place)
    for count in range(1, len(in_order) + 1):
        attempt = _Attempt(before, in_order[-count:], newcomer)
        if attempt.fits(attempt.plans(0.0)):
            return attempt.largest()
    return None


@dataclass(frozen=True)
class _Attempt:
    """These go over. `before`: the stand-in's queue and, beside it, the main model's, as they are."""

    before: Simulation
    moved: Sequence[Movable]
    newcomer: Demand

    def plans(self, part: float) -> list[Plan]:
        """For those that go over and the newcomer: the least, and this part of what is between that and the whole."""
        return [
            Plan(
                least.article + int(part * (demand.article - least.article)),
                least.output + int(part * (demand.output - least.output)),
                len(self.before.jobs) + index,
            )
            for index, (demand, least) in enumerate(zip(self._demands, self._least, strict=True))
        ]

    def largest(self) -> HandOver:
        """All grow alike as long as everybody is in time. What is left then is the newcomer's."""
        low, high = 0.0, 1.0
        if self.fits(self.plans(high)):
            low = high
        else:
            for _ in range(SEARCH_STEPS):
                part = (low + high) / 2
                low, high = (part, high) if self.fits(self.plans(part)) else (low, part)
        *moves, plan = self.plans(low)
        grown = self._after(moves).plan(self.newcomer, plan)
        if isinstance(grown, Plan):
            grown = replace(grown, place=plan.place)
            plan = grown if self.fits([*moves, grown]) else plan
        return HandOver(tuple(zip(self.moved, moves, strict=True)), plan)

    def fits(self, plans: Sequence[Plan]) -> bool:
        """Whether all of them are in time and make nobody late."""
        after = self._after(plans)
        there = len(self.before.jobs)
        in_time = all(
            demand.deadline is None or end <= latest_end(demand.deadline)
            for demand, end in zip(self._demands, after.ends[0][there:], strict=True)
        )
        return in_time and all(
            end <= max(latest, was) + TOLERANCE_SECONDS
            for (latest, was), end in zip(self._others, [*after.ends[0][:there], *after.ends[1]], strict=True)
        )

    def _after(self, plans: Sequence[Plan]) -> Simulation:
        """The stand-in has these, as many as there are, and the main model has not those that go over."""
        jobs = [
            Job(plan.article + demand.frame, plan.output, demand.deadline, demand.streams)
            for plan, demand in zip(plans, self._demands, strict=False)
        ]
        return replace(self.before, jobs=[*self.before.jobs, *jobs], beside=[self._rest])

    @cached_property
    def _demands(self) -> list[Demand]:
        return [*(movable.demand for movable in self.moved), self.newcomer]

    @cached_property
    def _least(self) -> list[Plan]:
        (main,) = self.before.beside
        promised = [
            Plan(ceil(movable.read_share * movable.demand.article - NEGLIGIBLE_TOKENS), main.jobs[movable.place].output)
            for movable in self.moved
        ]
        return [
            Plan(
                min(demand.article, max(MIN_ARTICLE_TOKENS, least.article)),
                min(demand.output, max(MIN_OUTPUT_TOKENS, least.output)),
            )
            for demand, least in zip(self._demands, [*promised, Plan(0, 0)], strict=True)
        ]

    @cached_property
    def _rest(self) -> Queue:
        """What the main model keeps."""
        (main,) = self.before.beside
        return replace(main, jobs=[main.jobs[place] for place in self._kept])

    @cached_property
    def _kept(self) -> list[int]:
        (main,) = self.before.beside
        going = {movable.place for movable in self.moved}
        return [place for place in range(len(main.jobs)) if place not in going]

    @cached_property
    def _others(self) -> list[tuple[float, float]]:
        """The deadlines of those that stay where they are, and when they would be answered otherwise."""
        (main,) = self.before.beside
        own, beside = self.before.ends
        jobs = [*zip(self.before.jobs, own, strict=True), *((main.jobs[place], beside[place]) for place in self._kept)]
        return [(inf if job.deadline is None else job.deadline, end) for job, end in jobs]
