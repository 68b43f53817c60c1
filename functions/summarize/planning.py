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

Other models work on the same cores (see sharing). Beside the 15 s of this request one without a deadline has a quarter
of the time; one with an earlier deadline has its 10 s first:

>>> jobs = [Job(0, 15, deadline=100.0)]
>>> Simulation(jobs, costs, 2, beside=[Queue([Job(0, 10)], costs, 2)]).finish_seconds()
[20.0]
>>> Simulation(jobs, costs, 2, beside=[Queue([Job(0, 10, deadline=50.0)], costs, 2)]).finish_seconds()
[25.0]
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil, inf

from functions.summarize.sharing import Clock, Course, Need, clocks

# Below these a summary is worth nothing; a request that cannot have them in time is refused.
MIN_ARTICLE_TOKENS = 64
MIN_OUTPUT_TOKENS = 32
# When both are short of time, neither the article nor the summary gets less than this share of it.
LEAST_SHARE = 0.4
# The costs are averages. A plan to the last second would be late half of the time.
SAFETY = 0.93
# Who has to wait for others is late by what they are late as well, and has nothing to show for it at the deadline.
SAFETY_BEHIND = 0.86
# Tokenising, condensing and sending.
OVERHEAD_SECONDS = 0.2
# A request that is late by this little is not held against a newcomer.
TOLERANCE_SECONDS = 0.05
SEARCH_STEPS = 12
# To find out when a request will fit takes this many tries, and a few more: they hold up the event loop.
TRIED_ENDS = 16
# What others may take between two tokens that somebody reads along.
SLICE_SECONDS = 0.25
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
    """What is left of one request: tokens to read, tokens to write, and seconds until its deadline.

    `streams`: somebody reads along while it writes. `width`: it is begun when it is among the first so many; None: as
    soon as there is a place beside the others.
    """

    prefill: int
    output: int
    deadline: float | None = None
    streams: bool = False
    width: int | None = None


@dataclass(frozen=True)
class Demand:
    """What one request asks for, in tokens; `frame` are those of its prompt that are not the article's."""

    article: int
    output: int
    frame: int
    deadline: float | None = None
    streams: bool = False


@dataclass(frozen=True)
class Plan:
    """Tokens of the article that will be read, and the most tokens of the summary.

    `place` is the one among the jobs that it was planned for; None: whoever reserves it finds one. `width` is that of
    the job: where work beside others would make them late, it waits until fewer are left.
    """

    article: int
    output: int
    place: int | None = None
    width: int | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Refusal:
    """`retry_after_seconds`: when a request of this kind will fit; None: not even on an idle engine.

    `needed_seconds`: what its least plan takes on an idle engine.
    """

    retry_after_seconds: float | None
    needed_seconds: float


@dataclass(frozen=True)
class _Progress:
    """Of a queue that has the cores for itself: by job, when it is finished (inf: not yet), and the tokens that are
    left to read and to write; and what it needs meanwhile."""

    finished: list[float]
    reading: list[float]
    writing: list[float]
    course: Course


@dataclass(frozen=True)
class Queue:
    """The requests of one model, in the order of service, on an engine with these costs.

    `parallel` of them are worked on at a time. Whoever reads along is held up by other models for `slice_seconds` at
    most.
    """

    jobs: Sequence[Job]
    costs: Costs
    parallel: int
    slice_seconds: float = SLICE_SECONDS

    def left(self, own: float, finished: Sequence[float], seconds: float) -> "Queue":
        """The rest after `seconds`, of which it has had the cores for `own`. A job whose deadline is over is gone."""
        progress = self.play(own)
        left = []
        for job, end, reading, writing in zip(self.jobs, finished, progress.reading, progress.writing, strict=True):
            deadline = None if job.deadline is None else job.deadline - seconds
            if end > seconds and (deadline is None or deadline > 0):
                tokens = ceil(reading - NEGLIGIBLE_TOKENS), ceil(writing - NEGLIGIBLE_TOKENS)
                left.append(Job(*tokens, deadline, job.streams, job.width))
        return replace(self, jobs=left)

    @cached_property
    def alone(self) -> _Progress:
        """All of it, on cores that it has for itself."""
        return self.play()

    def play(self, until: float = inf) -> _Progress:
        """Play the engine's steps through, as if there were no deadlines, up to the time `until`."""
        jobs, costs = self.jobs, self.costs
        reading, writing = [float(job.prefill) for job in jobs], [float(job.output) for job in jobs]
        finished = [inf] * len(jobs)
        left = list(range(len(jobs)))
        widths = [job.width or self.parallel for job in jobs]
        # The earliest of those that are left is the last of these.
        by_deadline = [(job.deadline, index) for index, job in enumerate(jobs) if job.deadline is not None]
        by_deadline.sort(reverse=True)
        stages = list[tuple[float, Need]]()
        last = None
        now = 0.0
        while left and now < until:
            active = [index for rank, index in enumerate(left[: self.parallel]) if rank < widths[index]]
            first = next((index for index in active if reading[index] > NEGLIGIBLE_TOKENS), None)
            decoding = [index for index in active if reading[index] <= NEGLIGIBLE_TOKENS]
            seconds, rows = costs.step_seconds(len(decoding)), 0.0
            while by_deadline and finished[by_deadline[-1][1]] < inf:
                by_deadline.pop()
            deadline = by_deadline[-1][0] if by_deadline else inf
            step = seconds if any(jobs[index].streams for index in decoding) else None
            if (deadline, step) != last:
                last = deadline, step
                stages.append((now, Need(deadline, step is not None, step or 0.0, self.slice_seconds)))
            if first is not None and decoding:
                rows = float(costs.slice_tokens)
                seconds += rows * costs.slice_seconds_per_token
            elif first is not None:
                rows, seconds = 1.0, costs.prefill_seconds_per_token
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
        return _Progress(finished, reading, writing, Course(stages, now))


