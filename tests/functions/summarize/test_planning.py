import doctest
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from math import ceil
from operator import mul

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from functions.summarize import planning
from functions.summarize.planning import (
    LEAST_SHARE,
    MIN_ARTICLE_TOKENS,
    MIN_OUTPUT_TOKENS,
    OVERHEAD_SECONDS,
    SAFETY,
    TOLERANCE_SECONDS,
    TRIED_ENDS,
    Costs,
    Demand,
    Job,
    Plan,
    Queue,
    Refusal,
    Simulation,
    latest_end,
)
from tests.strategies import examples

# Round numbers to reckon with: a token is read in 1 s, beside others in 2; a slice has 10.
PLAIN = Costs(1.0, 2.0, (1.0, 1.5, 2.0), 10)
# An 8B on two cores, as measured.
LARGE = Costs(0.092, 0.1, (0.27, 0.45, 0.6, 0.75), 15)
# A 1B.
SMALL = Costs(0.012, 0.014, (0.045, 0.07, 0.09, 0.11), 64)
# What float arithmetic may add.
ROUNDING = 1e-6


SCALES = st.floats(-6, 3).map(lambda power: 10**power)


def finish_times(jobs: Sequence[Job], costs: Costs, parallel: int) -> list[float]:
    return Simulation(jobs, costs, parallel).finish_seconds()


def plan(demand: Demand, jobs: Sequence[Job], costs: Costs, parallel: int) -> Plan | Refusal:
    return Simulation(jobs, costs, parallel).plan(demand)


@st.composite
def costs_of_any_scale(draw: st.DrawFn) -> Costs:
    """Costs of which more work never costs less."""
    prefill, beside = draw(SCALES), draw(st.floats(1, 3))
    decode = accumulate([draw(SCALES), *draw(st.lists(st.floats(1, 2), max_size=7))], mul)
    return Costs(prefill, prefill * beside, tuple(decode), draw(st.integers(1, 5000)))


def jobs_of(most: int) -> st.SearchStrategy[list[Job]]:
    """Up to 12 jobs with up to `most` tokens to read and to write, some of them with a deadline."""
    tokens, deadlines = st.integers(0, most), st.floats(-3, 9).map(lambda power: 10**power)
    return st.lists(st.builds(Job, tokens, tokens, st.none() | deadlines), max_size=12)


@st.composite
def present_jobs(draw: st.DrawFn, parallel: int, costs: Costs = LARGE) -> list[Job]:
    """Jobs as an 8B would have them, some of them late already, and some with somebody who reads along."""
    reading = st.just(0) | st.integers(1, 900)
    # The deadline, in multiples of the time when the job would be answered if nobody came after it.
    patience = st.none() | st.floats(0.7, 3)
    jobs: list[Job] = []
    for tokens, output, times in draw(
        st.lists(st.tuples(reading, st.integers(0, 150), patience), max_size=2 * parallel)
    ):
        answered = finish_times([*jobs, Job(tokens, output)], costs, parallel)[-1]
        jobs.append(Job(tokens, output, None if times is None else answered * times, draw(st.booleans())))
    return jobs


@st.composite
def queues(draw: st.DrawFn) -> tuple[Queue, Queue]:
    """Those of an 8B and of a 1B, in any order."""
    parallel = draw(st.integers(1, 4))
    pair = [Queue(draw(present_jobs(parallel, costs)), costs, parallel) for costs in (LARGE, SMALL)]
    return draw(st.sampled_from([(pair[0], pair[1]), (pair[1], pair[0])]))


# Of the size that news have, with time for about a part of it.
DEMANDS = st.builds(
    Demand, st.integers(1, 2000), st.integers(1, 300), st.integers(0, 60), st.floats(10, 300), st.booleans()
)


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
    # Two steps of 1.5 + 10 * 2 s read the first prompt; the third step is one of three that write, and takes 2 s.
    jobs = [Job(20, 5, 7.5), Job(0, 3, -4.0), Job(0, 3)]
    assert finish_times(jobs, PLAIN, 3) == [7.5, 0.0, 45.0]


