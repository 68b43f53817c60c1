"""Plans how much of a request fits before its deadline, from measured costs. All times are seconds from now.

The engine works in steps. A step writes one token for every sequence whose prompt is read, and reads a slice of the
first prompt that is not read yet. A `Simulation` plays these steps through for the requests that are there.

Reading takes 1 s a token here, and 2 s beside a sequence that writes. A step of one sequence takes 1 s, of two 1.5 s. A
slice has 10 tokens:

>>> costs = Costs(1.0, 2.0, (1.0, 1.5), 10)

The first request has 5 tokens left to write. The second has 20 to read and 7 to write. Its prompt is read in two slices
of 10 tokens: two steps of 1 + 10 x 2 s, in which the first writes two of its five. Both then write for 3 steps of
1.5 s, and the second alone for 4 steps of 1 s:

>>> Simulation([Job(0, 5), Job(20, 7)], costs, parallel=2).finish_seconds()
[46.5, 50.5]

With an article of 900 tokens and a wish for 150, 500 s on an idle engine are too few for all of it:

>>> Simulation([], costs, parallel=2).plan(Demand(article=900, output=150, frame=10, deadline=500.0))
Plan(article=304, output=150, place=None)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, inf

# Below these a summary is worth nothing; a request that cannot have them in time is refused.
MIN_ARTICLE_TOKENS = 64
MIN_OUTPUT_TOKENS = 32
# When both are short of time, neither the article nor the summary gets less than this share of it.
LEAST_SHARE = 0.4
# The costs are averages. A plan to the last second would be late half of the time.
SAFETY = 0.93
# Tokenising, condensing and sending.
OVERHEAD_SECONDS = 0.2
# A request that is late by this little is not held against a newcomer.
TOLERANCE_SECONDS = 0.05
SEARCH_STEPS = 12
# Below this a remainder of tokens is rounding.
NEGLIGIBLE_TOKENS = 1e-6


@dataclass(frozen=True)
class Costs:
    """Measured costs of the engine's steps.

    `prefill_seconds_per_token`: to read a token while nobody writes; `slice_seconds_per_token`: in a slice of
    `slice_tokens` beside sequences that write. `decode_seconds_per_step`: of a step of 1, 2, .. sequences that write.
    """

    prefill_seconds_per_token: float
    slice_seconds_per_token: float
    decode_seconds_per_step: tuple[float, ...]
    slice_tokens: int

    def step_seconds(self, sequences: int) -> float:
        """Of a step in which so many sequences write. More than were measured cost as much as the most that were."""
        measured = self.decode_seconds_per_step
        return measured[min(sequences, len(measured)) - 1] if sequences else 0.0


@dataclass(frozen=True)
class Job:
    """What is left of one request: tokens to read, tokens to write, and seconds until its deadline."""

    prefill: int
    output: int
    deadline: float | None = None


@dataclass(frozen=True)
class Demand:
    """What one request asks for, in tokens; `frame` are those of its prompt that are not the article's."""

    article: int
    output: int
    frame: int
    deadline: float | None = None


@dataclass(frozen=True)
class Plan:
    """Tokens of the article that will be read, and the most tokens of the summary.

    `place` is the one among the jobs that it was planned for; None: whoever reserves it finds one.
    """

    article: int
    output: int
    place: int | None = None


@dataclass(frozen=True)
class Refusal:
    """`retry_after_seconds`: when a request of this kind will fit; None: not even on an idle engine.

    `needed_seconds`: what its least plan takes on an idle engine.
    """

    retry_after_seconds: float | None
    needed_seconds: float


@dataclass(frozen=True)
class _Progress:
    """By job: when it is finished (inf: not yet), and the tokens that are left to read and to write."""

    finished: list[float]
    reading: list[float]
    writing: list[float]


