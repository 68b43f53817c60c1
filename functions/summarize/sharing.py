"""How the queues of several models share the one thread that works for them all.

>>> urgent, later = Need(deadline=10.0), Need(deadline=20.0)
>>> shares([urgent, later])
(1.0, 0.0)

Somebody who reads along waits for a slice of 0.25 s at most, then for the own step:

>>> shares([urgent, Need(deadline=20.0, reads_along=True, step_seconds=0.25, slice_seconds=0.25)])
(0.5, 0.5)
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

# Who waits without a deadline waits for long, but not for ever: there may always be somebody with one.
QUARTER = 0.25
# Who reads along at a slow model would leave the others nothing: its steps are much longer than a slice.
MOST_FOR_READERS = 0.75


@dataclass(frozen=True)
class Need:
    """What one model's queue needs now.

    `deadline`: the earliest of its requests', by any one clock; inf: none of them has one. `reads_along`: somebody does
    while one of its requests writes; then `step_seconds` are those of its next step of writing, and `slice_seconds` are
    how long others may hold it up.
    """

    deadline: float = inf
    reads_along: bool = False
    step_seconds: float = 0.0
    slice_seconds: float = 0.0


def shares(needs: Sequence[Need]) -> tuple[float, ...]:
    """The share of the thread's time that each queue has, of those that have work. They add up to 1.

    The earliest deadline goes first, and who has none keeps a part beside it. A queue in which somebody reads along is
    not held up longer than for a slice at a time. A share of 0 means to wait.
    """
    if len(needs) == 1:
        return (1.0,)
    earliest = min(need.deadline for need in needs)
    fair = _by_deadline(needs, earliest)
    # The most urgent queue has the rest in any case.
    least = [_least(need) if need.deadline > earliest or earliest == inf else 0.0 for need in needs]
    if not any(least):
        return fair
    scale = min(1.0, MOST_FOR_READERS / sum(least))
    least = [scale * share for share in least]
    # Those that have less than their least are raised to it, which takes from the others, who may then have less.
    raised: set[int] = set()
    while True:
        others = sum(share for index, share in enumerate(fair) if index not in raised)
        part = (1.0 - sum(least[index] for index in raised)) / others
        low = {index for index in range(len(needs)) if index not in raised and least[index] > part * fair[index]}
        if not low:
            return tuple(least[index] if index in raised else part * share for index, share in enumerate(fair))
        raised |= low


def _by_deadline(needs: Sequence[Need], earliest: float) -> tuple[float, ...]:
    if earliest == inf:
        return (1.0 / len(needs),) * len(needs)
    first = sum(need.deadline == earliest for need in needs)
    without = sum(need.deadline == inf for need in needs)
    kept = QUARTER if without else 0.0
    return tuple(
        (1.0 - kept) / first if need.deadline == earliest else kept / without if need.deadline == inf else 0.0
        for need in needs
    )


def _least(need: Need) -> float:
    """One step of its own for every slice of the others."""
    if not need.reads_along or not need.step_seconds:
        return 0.0
    return need.step_seconds / (need.step_seconds + need.slice_seconds)


@dataclass(frozen=True)
class Course:
    """What a queue needs while its work is done: from when on what, by the time that it has had the thread, and when
    all is done."""

    stages: Sequence[tuple[float, Need]]
    end: float

    def end_of(self, stage: int) -> float:
        return self.stages[stage + 1][0] if stage + 1 < len(self.stages) else self.end


@dataclass(frozen=True)
class Clock:
    """How long a queue has had the thread (`own`) at some times; between them it has it at an even pace."""

    own: list[float]
    times: list[float]

    def time(self, own: float) -> float:
        """When it has had it for so long."""
        return _between(self.own, self.times, bisect_left(self.own, own), own)

    def had(self, time: float) -> float:
        """For how long it has had it then."""
        return _between(self.times, self.own, bisect_right(self.times, time), time)


def clocks(courses: Sequence[Course]) -> list[Clock]:
    """Let queues share the thread until all is done."""
    made = [Clock([0.0], [0.0]) for _ in courses]
    own = [0.0] * len(courses)
    stage = [0] * len(courses)
    now = 0.0
    working = [number for number, course in enumerate(courses) if course.stages]
    while working:
        parts = shares([courses[number].stages[stage[number]][1] for number in working])
        ends = [courses[number].end_of(stage[number]) for number in working]
        seconds, first = min(
            ((end - own[number]) / part, number) for number, part, end in zip(working, parts, ends, strict=True) if part
        )
        now += seconds
        for number, part, end in zip(working, parts, ends, strict=True):
            own[number] = end if number == first else min(end, own[number] + part * seconds)
            made[number].own.append(own[number])
            made[number].times.append(now)
        stage[first] += 1
        if stage[first] == len(courses[first].stages):
            working.remove(first)
    return made


def _between(places: list[float], values: list[float], index: int, place: float) -> float:
    """The value at `place`, behind which comes the one of `index`."""
    if index == len(places):
        return values[-1]
    if places[index] == place:
        return values[index]
    before, after = places[index - 1], places[index]
    return values[index - 1] + (place - before) / (after - before) * (values[index] - values[index - 1])