@dataclass(frozen=True)
class Simulation:
    """A queue, as Queue says, and the queues of other models on the same cores.

    Each makes the steps that it would make alone, only later: see sharing.
    """

    jobs: Sequence[Job]
    costs: Costs
    parallel: int
    beside: Sequence[Queue] = ()
    slice_seconds: float = SLICE_SECONDS

    @staticmethod
    def of(queue: Queue, beside: Sequence[Queue] = ()) -> "Simulation":
        return Simulation(queue.jobs, queue.costs, queue.parallel, beside, queue.slice_seconds)

    @cached_property
    def queues(self) -> tuple[Queue, ...]:
        """The own one, and those beside it."""
        return (Queue(self.jobs, self.costs, self.parallel, self.slice_seconds), *self.beside)

    @cached_property
    def ends(self) -> tuple[list[float], ...]:
        """By queue and job, when it would be answered if there were no deadlines."""
        alone = [queue.alone for queue in self.queues]
        if self._clocks is None:
            return tuple(progress.finished for progress in alone)
        return tuple(
            [clock.time(own) for own in progress.finished] for clock, progress in zip(self._clocks, alone, strict=True)
        )

    def finish_seconds(self) -> list[float]:
        """When each job is answered, at its deadline at the latest."""
        return _answered(self.jobs, self.ends[0])

    def plan(self, demand: Demand, least: Plan | None = None) -> Plan | Refusal:
        """The largest part of `demand` that fits behind the jobs before its deadline and theirs, in all queues.

        It is worked on beside as many others as gives it most. Without a deadline of its own it is all of it, whatever
        that means for others: it waits its turn as they did. Nothing below `least` is planned; by default that is what
        makes a summary worth something.
        """
        whole = Plan(demand.article, demand.output)
        if demand.deadline is None:
            return whole
        least = least or Plan(MIN_ARTICLE_TOKENS, MIN_OUTPUT_TOKENS)
        least = Plan(min(demand.article, least.article), min(demand.output, least.output))
        best, most = None, -inf
        for width in self.widths():
            if self._fits(replace(whole, width=width), demand):
                return replace(whole, width=width)
            if (found := self._largest(width, demand, least)) is not None:
                share = found.article / max(1, demand.article) + found.output / max(1, demand.output)
                if share > most:
                    best, most = found, share
        return best or self._refusal(least, demand)

    def widths(self) -> list[int | None]:
        """Beside how many others it might be worked on, as jobs have it."""
        most = min(self.parallel, len(self.jobs) + 1)
        found: list[int | None] = [None]
        while (most := most // 2) >= 1:
            found.append(most)
        return found

    def _largest(self, width: int | None, demand: Demand, least: Plan) -> Plan | None:
        """The largest plan of this width, `least` at the least."""
        least = replace(least, width=width)
        if not self._fits(least, demand):
            return None
        # The engine's time for this request: the most that, shared out, keeps everyone in time.
        assert demand.deadline is not None
        best, low, high = least, 0.0, demand.deadline * self._overrated()
        for _ in range(SEARCH_STEPS):
            seconds = (low + high) / 2
            candidate = self._shared_out(seconds, demand, least)
            if self._fits(candidate, demand):
                best, low = candidate, seconds
            else:
                high = seconds
        return best

    def fits_at(self, place: int, demand: Demand, width: int | None = None) -> bool:
        """Whether all of `demand`, served at `place` among the jobs, is done in time and makes nobody late."""
        job = Job(demand.article + demand.frame, demand.output, demand.deadline, demand.streams, width)
        after = self._with(job, place)
        if demand.deadline is not None:
            latest = latest_end(demand.deadline, waits=place >= (width or self.parallel))
            # Beside others it takes no less than alone, which is quickly known.
            if after.queues[0].alone.finished[place] > latest or after.ends[0][place] > latest:
                return False
        return self._nobody_later(after, place)

    def left_after(self, seconds: float) -> "Simulation":
        """The rest of the jobs at that time. A job whose deadline is over is gone."""
        shared = self._clocks
        had = [clock.had(seconds) for clock in shared] if shared else [seconds] * len(self.queues)
        own, *beside = (
            queue.left(own, finished, seconds) for queue, own, finished in zip(self.queues, had, self.ends, strict=True)
        )
        return Simulation.of(own, beside)

    def _with(self, job: Job, place: int) -> "Simulation":
        return replace(self, jobs=[*self.jobs[:place], job, *self.jobs[place:]])

    def _nobody_later(self, after: "Simulation", place: int) -> bool:
        """Whether everybody is in time as surely as a newcomer has to be, or no later than now, `after` one more has
        come to `place`: what is kept for what is not foreseen is not for newcomers."""
        for number, queue in enumerate(self.queues):
            ends = after.ends[number]
            if number == 0:
                ends = ends[:place] + ends[place + 1 :]
            for index, (job, end) in enumerate(zip(queue.jobs, ends, strict=True)):
                if job.deadline is None or end <= SAFETY * job.deadline + TOLERANCE_SECONDS:
                    continue
                # What would be without the newcomer need not be played before somebody is late.
                if end > self.ends[number][index] + TOLERANCE_SECONDS:
                    return False
        return True

    def _fits(self, plan: Plan, demand: Demand) -> bool:
        """Whether `plan`, served last, is in time and makes nobody late."""
        part = replace(demand, article=plan.article, output=plan.output)
        return self.fits_at(len(self.jobs), part, plan.width)

    def _shared_out(self, seconds: float, demand: Demand, least: Plan) -> Plan:
        """`seconds` of the engine's time shared between article and summary."""
        per_token, per_output = self._rough_costs()
        seconds -= demand.frame * per_token
        article, output = demand.article * per_token, demand.output * per_output
        reading = min(article, max(LEAST_SHARE * seconds, seconds - output))
        writing = min(output, max(LEAST_SHARE * seconds, seconds - reading))
        reading = min(article, seconds - writing)
        return Plan(
            max(least.article, _portion(demand.article, reading, per_token)),
            max(least.output, _portion(demand.output, writing, per_output)),
            width=least.width,
        )

    def _rough_costs(self) -> tuple[float, float]:
        """Of a token to read and of one to write, as if those who are there now stayed."""
        others = min(len(self.jobs), self.parallel - 1)
        costs = self.costs
        per_token = costs.slice_seconds_per_token if others else costs.prefill_seconds_per_token
        return per_token, costs.step_seconds(others + 1)

    def _overrated(self) -> float:
        """How many times what it takes alone, after the others are gone, a token costs by the rough costs at most."""
        per_token, per_output = self._rough_costs()
        alone = self.costs.prefill_seconds_per_token, self.costs.step_seconds(1)
        return max(1.0, *(rough / least for rough, least in zip((per_token, per_output), alone, strict=True) if least))

    def _refusal(self, least: Plan, demand: Demand) -> Refusal:
        """When the least plan fits: right after one of the jobs is answered, or never."""
        idle = Simulation([], self.costs, self.parallel)
        (alone,) = idle._with(Job(least.article + demand.frame, least.output), 0).finish_seconds()
        needed = (alone + OVERHEAD_SECONDS) / SAFETY
        if not idle._fits(least, demand):
            return Refusal(None, needed)

        def fits(end: float) -> bool:
            rest = self.left_after(end)
            return any(rest._fits(replace(least, width=width), demand) for width in rest.widths())

        answered = [_answered(queue.jobs, ends) for queue, ends in zip(self.queues, self.ends, strict=True)]
        ends = sorted({end for of_queue in answered for end in of_queue}) or [0.0]
        # Of many only some are tried, then those before the first that fits: the later, the more room there is.
        stride = ceil(len(ends) / TRIED_ENDS)
        last = len(ends) - 1
        found = next((index for index in range(stride - 1, last, stride) if fits(ends[index])), last)
        earlier = ends[max(0, found - stride + 1) : found]
        return Refusal(next(filter(fits, earlier), ends[found]), needed)

    @cached_property
    def _clocks(self) -> list[Clock] | None:
        """By queue; None: only one has requests, and has the cores always."""
        if sum(bool(queue.jobs) for queue in self.queues) <= 1:
            return None
        return clocks([queue.alone.course for queue in self.queues])


def latest_end(deadline: float, *, waits: bool = False) -> float:
    """When a newcomer's plan has to end at the latest. `waits`: it cannot begin at once."""
    return (SAFETY_BEHIND if waits else SAFETY) * deadline - OVERHEAD_SECONDS


def _portion(most: int, seconds: float, per_token: float) -> int:
    """As many of `most` tokens as cost that. A cost that was not measured yet is 0."""
    return min(most, int(seconds / per_token)) if per_token else most


def _answered(jobs: Sequence[Job], ends: Sequence[float]) -> list[float]:
    return [
        end if job.deadline is None else min(end, max(job.deadline, 0.0)) for job, end in zip(jobs, ends, strict=True)
    ]
