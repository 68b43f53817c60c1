"""What fits before a deadline: pure arithmetic over measured costs.

The engine works in steps: one token for every sequence that decodes, and beside them a slice of the first prompt that
is not read yet. `finish_times` plays these steps through for the requests that are there; `plan` finds the largest
share of an article and of a summary that can be added without making anyone late.

All times are seconds, counted from now.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

# Below these a summary is worth nothing; a request that cannot have them in time is refused.
MIN_ARTICLE_TOKENS = 64
MIN_OUTPUT_TOKENS = 32
# When both are short of time, neither the article nor the summary gets less than this share of it.
LEAST_SHARE = 0.4
# The costs are averages; what is planned to the last second would be late half of the time.
SAFETY = 0.93
# Tokenising, condensing and sending.
OVERHEAD_SECONDS = 0.2
# A request that is late by this little is not held against a newcomer.
TOLERANCE_SECONDS = 0.05
SEARCH_STEPS = 12
# Below this a remainder of tokens is rounding.
NOTHING = 1e-6


@dataclass(frozen=True)
class Costs:
    """Measured seconds: for a token of a prompt, alone and in a slice beside sequences that decode, and for a step of
    1, 2, .. decoding sequences. `slice_tokens` is the size of such a slice."""

    prefill: float
    prefill_beside: float
    decode: tuple[float, ...]
    slice_tokens: int

    def step(self, sequences: int) -> float:
        return self.decode[min(sequences, len(self.decode)) - 1] if sequences else 0.0


@dataclass(frozen=True)
class Job:
    """What is left of one request: tokens to read, tokens to write, and seconds until its deadline."""

    prefill: int
    output: int
    deadline: float | None = None


@dataclass(frozen=True)
class Demand:
    """What one request asks for; `frame` are the tokens of its prompt that are not the article's."""

    article: int
    output: int
    frame: int
    deadline: float | None = None


@dataclass(frozen=True)
class Plan:
    """Tokens of the article that will be read, and the most tokens of the summary; `place` is the one among the jobs
    that it was planned for, None where that is for whoever reserves it to find."""

    article: int
    output: int
    place: int | None = None


@dataclass(frozen=True)
class Refusal:
    """`retry_after` is when a request of this kind will fit; None: not even on an idle engine."""

    retry_after: float | None
    needed: float


def finish_times(jobs: Sequence[Job], costs: Costs, parallel: int) -> list[float]:
    """When each of `jobs` is answered, in order of arrival; `parallel` of them are worked on at a time.

    A job ends at its deadline at the latest.
    """
    times = _play(jobs, costs, parallel).finished
    return [
        time if job.deadline is None else min(time, max(job.deadline, 0.0))
        for time, job in zip(times, jobs, strict=True)
    ]


@dataclass
class _Played:
    """When each job is finished, and the tokens that are left to read and to write."""

    finished: list[float]
    reading: list[float]
    writing: list[float]


def _play(jobs: Sequence[Job], costs: Costs, parallel: int, until: float = inf) -> _Played:
    """Play the engine's steps through, as if there were no deadlines, up to the time `until`."""
    played = _Played([inf] * len(jobs), [float(job.prefill) for job in jobs], [float(job.output) for job in jobs])
    reading, writing = played.reading, played.writing
    left = list(range(len(jobs)))
    now = 0.0
    while left and now < until:
        active = left[:parallel]
        first = next((index for index in active if reading[index] > NOTHING), None)
        decoding = [index for index in active if reading[index] <= NOTHING]
        seconds, rows = costs.step(len(decoding)), 0.0
        if first is not None and decoding:
            rows = float(costs.slice_tokens)
            seconds += rows * costs.prefill_beside
        elif first is not None:
            rows, seconds = 1.0, costs.prefill
        # So many steps until one of them is done with what it does.
        steps = min([writing[index] for index in decoding] + ([reading[first] / rows] if first is not None else []))
        if now + steps * seconds > until:
            steps = (until - now) / seconds
        now += steps * seconds
        if first is not None:
            reading[first] = max(0.0, reading[first] - steps * rows)
        for index in decoding:
            writing[index] -= steps
            if writing[index] <= NOTHING:
                played.finished[index] = now
                left.remove(index)
    return played


