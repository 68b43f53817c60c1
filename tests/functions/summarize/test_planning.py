import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from functions.summarize.planning import (
    LEAST_SHARE,
    MIN_ARTICLE_TOKENS,
    MIN_OUTPUT_TOKENS,
    OVERHEAD_SECONDS,
    SAFETY,
    TOLERANCE_SECONDS,
    Costs,
    Demand,
    Job,
    Plan,
    Refusal,
    Simulation,
)

# Round numbers to reckon with: a token is read in 1 s, beside others in 2; a slice has 10.
PLAIN = Costs(1.0, 2.0, (1.0, 1.5, 2.0), 10)
# An 8B on two cores, as measured.
LARGE = Costs(0.092, 0.1, (0.27, 0.45, 0.6, 0.75), 15)
SEEDS, TRIALS = 10, 30
# What float arithmetic may add.
ROUNDING = 1e-6


def finish_times(jobs: Sequence[Job], costs: Costs, parallel: int) -> list[float]:
    return Simulation(jobs, costs, parallel).finish_seconds()


def plan(demand: Demand, jobs: Sequence[Job], costs: Costs, parallel: int) -> Plan | Refusal:
    return Simulation(jobs, costs, parallel).plan(demand)


def random_costs(source: random.Random) -> Costs:
    """Costs of any scale, of which more work never costs less."""
    prefill = 10 ** source.uniform(-6, 3)
    decode = [10 ** source.uniform(-6, 3)]
    for _ in range(source.randint(0, 7)):
        decode.append(decode[-1] * source.uniform(1, 2))
    return Costs(prefill, prefill * source.uniform(1, 3), tuple(decode), source.randint(1, 5000))


def random_jobs(source: random.Random, most: int) -> list[Job]:
    largest = source.choice([3, 1000, 10**12])
    return [
        Job(source.randint(0, largest), source.randint(0, largest), source.choice([None, 10 ** source.uniform(-3, 9)]))
        for _ in range(source.randint(0, most))
    ]


def present_jobs(source: random.Random, parallel: int) -> list[Job]:
    """Jobs as an 8B would have them, some of them late already."""
    jobs: list[Job] = []
    for _ in range(source.randint(0, 2 * parallel)):
        job = Job(source.choice([0, source.randint(1, 900)]), source.randint(0, 150))
        alone = finish_times([*jobs, job], LARGE, parallel)[-1]
        jobs.append(replace(job, deadline=source.choice([None, alone * source.uniform(0.7, 3)])))
    return jobs


def unbounded(jobs: Sequence[Job]) -> list[Job]:
    return [replace(job, deadline=None) for job in jobs]


def outcome(demand: Demand, jobs: Sequence[Job] = (), costs: Costs = LARGE, parallel: int = 4) -> Plan:
    planned = plan(demand, jobs, costs, parallel)
    assert isinstance(planned, Plan)
    return planned


def refusal(demand: Demand, jobs: Sequence[Job] = (), costs: Costs = LARGE, parallel: int = 4) -> Refusal:
    refused = plan(demand, jobs, costs, parallel)
    assert isinstance(refused, Refusal)
    return refused


@pytest.mark.parametrize(
    ("jobs", "parallel", "expected"),
    [
        ([], 2, []),
        # 20 s of reading, 5 steps of 1 s.
        ([Job(20, 5)], 2, [25]),
        # The second reads 20 tokens in 2 steps of 1 + 10 * 2 s beside the first's 5, of which 3 are then left: both
        # write for 3 * 1.5 s, and the second for 4 * 1 s alone.
        ([Job(0, 5), Job(20, 7)], 2, [46.5, 50.5]),
        # Half a slice: the first's last step is shared, the rest is read alone.
        ([Job(0, 1), Job(15, 1)], 2, [21, 27]),
        # The third waits until the first is answered, and then writes beside the second.
        ([Job(0, 2), Job(0, 4), Job(0, 2)], 2, [3, 6, 6]),
        ([Job(3, 1), Job(3, 1), Job(3, 1)], 1, [4, 8, 12]),
        # Nothing to write: answered when it is read.
        ([Job(5, 0)], 2, [5]),
        ([Job(0, 0), Job(0, 0), Job(0, 3)], 1, [0, 0, 3]),
        ([Job(0, 5), Job(20, 0)], 2, [45, 42]),
        # More at once than were measured cost what the most that were measured cost.
        ([Job(0, 1)] * 5, 5, [2] * 5),
    ],
)
def test_finish_times_are_those_reckoned_by_hand(jobs: list[Job], parallel: int, expected: list[float]) -> None:
    assert finish_times(jobs, PLAIN, parallel) == pytest.approx(expected)