@dataclass(frozen=True)
class Simulation:
    """The requests that are there, in the order of service, on an engine with these costs.

    `parallel` of them are worked on at a time.
    """

    jobs: Sequence[Job]
    costs: Costs
    parallel: int

    def finish_seconds(self) -> list[float]:
        """When each job is answered, at its deadline at the latest."""
        return [
            seconds if job.deadline is None else min(seconds, max(job.deadline, 0.0))
            for seconds, job in zip(self._end.finished, self.jobs, strict=True)
        ]

    def plan(self, demand: Demand) -> Plan | Refusal:
        """The largest part of `demand` that fits behind the jobs before its deadline and theirs.

        Without a deadline of its own it is all of it, whatever that means for others: it waits its turn as they did.
        """
        whole = Plan(demand.article, demand.output)
        if demand.deadline is None or self._fits(whole, demand):
            return whole
        least = Plan(min(demand.article, MIN_ARTICLE_TOKENS), min(demand.output, MIN_OUTPUT_TOKENS))
        if not self._fits(least, demand):
            return self._refusal(least, demand)
        # The engine's time for this request: the most that, shared out, keeps everyone in time.
        best, low, high = least, 0.0, demand.deadline
        for _ in range(SEARCH_STEPS):
            seconds = (low + high) / 2
            candidate = self._shared_out(seconds, demand, least)
            if self._fits(candidate, demand):
                best, low = candidate, seconds
            else:
                high = seconds
        return best

    def fits_at(self, place: int, demand: Demand) -> bool:
        """Whether all of `demand`, served at `place` among the jobs, is done in time and makes nobody late."""
        job = Job(demand.article + demand.frame, demand.output)
        after = self._with(job, place)._end.finished
        own = after.pop(place)
        nobody_late = all(
            other.deadline is None or then <= max(other.deadline, before) + TOLERANCE_SECONDS
            for other, before, then in zip(self.jobs, self._end.finished, after, strict=True)
        )
        return nobody_late and (demand.deadline is None or own <= SAFETY * demand.deadline - OVERHEAD_SECONDS)

    def left_after(self, seconds: float) -> "Simulation":
        """The rest of the jobs at that time. A job whose deadline is over is gone."""
        progress = self._play(seconds)
        left = []
        for job, finished, reading, writing in zip(
            self.jobs, progress.finished, progress.reading, progress.writing, strict=True
        ):
            deadline = None if job.deadline is None else job.deadline - seconds
            if finished > seconds and (deadline is None or deadline > 0):
                tokens = ceil(reading - NEGLIGIBLE_TOKENS), ceil(writing - NEGLIGIBLE_TOKENS)
                left.append(Job(*tokens, deadline))
        return Simulation(left, self.costs, self.parallel)

    def _with(self, job: Job, place: int) -> "Simulation":
        return Simulation([*self.jobs[:place], job, *self.jobs[place:]], self.costs, self.parallel)

    def _fits(self, plan: Plan, demand: Demand) -> bool:
        """Whether `plan`, served last, is in time and makes nobody late."""
        part = Demand(plan.article, plan.output, demand.frame, demand.deadline)
        return self.fits_at(len(self.jobs), part)

    def _shared_out(self, seconds: float, demand: Demand, least: Plan) -> Plan:
        """`seconds` of the engine's time shared between article and summary."""
        beside = min(len(self.jobs), self.parallel - 1)
        costs = self.costs
        per_token = costs.slice_seconds_per_token if beside else costs.prefill_seconds_per_token
        per_output = costs.step_seconds(beside + 1)
        seconds -= demand.frame * per_token
        article, output = demand.article * per_token, demand.output * per_output
        reading = min(article, max(LEAST_SHARE * seconds, seconds - output))
        writing = min(output, max(LEAST_SHARE * seconds, seconds - reading))
        reading = min(article, seconds - writing)
        return Plan(
            max(least.article, min(demand.article, int(reading / per_token))),
            max(least.output, min(demand.output, int(writing / per_output))),
        )

    def _refusal(self, least: Plan, demand: Demand) -> Refusal:
        """When the least plan fits: right after one of the jobs is answered, or never."""
        idle = Simulation([], self.costs, self.parallel)
        (alone,) = idle._with(Job(least.article + demand.frame, least.output), 0).finish_seconds()
        needed = (alone + OVERHEAD_SECONDS) / SAFETY
        if not idle._fits(least, demand):
            return Refusal(None, needed)
        ends = sorted(self.finish_seconds())
        fitting = (end for end in ends if self.left_after(end)._fits(least, demand))
        return Refusal(next(fitting, max(ends, default=0.0)), needed)

    @cached_property
    def _end(self) -> _Progress:
        return self._play()

    def _play(self, until: float = inf) -> _Progress:
        """Play the engine's steps through, as if there were no deadlines, up to the time `until`."""
        reading, writing = [float(job.prefill) for job in self.jobs], [float(job.output) for job in self.jobs]
        finished = [inf] * len(self.jobs)
        left = list(range(len(self.jobs)))
        now = 0.0
        while left and now < until:
            active = left[: self.parallel]
            first = next((index for index in active if reading[index] > NEGLIGIBLE_TOKENS), None)
            decoding = [index for index in active if reading[index] <= NEGLIGIBLE_TOKENS]
            seconds, rows = self.costs.step_seconds(len(decoding)), 0.0
            if first is not None and decoding:
                rows = float(self.costs.slice_tokens)
                seconds += rows * self.costs.slice_seconds_per_token
            elif first is not None:
                rows, seconds = 1.0, self.costs.prefill_seconds_per_token
            # The number of steps until the first of them has read or written all.
            steps = min([writing[index] for index in decoding] + ([reading[first] / rows] if first is not None else []))
            if now + steps * seconds > until:
                steps = (until - now) / seconds
            now += steps * seconds
            if first is not None:
                reading[first] = max(0.0, reading[first] - steps * rows)
            for index in decoding:
                writing[index] -= steps
                if writing[index] <= NEGLIGIBLE_TOKENS:
                    finished[index] = now
                    left.remove(index)
        return _Progress(finished, reading, writing)