@examples(3)
@given(
    st.sampled_from([3, 1000, 10**12]).flatmap(jobs_of),
    st.builds(Job, st.integers(1, 1000), st.integers(0, 1000)),
    costs_of_any_scale(),
    st.integers(1, 8),
)
def test_finish_times_end_whatever_the_jobs_and_an_addition_makes_no_earlier_one_earlier(
    jobs: list[Job], newcomer: Job, costs: Costs, parallel: int
) -> None:
    before = finish_times(jobs, costs, parallel)
    assert all(time >= 0 for time in before)
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
    ("demand", "planned"),
    [
        # There are 0.93 * 28 - 0.2 = 25.84 s: 131 tokens are read in 12.05 s, 51 written in 13.77 s.
        (Demand(900, 150, 30, 28.0), Plan(101, 51)),
        # A short summary leaves its time to the article: 222 tokens are read in 20.42 s, 20 written in 5.4 s.
        (Demand(900, 20, 30, 28.0), Plan(192, 20)),
        # A short article leaves it to the summary: 70 tokens are read in 6.44 s, 71 written in 19.17 s.
        (Demand(40, 150, 30, 28.0), Plan(40, 71)),
    ],
)
def test_time_that_one_part_does_not_need_goes_to_the_other(demand: Demand, planned: Plan) -> None:
    assert outcome(demand) == planned


def test_more_time_never_plans_less() -> None:
    plans = [outcome(Demand(900, 150, 30, float(deadline))) for deadline in range(20, 150, 5)]
    assert plans == sorted(plans, key=lambda planned: (planned.article, planned.output))
    assert all(one.output <= other.output for one, other in pairwise(plans))
    assert plans[-1] == Plan(900, 150)


@examples(3)
@given(
    st.integers(1, 4).flatmap(lambda parallel: st.tuples(st.just(parallel), present_jobs(parallel))),
    st.builds(Demand, st.integers(1, 2000), st.integers(1, 300), st.integers(0, 60), st.floats(10, 300)),
)
def test_a_newcomer_is_in_time_and_makes_nobody_late(present: tuple[int, list[Job]], demand: Demand) -> None:
    parallel, jobs = present
    planned = plan(demand, jobs, LARGE, parallel)
    # Where nearly all are refused the test fails: hypothesis' health check sees to it.
    if isinstance(planned, Refusal):
        reject()
    assert min(demand.article, MIN_ARTICLE_TOKENS) <= planned.article <= demand.article
    assert min(demand.output, MIN_OUTPUT_TOKENS) <= planned.output <= demand.output
    newcomer = Job(planned.article + demand.frame, planned.output, width=planned.width)
    before = finish_times(unbounded(jobs), LARGE, parallel)
    *after, own = finish_times([*unbounded(jobs), newcomer], LARGE, parallel)
    assert demand.deadline is not None
    assert own <= demand.deadline
    for job, without, together in zip(jobs, before, after, strict=True):
        if job.deadline is not None and without <= job.deadline:
            assert together <= job.deadline + TOLERANCE_SECONDS + ROUNDING


def test_who_finds_the_others_in_the_way_is_refused_until_the_next_is_answered() -> None:
    # 200 tokens are read in 18.4 s, 100 written in 27 s.
    job = Job(200, 100, 60.0)
    demand = Demand(900, 150, 30, 28.0)
    refused = refusal(demand, [job], parallel=1)
    assert refused.retry_after_seconds == pytest.approx(finish_times([job], LARGE, 1)[0])
    assert refused.needed_seconds <= 28
    assert isinstance(plan(demand, [], LARGE, 1), Plan)


