import doctest
from dataclasses import replace

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from functions.summarize import handover
from functions.summarize.handover import HandOver, Movable, hand_over
from functions.summarize.planning import (
    MIN_ARTICLE_TOKENS,
    MIN_OUTPUT_TOKENS,
    TOLERANCE_SECONDS,
    Costs,
    Demand,
    Job,
    Plan,
    Queue,
    Refusal,
    Simulation,
    latest_end,
)

# An 8B and a 1B on two cores, as measured.
LARGE = Costs(0.092, 0.1, (0.27, 0.45, 0.6, 0.75), 15)
SMALL = Costs(0.012, 0.014, (0.045, 0.07, 0.09, 0.11), 64)
# Of an article of 200 tokens and a summary of 60: 34.6 s at the 8B, 5.1 s at the 1B.
WHOLE = Demand(200, 60, 0, 100.0)
JOB = Job(200, 60)
ALONE_LARGE, ALONE_SMALL = 34.6, 5.1
# What float arithmetic may add.
ROUNDING = 1e-6


def full(*spare: float) -> Queue:
    """The main model's, one at a time: each request is answered with so many seconds to spare."""
    jobs = [replace(JOB, deadline=ALONE_LARGE * (index + 1) + seconds) for index, seconds in enumerate(spare)]
    return Queue(jobs, LARGE, 1)


def movables(main: Queue, *places: int, read_share: float = 1.0) -> list[Movable]:
    return [Movable(place, replace(WHOLE, deadline=main.jobs[place].deadline), read_share) for place in places]


IDLE = Queue([], SMALL, 1)


def test_one_that_waits_goes_over_where_that_makes_room() -> None:
    main, newcomer = full(1, 1), replace(WHOLE, deadline=50.0)
    assert isinstance(Simulation.of(IDLE, [main]).plan(newcomer), Refusal)
    (movable,) = movables(main, 1)
    # Both are answered after the first of the main model, one after the other.
    assert latest_end(50) > ALONE_LARGE + 2 * ALONE_SMALL
    assert hand_over(main, IDLE, [movable], newcomer) == HandOver(((movable, Plan(200, 60, 0)),), Plan(200, 60, 1))


def test_no_more_go_over_than_have_to_and_the_last_goes_first() -> None:
    main, newcomer = full(1, 1, 1, 1), replace(WHOLE, deadline=65.0)
    first, *others = movables(main, 1, 2, 3)
    made = hand_over(main, IDLE, [*reversed(others), first], newcomer)
    assert made is not None
    # Without the second the third would be late, and so on; they are served in the order that they had.
    assert [movable.place for movable, _ in made.moves] == [1, 2, 3]
    patient = full(1, 100, 100, 1)
    made = hand_over(patient, IDLE, movables(patient, 1, 2, 3), newcomer)
    assert made is not None
    assert [movable.place for movable, _ in made.moves] == [3]


def test_who_may_not_go_stays() -> None:
    main, newcomer = full(1, 1), replace(WHOLE, deadline=50.0)
    assert hand_over(main, IDLE, [], newcomer) is None
    # The first is the main model's: as long as it is there the stand-in has no time for anybody.
    assert hand_over(main, IDLE, movables(main, 1), replace(newcomer, deadline=30.0)) is None


@pytest.mark.parametrize(("read_share", "output", "goes"), [(0.3, 60, True), (0.9, 60, False), (0.3, 61, True)])
def test_who_goes_over_reads_no_less_and_writes_no_less_than_before(read_share: float, output: int, goes: bool) -> None:
    # The second was to read this part of 1000 tokens, which takes 12 s at the stand-in, and is to write `output`.
    main = full(1, 1)
    main = replace(main, jobs=[main.jobs[0], replace(main.jobs[1], output=output)])
    movable = Movable(1, Demand(1000, output, 0, 50.0), read_share)
    made = hand_over(main, IDLE, [movable], Demand(64, 32, 0, 50.0))
    assert (made is not None) == goes
    if made is not None:
        ((_, plan),) = made.moves
        assert plan.article >= read_share * 1000
        assert plan.output == output