def plan(demand: Demand, jobs: Sequence[Job], costs: Costs, parallel: int) -> Plan | Refusal:
    """The largest part of `demand` that fits behind `jobs` before its deadline and theirs.

    Without a deadline of its own it is all of it, whatever that means for others: it waits its turn as they did.
    """
    whole = Plan(demand.article, demand.output)
    if demand.deadline is None or _fits(whole, demand, jobs, costs, parallel):
        return whole
    least = Plan(min(demand.article, MIN_ARTICLE_TOKENS), min(demand.output, MIN_OUTPUT_TOKENS))
    if not _fits(least, demand, jobs, costs, parallel):
        return _refusal(least, demand, jobs, costs, parallel)
    # The time that is there for this request: the most that, shared out, keeps everyone in time.
    best, low, high = least, 0.0, demand.deadline
    for _ in range(SEARCH_STEPS):
        seconds = (low + high) / 2
        candidate = _share(seconds, demand, least, jobs, costs, parallel)
        if _fits(candidate, demand, jobs, costs, parallel):
            best, low = candidate, seconds
        else:
            high = seconds
    return best


def fits_at(place: int, demand: Demand, jobs: Sequence[Job], costs: Costs, parallel: int) -> bool:
    """Whether all of `demand`, served at `place` among `jobs`, is done in time and makes nobody late."""
    job = Job(demand.article + demand.frame, demand.output)
    nobody_late, own = _in_time(jobs, job, costs, parallel, place)
    return nobody_late and (demand.deadline is None or own <= SAFETY * demand.deadline - OVERHEAD_SECONDS)


def _in_time(jobs: Sequence[Job], job: Job, costs: Costs, parallel: int, place: int) -> tuple[bool, float]:
    """Whether `job` at `place` makes nobody late, and when it is done itself."""
    without = _play(jobs, costs, parallel).finished
    after = _play([*jobs[:place], job, *jobs[place:]], costs, parallel).finished
    own = after.pop(place)
    nobody_late = all(
        other.deadline is None or then <= max(other.deadline, before) + TOLERANCE_SECONDS
        for other, before, then in zip(jobs, without, after, strict=True)
    )
    return nobody_late, own


def _share(seconds: float, demand: Demand, least: Plan, jobs: Sequence[Job], costs: Costs, parallel: int) -> Plan:
    """`seconds` of the engine's time shared between article and summary."""
    beside = min(len(jobs), parallel - 1)
    per_token = costs.prefill_beside if beside else costs.prefill
    per_output = costs.step(beside + 1)
    seconds -= demand.frame * per_token
    article, output = demand.article * per_token, demand.output * per_output
    reading = min(article, max(LEAST_SHARE * seconds, seconds - output))
    writing = min(output, max(LEAST_SHARE * seconds, seconds - reading))
    reading = min(article, seconds - writing)
    return Plan(
        max(least.article, min(demand.article, int(reading / per_token))),
        max(least.output, min(demand.output, int(writing / per_output))),
    )


def _fits(candidate: Plan, demand: Demand, jobs: Sequence[Job], costs: Costs, parallel: int) -> bool:
    """Whether nobody is late who would not be late anyway."""
    job = Job(candidate.article + demand.frame, candidate.output)
    nobody_late, own = _in_time(jobs, job, costs, parallel, len(jobs))
    assert demand.deadline is not None
    return nobody_late and own <= SAFETY * demand.deadline - OVERHEAD_SECONDS


def _refusal(least: Plan, demand: Demand, jobs: Sequence[Job], costs: Costs, parallel: int) -> Refusal:
    """When the least plan fits: right after one of the others is answered, or never."""
    needed = finish_times([Job(least.article + demand.frame, least.output)], costs, parallel)[0]
    needed = (needed + OVERHEAD_SECONDS) / SAFETY
    if not _fits(least, demand, [], costs, parallel):
        return Refusal(None, needed)
    ends = sorted(finish_times(jobs, costs, parallel))
    for end in ends:
        if _fits(least, demand, _left_at(end, jobs, costs, parallel), costs, parallel):
            return Refusal(end, needed)
    return Refusal(max(ends, default=0.0), needed)


def _left_at(end: float, jobs: Sequence[Job], costs: Costs, parallel: int) -> list[Job]:
    """What is left of `jobs` at `end`; whose deadline is over is gone."""
    played = _play(jobs, costs, parallel, end)
    left = []
    for job, finished, reading, writing in zip(jobs, played.finished, played.reading, played.writing, strict=True):
        deadline = None if job.deadline is None else job.deadline - end
        if finished > end and (deadline is None or deadline > 0):
            left.append(Job(ceil(reading - NOTHING), ceil(writing - NOTHING), deadline))
    return left