@examples(3)
@given(
    st.builds(Job, st.integers(0, 900), st.integers(1, 300), st.none() | st.floats(5, 120)),
    st.builds(Demand, st.integers(1, 900), st.integers(1, 150), st.integers(0, 40), st.floats(15, 60)),
    st.integers(1, 4),
)
def test_at_the_time_of_its_retry_after_a_refused_one_fits_behind_the_job_that_was_in_the_way(
    job: Job, demand: Demand, parallel: int
) -> None:
    refused = plan(demand, [job], LARGE, parallel)
    if isinstance(refused, Plan) or refused.retry_after_seconds is None:
        reject()
    assert demand.deadline is not None
    assert refused.needed_seconds <= demand.deadline
    # Of one job nothing is left at the only time that can be named.
    assert refused.retry_after_seconds == pytest.approx(finish_times([job], LARGE, parallel)[0])
    assert isinstance(plan(demand, [], LARGE, parallel), Plan)


def test_the_retry_after_of_a_full_engine_is_when_the_first_of_those_that_write_is_done() -> None:
    # Four write 40 tokens each in steps of 0.75 s: then the first is done, and the newcomer fits beside the others.
    demand = Demand(100, 40, 30, 60.0)
    assert refusal(
        demand, [Job(0, tokens, 200.0) for tokens in (40, 80, 160, 300)]
    ).retry_after_seconds == pytest.approx(30)
    assert outcome(demand, [Job(0, tokens, 170.0) for tokens in (40, 120, 260)]) == Plan(100, 40)


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


@pytest.mark.parametrize(
    ("jobs", "others", "expected", "expected_others"),
    [
        # The earlier deadline goes first; then a request of the other has its time.
        ([Job(0, 5, 100.0)], [Job(0, 3, 50.0)], [8], [3]),
        ([Job(0, 5, 50.0)], [Job(0, 3, 100.0)], [5], [8]),
        # Both are as urgent: they have half of the time until the shorter is done.
        ([Job(0, 5, 50.0)], [Job(0, 3, 50.0)], [8], [6]),
        ([Job(0, 5)], [Job(0, 3)], [8], [6]),
        # A quarter goes to who has no deadline: its 3 s take 12 s, if the other goes on for that long.
        ([Job(0, 12, 50.0)], [Job(0, 3)], [15], [12]),
        ([Job(0, 6, 50.0)], [Job(0, 3)], [8], [9]),
        # While one who has no deadline waits behind one who has, all of that queue is urgent.
        ([Job(0, 4), Job(0, 2, 50.0)], [Job(0, 2, 100.0)], [4, 6], [8]),
        # Who reads along has one step of 1 s for each slice of 3 s, so its 3 steps take 12 s.
        ([Job(0, 9, 50.0)], [Job(0, 3, 100.0, True)], [12], [12]),
        # But only once it writes: it reads when its turn comes.
        ([Job(0, 9, 50.0)], [Job(3, 3, 100.0, True)], [9], [15]),
        ([], [Job(0, 3)], [], [3]),
        ([Job(0, 3)], [], [3], []),
    ],
)
def test_finish_times_beside_another_model_are_those_reckoned_by_hand(
    jobs: list[Job], others: list[Job], expected: list[float], expected_others: list[float]
) -> None:
    simulation = Simulation(jobs, PLAIN, 1, [Queue(others, PLAIN, 1, 3.0)], 3.0)
    assert simulation.finish_seconds() == pytest.approx(expected)
    assert simulation.ends[1] == pytest.approx(expected_others)
    other_way_round = Simulation(others, PLAIN, 1, [Queue(jobs, PLAIN, 1, 3.0)], 3.0)
    assert other_way_round.finish_seconds() == pytest.approx(expected_others)


@given(queues(), DEMANDS, st.floats(0, 100))
def test_beside_a_queue_without_requests_all_is_as_alone(
    pair: tuple[Queue, Queue], demand: Demand, seconds: float
) -> None:
    own, other = pair
    alone, beside = Simulation.of(own), Simulation.of(own, [replace(other, jobs=[])])
    assert beside.finish_seconds() == pytest.approx(alone.finish_seconds())
    assert beside.plan(demand) == alone.plan(demand)
    assert beside.left_after(seconds).jobs == alone.left_after(seconds).jobs