def test_nobody_finishes_after_the_own_deadline_or_before_now() -> None:
    jobs = [Job(20, 5, 7.5), Job(0, 3, -4.0), Job(0, 3)]
    whole = finish_times(unbounded(jobs), PLAIN, 3)
    assert finish_times(jobs, PLAIN, 3) == [7.5, 0.0, whole[2]]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_finish_times_end_whatever_the_jobs_and_an_addition_makes_no_earlier_one_earlier(seed: int) -> None:
    source = random.Random(seed)
    for _ in range(TRIALS):
        costs, parallel = random_costs(source), source.randint(1, 8)
        jobs = random_jobs(source, 12)
        before = finish_times(jobs, costs, parallel)
        assert all(time >= 0 for time in before)
        newcomer = Job(source.randint(1, 1000), source.randint(0, 1000))
        *after, _ = finish_times([*jobs, newcomer], costs, parallel)
        for earlier, later in zip(before, after, strict=True):
            assert later >= earlier * (1 - ROUNDING) - ROUNDING


def test_without_a_deadline_the_whole_is_planned_however_many_there_are() -> None:
    assert outcome(Demand(10**6, 1000, 30), [Job(900, 150, 20.0)] * 20) == Plan(10**6, 1000)


def test_what_fits_is_planned_whole() -> None:
    assert outcome(Demand(50, 40, 30, 28.0)) == Plan(50, 40)
    assert outcome(Demand(1, 1, 0, 28.0), [Job(0, 10, 20.0)]) == Plan(1, 1)


def test_an_article_and_a_summary_that_are_both_too_long_share_the_time() -> None:
    demand = Demand(article=900, output=150, frame=30, deadline=28.0)
    planned = outcome(demand)
    reading, writing = (
        planned.article * LARGE.prefill_seconds_per_token,
        planned.output * LARGE.decode_seconds_per_step[0],
    )
    frame = demand.frame * LARGE.prefill_seconds_per_token
    own = finish_times([Job(planned.article + demand.frame, planned.output)], LARGE, 4)[0]
    print(
        f"{planned}: reads {reading:.1f} s and the frame {frame:.1f} s, writes {writing:.1f} s, answers at {own:.1f} s"
    )
    assert own == pytest.approx(frame + reading + writing)
    usable = SAFETY * 28 - OVERHEAD_SECONDS
    assert 0.98 * usable < own <= usable
    assert min(reading, writing) >= (LEAST_SHARE - 0.02) * (usable - frame)


def test_beside_others_neither_article_nor_summary_is_crowded_out() -> None:
    jobs = [Job(0, 150)]
    demand = Demand(article=900, output=150, frame=30, deadline=50.0)
    planned = outcome(demand, jobs)
    own = finish_times([*jobs, Job(planned.article + demand.frame, planned.output)], LARGE, 4)[1]
    assert own <= SAFETY * 50 - OVERHEAD_SECONDS
    reading, writing = (
        planned.article * LARGE.slice_seconds_per_token,
        planned.output * LARGE.decode_seconds_per_step[1],
    )
    assert min(reading, writing) >= (LEAST_SHARE - 0.02) * (reading + writing)
    assert planned.article > MIN_ARTICLE_TOKENS
    assert planned.output > MIN_OUTPUT_TOKENS


@pytest.mark.parametrize(
    ("demand", "kept"),
    [
        # A short summary leaves its time to the article, a short article to the summary.
        (Demand(900, 20, 30, 28.0), "output"),
        (Demand(40, 150, 30, 28.0), "article"),
    ],
)
def test_time_that_one_part_does_not_need_goes_to_the_other(demand: Demand, kept: str) -> None:
    planned = outcome(demand)
    assert getattr(planned, kept) == getattr(demand, kept)
    both_short = outcome(replace(demand, article=900, output=150))
    other = "article" if kept == "output" else "output"
    assert getattr(both_short, other) < getattr(planned, other) < getattr(demand, other)
    own = finish_times([Job(planned.article + demand.frame, planned.output)], LARGE, 4)[0]
    assert own > 0.97 * (SAFETY * 28 - OVERHEAD_SECONDS)