def test_all_that_come_get_more_than_the_least_where_there_is_time() -> None:
    main = full(1, 1)
    newcomer = Demand(1000, 150, 0, 60.0)
    movable = Movable(1, Demand(1000, 150, 0, 60.0), 0.1)
    made = hand_over(main, IDLE, [movable], newcomer)
    assert made is not None
    ((_, plan),) = made.moves
    for one in (plan, made.plan):
        assert 2 * MIN_ARTICLE_TOKENS < one.article < 1000
        assert one.output > MIN_OUTPUT_TOKENS
    jobs = [Job(one.article, one.output, 60.0) for one in (plan, made.plan)]
    *_, last = Simulation(jobs, SMALL, 1, [replace(main, jobs=main.jobs[:1])]).ends[0]
    # No second is left unused.
    assert latest_end(60) - 1 < last <= latest_end(60)


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Queue, Queue, list[Movable], Demand]:
    """A main model whose requests hardly have time, and a stand-in with some."""
    parallel = draw(st.integers(1, 4))
    sizes = st.tuples(st.integers(64, 400), st.integers(32, 120))
    main = list[Job]()
    for article, output in draw(st.lists(sizes, min_size=1, max_size=6)):
        answered = Simulation([*main, Job(article, output)], LARGE, parallel).finish_seconds()[-1]
        main.append(Job(article, output, answered * draw(st.floats(0.95, 1.2)) + 1))
    others = [Job(article, output, draw(st.floats(5, 200))) for article, output in draw(st.lists(sizes, max_size=4))]
    first = draw(st.integers(0, len(main)))
    waiting = [
        Movable(place, Demand(2 * job.prefill, 2 * job.output, 10, job.deadline), draw(st.floats(0.1, 0.6)))
        for place, job in enumerate(main[first:], first)
    ]
    newcomer = Demand(draw(st.integers(64, 900)), draw(st.integers(32, 150)), 10, draw(st.floats(10, 100)))
    return Queue(main, LARGE, parallel), Queue(others, SMALL, parallel), waiting, newcomer


@given(crowds())
def test_nobody_is_late_for_it_and_nobody_goes_without_need(
    crowd: tuple[Queue, Queue, list[Movable], Demand],
) -> None:
    main, stand_in, waiting, newcomer = crowd
    before = Simulation.of(stand_in, [main])
    if isinstance(before.plan(newcomer), Plan) or (made := hand_over(main, stand_in, waiting, newcomer)) is None:
        reject()
    going = [movable.place for movable, _ in made.moves]
    assert going == [movable.place for movable in waiting][-len(going) :]
    demands = [*(movable.demand for movable, _ in made.moves), newcomer]
    plans = [*(plan for _, plan in made.moves), made.plan]
    jobs = [
        Job(plan.article + demand.frame, plan.output, demand.deadline)
        for plan, demand in zip(plans, demands, strict=True)
    ]
    staying = [place for place in range(len(main.jobs)) if place not in going]
    after = Simulation(
        [*stand_in.jobs, *jobs],
        SMALL,
        stand_in.parallel,
        [replace(main, jobs=[main.jobs[place] for place in staying])],
    )
    there = len(stand_in.jobs)
    for demand, end in zip(demands, after.ends[0][there:], strict=True):
        assert demand.deadline is not None
        assert end <= latest_end(demand.deadline) + ROUNDING
    present = [
        *zip(stand_in.jobs, before.ends[0], after.ends[0], strict=False),
        *((main.jobs[place], before.ends[1][place], end) for place, end in zip(staying, after.ends[1], strict=True)),
    ]
    for job, without, together in present:
        assert job.deadline is not None
        assert together <= max(job.deadline, without) + TOLERANCE_SECONDS + ROUNDING
    for index, (movable, plan) in enumerate(made.moves):
        assert plan.place == there + index
        assert plan.article >= movable.read_share * movable.demand.article - ROUNDING
        assert plan.output >= main.jobs[movable.place].output
    fewer = waiting[len(waiting) - len(going) + 1 :]
    assert hand_over(main, stand_in, fewer, newcomer) is None


def test_the_example_in_the_docstring_is_right() -> None:
    ran = doctest.testmod(handover)
    assert (ran.failed, ran.attempted) == (0, 8)