@given(queues())
def test_two_queues_take_as_long_as_one_after_the_other_and_neither_is_quicker_than_alone(
    pair: tuple[Queue, Queue],
) -> None:
    together = Simulation.of(pair[0], pair[1:]).ends
    alone = [Simulation.of(queue).ends[0] for queue in pair]
    assert max([*together[0], *together[1]], default=0) == pytest.approx(sum(max(ends, default=0) for ends in alone))
    for ends, ends_alone in zip(together, alone, strict=True):
        for end, end_alone in zip(ends, ends_alone, strict=True):
            assert end >= end_alone - ROUNDING


@pytest.mark.parametrize(
    ("jobs", "others", "left", "others_left"),
    [
        ([Job(0, 5, 100.0)], [Job(0, 3, 50.0)], [Job(0, 4, 96.0)], []),
        ([Job(0, 6)], [Job(0, 3)], [Job(0, 4)], [Job(0, 1)]),
        # A quarter of the time for the one without a deadline.
        ([Job(0, 12, 50.0, True)], [Job(2, 3)], [Job(0, 9, 46.0, True)], [Job(1, 3)]),
        # Whose time is over is gone, at each model.
        ([Job(0, 12, 4.0)], [Job(0, 3, 1.0), Job(0, 3)], [], [Job(0, 3)]),
    ],
)
def test_what_is_left_after_four_seconds_is_as_reckoned_by_hand(
    jobs: list[Job], others: list[Job], left: list[Job], others_left: list[Job]
) -> None:
    after = Simulation(jobs, PLAIN, 1, [Queue(others, PLAIN, 1)]).left_after(4.0)
    assert list(after.jobs) == left
    assert [list(queue.jobs) for queue in after.beside] == [others_left]


@given(queues(), st.floats(0, 100))
def test_what_is_left_later_is_answered_when_it_would_have_been(pair: tuple[Queue, Queue], seconds: float) -> None:
    # A job whose deadline is over is gone: then the others have its time.
    pair = (replace(pair[0], jobs=patient(pair[0].jobs)), replace(pair[1], jobs=patient(pair[1].jobs)))
    simulation = Simulation.of(pair[0], pair[1:])
    left = simulation.left_after(seconds)
    # Whatever was begun counts as a whole token then: up to a step with a slice more for each that is worked on.
    most = ROUNDING + sum(
        queue.parallel
        * (queue.costs.step_seconds(queue.parallel) + queue.costs.slice_tokens * queue.costs.slice_seconds_per_token)
        for queue in pair
    )
    for before, after in zip(simulation.ends, left.ends, strict=True):
        later = [end - seconds for end in before if end > seconds]
        assert after == pytest.approx(later, abs=most)


def patient(jobs: Sequence[Job]) -> list[Job]:
    return [replace(job, deadline=None if job.deadline is None else job.deadline + 10**6) for job in jobs]


@given(queues(), DEMANDS)
def test_a_newcomer_is_in_time_and_makes_nobody_late_at_any_model(pair: tuple[Queue, Queue], demand: Demand) -> None:
    own, other = pair
    simulation = Simulation.of(own, [other])
    planned = simulation.plan(demand)
    if isinstance(planned, Refusal):
        reject()
    job = Job(planned.article + demand.frame, planned.output, demand.deadline, demand.streams, planned.width)
    after = Simulation([*own.jobs, job], own.costs, own.parallel, [other])
    assert demand.deadline is not None
    assert after.ends[0][-1] <= latest_end(demand.deadline)
    for queue, before, then in zip(pair, simulation.ends, after.ends, strict=True):
        for present, without, together in zip(queue.jobs, before, then, strict=False):
            if present.deadline is not None:
                assert together <= max(present.deadline, without) + TOLERANCE_SECONDS


@given(queues(), DEMANDS)
def test_no_plan_could_be_a_tenth_larger(pair: tuple[Queue, Queue], demand: Demand) -> None:
    simulation = Simulation.of(pair[0], pair[1:])
    planned = simulation.plan(demand)
    if isinstance(planned, Refusal):
        reject()
    article, output = min(demand.article, ceil(1.1 * planned.article)), min(demand.output, ceil(1.1 * planned.output))
    larger = replace(demand, article=article, output=output)
    assert larger == demand or not simulation.fits_at(len(simulation.jobs), larger, planned.width)


