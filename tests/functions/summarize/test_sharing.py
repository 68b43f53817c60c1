import doctest
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.summarize import sharing
from functions.summarize.sharing import MOST_FOR_READERS, QUARTER, Course, Need, clocks, shares
from tests.strategies import examples

# What float arithmetic may add.
ROUNDING = 1e-9

EARLY, LATE, EVER = Need(10.0), Need(20.0), Need()
# A step takes a third of what a slice of others takes beside it; and three times that.
QUICK_READER, SLOW_READER = Need(20.0, True, 0.1, 0.2), Need(20.0, True, 0.6, 0.2)
PATIENT_READER = Need(inf, True, 0.6, 0.2)

needs = st.builds(
    Need,
    st.sampled_from([-1.0, 5.0, 10.0, inf]),
    st.booleans(),
    st.floats(0.001, 10),
    st.sampled_from([0.02, 0.25, 10]),
)


@pytest.mark.parametrize(
    ("given_needs", "expected"),
    [
        ([EVER], [1]),
        ([SLOW_READER], [1]),
        ([EARLY, LATE], [1, 0]),
        ([LATE, EARLY], [0, 1]),
        ([LATE, LATE], [1 / 2, 1 / 2]),
        ([EVER, EVER], [1 / 2, 1 / 2]),
        ([LATE, EVER], [3 / 4, 1 / 4]),
        ([EARLY, EVER, EVER], [3 / 4, 1 / 8, 1 / 8]),
        ([EARLY, LATE, EVER], [3 / 4, 0, 1 / 4]),
        # A deadline that is over is the earliest.
        ([EARLY, Need(-1.0)], [0, 1]),
        # Who reads along has a step for each slice; at a slow model three quarters of the time.
        ([EARLY, QUICK_READER], [2 / 3, 1 / 3]),
        ([EARLY, SLOW_READER], [1 / 4, 3 / 4]),
        ([EARLY, Need(20.0, True, 60.0, 0.2)], [1 / 4, 3 / 4]),
        ([PATIENT_READER, EVER], [3 / 4, 1 / 4]),
        # It has more than that where it has more anyway.
        ([QUICK_READER, Need(20.0)], [1 / 2, 1 / 2]),
        ([QUICK_READER, Need(30.0)], [1, 0]),
        # Two of them cannot both have three quarters.
        ([PATIENT_READER, PATIENT_READER], [1 / 2, 1 / 2]),
        ([PATIENT_READER, EVER, EVER], [3 / 4, 1 / 8, 1 / 8]),
    ],
)
def test_the_time_is_shared_as_reckoned_by_hand(given_needs: list[Need], expected: list[float]) -> None:
    assert shares(given_needs) == pytest.approx(expected)


@examples(10)
@given(st.lists(needs, min_size=1, max_size=5))
def test_all_of_the_time_is_shared_out_and_the_most_urgent_and_who_reads_along_have_some(present: list[Need]) -> None:
    parts = shares(present)
    assert sum(parts) == pytest.approx(1)
    assert all(0 <= part <= 1 + ROUNDING for part in parts)
    earliest = min(need.deadline for need in present)
    assert sum(part for need, part in zip(present, parts, strict=True) if need.deadline == earliest) >= (
        (1 - QUARTER) * (1 - MOST_FOR_READERS) - ROUNDING
    )
    assert all(part > 0 for need, part in zip(present, parts, strict=True) if need.reads_along)
    assert all(part > 0 for need, part in zip(present, parts, strict=True) if need.deadline == inf)


@examples(3)
@given(st.lists(needs, min_size=1, max_size=5).flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))))
def test_the_order_of_the_queues_says_nothing(both: tuple[list[Need], list[Need]]) -> None:
    one, other = ({id(need): part for need, part in zip(some, shares(some), strict=True)} for some in both)
    assert one == pytest.approx(other)


def test_a_reader_waits_for_a_slice_between_two_of_its_steps() -> None:
    _, part = shares([EARLY, QUICK_READER])
    step = QUICK_READER.step_seconds
    assert step / part - step == pytest.approx(QUICK_READER.slice_seconds)


@st.composite
def courses(draw: st.DrawFn) -> Course:
    lengths = draw(st.lists(st.floats(0.01, 100), max_size=6))
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    return Course([(start, draw(needs)) for start in starts], sum(lengths))


@examples(3)
@given(st.lists(courses(), min_size=1, max_size=4))
def test_the_thread_is_never_idle_and_nobody_has_more_of_it_than_there_is(some: list[Course]) -> None:
    made = clocks(some)
    whole = sum(course.end for course in some)
    assert max(clock.times[-1] for clock in made) == pytest.approx(whole)
    for time in (whole * part / 7 for part in range(8)):
        assert sum(clock.had(time) for clock in made) == pytest.approx(time)
    for course, clock in zip(some, made, strict=True):
        assert clock.own == sorted(clock.own)
        assert clock.own[-1] == course.end
        for own in (course.end * part / 5 for part in range(6)):
            assert clock.time(own) >= own * (1 - ROUNDING)
            assert clock.had(clock.time(own)) == pytest.approx(own)


def test_shares_change_with_the_needs() -> None:
    # The first has the thread for its 3 s, then the second for the 1 s that is more urgent than what is left of the
    # first. Beside that the last second of the second has a quarter, and takes 4 s. The first has 1 s left then.
    one, other = clocks([Course([(0.0, EARLY), (3.0, Need(40.0))], 7.0), Course([(0.0, Need(30.0)), (1.0, EVER)], 2.0)])
    assert [one.time(own) for own in (1, 3, 6, 7)] == pytest.approx([1, 3, 8, 9])
    assert [other.time(own) for own in (1, 2)] == pytest.approx([4, 8])
    assert other.had(6.0) == pytest.approx(1.5)


def test_the_examples_in_the_docstring_are_right() -> None:
    ran = doctest.testmod(sharing)
    assert (ran.failed, ran.attempted) == (0, 3)
