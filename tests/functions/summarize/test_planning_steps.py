"""A plan reckons with parts of steps. A thread makes whole ones: it agrees, give or take a few."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.summarize.planning import Costs, Job, Queue, Simulation
from functions.summarize.sharing import Need, shares

# An 8B and a 1B on two cores, as measured.
LARGE = Costs(0.092, 0.1, (0.27, 0.45, 0.6, 0.75), 15)
SMALL = Costs(0.012, 0.014, (0.045, 0.07, 0.09, 0.11), 64)
# The longest step, of the 8B: one of four that write, with a slice.
LONGEST_STEP = 0.75 + 15 * 0.1


@dataclass
class Engine:
    """Makes the steps of one queue. `charged`: the time it has had, each second divided by its share at that time."""

    queue: Queue
    charged: float = 0.0
    ends: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reading = [job.prefill for job in self.queue.jobs]
        self.writing = [job.output for job in self.queue.jobs]
        self.left = list(range(len(self.queue.jobs)))

    @property
    def writers(self) -> list[int]:
        return [index for index in self.left[: self.queue.parallel] if not self.reading[index]]

    def need(self) -> Need:
        jobs = self.queue.jobs
        deadlines = [deadline for index in self.left if (deadline := jobs[index].deadline) is not None]
        along = any(jobs[index].streams for index in self.writers)
        step = self.queue.costs.step_seconds(len(self.writers))
        return Need(min(deadlines, default=inf), along, step if along else 0.0, self.queue.slice_seconds)

    def step(self, now: float) -> float:
        """The time after one step."""
        costs, writers = self.queue.costs, self.writers
        active = self.left[: self.queue.parallel]
        now += costs.step_seconds(len(writers))
        if first := [index for index in active if self.reading[index]][:1]:
            rows = min(self.reading[first[0]], costs.slice_tokens)
            self.reading[first[0]] -= rows
            now += rows * (costs.slice_seconds_per_token if writers else costs.prefill_seconds_per_token)
        for index in writers:
            self.writing[index] -= 1
        for index in active:
            if not self.reading[index] and self.writing[index] <= 0:
                self.ends[index] = now
                self.left.remove(index)
        return now


def played(queues: Sequence[Queue]) -> list[list[float]]:
    """When each job ends, by queue, if the thread always makes a step of whoever has had the least for its share."""
    engines = [Engine(queue) for queue in queues]
    now = 0.0
    while working := [engine for engine in engines if engine.left]:
        parts = shares([engine.need() for engine in working])
        served = [(engine, part) for engine, part in zip(working, parts, strict=True) if part]
        least = min(engine.charged for engine, _ in served)
        for engine in engines:
            if not any(engine is other for other, _ in served):
                # Who has no share now saves nothing for later.
                engine.charged = max(engine.charged, least)
        engine, part = min(served, key=lambda pair: pair[0].charged)
        begun, now = now, engine.step(now)
        engine.charged += (now - begun) / part
    return [[engine.ends[index] for index in range(len(engine.queue.jobs))] for engine in engines]


JOBS = st.lists(
    st.builds(
        Job,
        st.just(0) | st.integers(50, 300),
        st.integers(10, 100),
        st.none() | st.floats(5, 150),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@given(JOBS, JOBS, st.integers(1, 4))
def test_a_thread_that_makes_whole_steps_ends_as_planned(large: list[Job], small: list[Job], parallel: int) -> None:
    queues = [Queue(large, LARGE, parallel), Queue(small, SMALL, parallel)]
    planned = Simulation.of(queues[0], queues[1:]).ends
    for ends, ends_planned in zip(played(queues), planned, strict=True):
        assert ends == pytest.approx(ends_planned, abs=5 * LONGEST_STEP)