def test_behind_others_that_are_nearly_done_all_of_the_time_is_used() -> None:
    # Each of the three writes its last token beside the newcomer, who is alone then.
    demand = Demand(100, 150, 30, 45.0)
    alone, behind = outcome(demand), outcome(demand, [Job(0, 1)] * 3)
    assert alone.article == behind.article == 100
    assert alone.output - 5 <= behind.output <= alone.output


@given(queues(), DEMANDS, st.builds(Plan, st.integers(0, 2500), st.integers(0, 400)))
def test_no_plan_is_below_the_least_that_is_asked_for(pair: tuple[Queue, Queue], demand: Demand, least: Plan) -> None:
    simulation = Simulation.of(pair[0], pair[1:])
    planned = simulation.plan(demand, least)
    article, output = min(demand.article, least.article), min(demand.output, least.output)
    part, last = replace(demand, article=article, output=output), len(simulation.jobs)
    fits = any(simulation.fits_at(last, part, width) for width in simulation.widths())
    assert isinstance(planned, Plan) == fits or planned == Plan(demand.article, demand.output)
    if isinstance(planned, Plan):
        assert article <= planned.article <= demand.article
        assert output <= planned.output <= demand.output


@given(queues(), DEMANDS)
def test_at_the_time_of_its_retry_after_a_refused_one_fits(pair: tuple[Queue, Queue], demand: Demand) -> None:
    simulation = Simulation.of(pair[0], pair[1:])
    refused = simulation.plan(demand)
    if isinstance(refused, Plan) or refused.retry_after_seconds is None:
        reject()
    assert isinstance(simulation.left_after(refused.retry_after_seconds).plan(demand), Plan)


def test_the_retry_after_may_be_the_end_of_a_request_of_another_model() -> None:
    # The other model writes until 40 s, then the own one until 240 s, more beside the newcomer.
    other = Queue([Job(0, 40, 45.0)], PLAIN, 1)
    simulation = Simulation([Job(0, 200, 400.0)], PLAIN, 2, [other])
    demand = Demand(10, 10, 0, 50.0)
    refused = simulation.plan(demand)
    assert isinstance(refused, Refusal)
    assert refused.retry_after_seconds == pytest.approx(40)


def test_a_refusal_looks_at_a_bounded_number_of_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = list[float]()
    left_after = Simulation.left_after

    def counted(simulation: Simulation, seconds: float) -> Simulation:
        tried.append(seconds)
        return left_after(simulation, seconds)

    monkeypatch.setattr(Simulation, "left_after", counted)
    crowd = Queue([Job(0, 20 + number, 10**4) for number in range(64)], SMALL, 1)
    simulation = Simulation([Job(0, 20 + number, 10**4) for number in range(64)], LARGE, 1, [crowd])
    refused = simulation.plan(Demand(100, 40, 30, 60.0))
    assert isinstance(refused, Refusal)
    assert refused.retry_after_seconds is not None
    assert 1 < len(tried) <= TRIED_ENDS + 2 * 64 / TRIED_ENDS
    # It is the first end at which there is room, all the same.
    ends = sorted(end for of_queue in simulation.ends for end in of_queue)
    earlier = ends[ends.index(refused.retry_after_seconds) - 1]
    assert isinstance(simulation.left_after(earlier).plan(Demand(100, 40, 30, 60.0)), Refusal)


def test_costs_that_were_not_measured_yet_are_no_reason_to_fail() -> None:
    unmeasured = Costs(0.0, 0.0, (0.3,), 15)
    assert outcome(Demand(900, 150, 30, 28.0), costs=unmeasured, parallel=1) == Plan(900, 86)


def test_the_worked_example_in_the_docstring_is_right() -> None:
    ran = doctest.testmod(planning)
    assert (ran.failed, ran.attempted) == (0, 6)