def test_more_time_never_plans_less() -> None:
    plans = [outcome(Demand(900, 150, 30, float(deadline))) for deadline in range(20, 150, 5)]
    assert plans == sorted(plans, key=lambda planned: (planned.article, planned.output))
    assert all(one.output <= other.output for one, other in pairwise(plans))
    assert plans[-1] == Plan(900, 150)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_newcomer_is_in_time_and_makes_nobody_late(seed: int) -> None:
    source = random.Random(seed)
    planned_at_all = 0
    for _ in range(TRIALS):
        parallel = source.randint(1, 4)
        jobs = present_jobs(source, parallel)
        deadline = source.uniform(10, 300)
        demand = Demand(source.randint(1, 2000), source.randint(1, 300), source.randint(0, 60), deadline)
        planned = plan(demand, jobs, LARGE, parallel)
        if isinstance(planned, Refusal):
            continue
        planned_at_all += 1
        assert min(demand.article, MIN_ARTICLE_TOKENS) <= planned.article <= demand.article
        assert min(demand.output, MIN_OUTPUT_TOKENS) <= planned.output <= demand.output
        newcomer = Job(planned.article + demand.frame, planned.output)
        before = finish_times(unbounded(jobs), LARGE, parallel)
        *after, own = finish_times([*unbounded(jobs), newcomer], LARGE, parallel)
        assert own <= deadline
        for job, without, together in zip(jobs, before, after, strict=True):
            if job.deadline is not None and without <= job.deadline:
                assert together <= job.deadline + TOLERANCE_SECONDS + ROUNDING
    assert planned_at_all > TRIALS / 10


def test_who_finds_the_others_in_the_way_is_refused_until_the_next_is_answered() -> None:
    # 200 tokens are read in 18.4 s, 100 written in 27 s.
    job = Job(200, 100, 60.0)
    demand = Demand(900, 150, 30, 28.0)
    refused = refusal(demand, [job], parallel=1)
    assert refused.retry_after_seconds == pytest.approx(finish_times([job], LARGE, 1)[0])
    assert refused.needed_seconds <= 28
    assert isinstance(plan(demand, [], LARGE, 1), Plan)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_at_the_time_of_its_retry_after_a_refused_one_fits_behind_the_job_that_was_in_the_way(seed: int) -> None:
    source = random.Random(seed)
    refused_at_all = 0
    for _ in range(TRIALS):
        parallel = source.randint(1, 4)
        job = Job(source.randint(0, 900), source.randint(1, 300), source.choice([None, source.uniform(5, 120)]))
        deadline = source.uniform(15, 60)
        demand = Demand(source.randint(1, 900), source.randint(1, 150), source.randint(0, 40), deadline)
        refused = plan(demand, [job], LARGE, parallel)
        if isinstance(refused, Plan) or refused.retry_after_seconds is None:
            continue
        refused_at_all += 1
        assert refused.needed_seconds <= deadline
        # Of one job nothing is left at the only time that can be named.
        assert refused.retry_after_seconds == pytest.approx(finish_times([job], LARGE, parallel)[0])
        assert isinstance(plan(demand, [], LARGE, parallel), Plan)
    assert refused_at_all > TRIALS / 10


def test_the_retry_after_of_a_full_engine_is_when_the_first_of_those_that_write_is_done() -> None:
    jobs = [Job(0, tokens, 200.0) for tokens in (40, 80, 160, 300)]
    demand = Demand(100, 40, 30, 60.0)
    refused = refusal(demand, jobs)
    ends = finish_times(jobs, LARGE, 4)
    assert refused.retry_after_seconds in ends
    later = [
        Job(0, round(job.output * (end - refused.retry_after_seconds) / end))
        for job, end in zip(jobs, ends, strict=True)
        if end > refused.retry_after_seconds
    ]
    assert isinstance(plan(demand, later, LARGE, 4), Plan)


@pytest.mark.parametrize("jobs", [[], [Job(900, 150, 20.0)] * 3])
@pytest.mark.parametrize("deadline", [17.0, 3.0, 0.1, 0.0, -5.0])
def test_what_not_even_an_idle_engine_can_do_is_refused_for_good(deadline: float, jobs: list[Job]) -> None:
    refused = refusal(Demand(900, 150, 30, deadline), jobs)
    assert refused.retry_after_seconds is None
    # The least plan: 64 + 30 tokens are read in 8.6 s, 32 are written in 8.6 s.
    assert refused.needed_seconds == pytest.approx((94 * 0.092 + 32 * 0.27 + OVERHEAD_SECONDS) / SAFETY)
    assert refused.needed_seconds > deadline


def test_the_time_that_a_refusal_asks_for_is_enough_on_an_idle_engine() -> None:
    needed = refusal(Demand(900, 150, 30, 10.0)).needed_seconds
    assert isinstance(plan(Demand(900, 150, 30, needed + 0.01), [], LARGE, 4), Plan)
    assert isinstance(plan(Demand(900, 150, 30, needed - 0.01), [], LARGE, 4), Refusal)
