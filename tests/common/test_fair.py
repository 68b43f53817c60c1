"""Who is next, in costs that are easy to add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.callers import Flow
from common.fair import REMEMBERED_CALLERS, FairQueue


def queue(*items: tuple[str, str, int, float]) -> FairQueue[str]:
    """Items as (name, caller, request, cost), pushed in this order."""
    made: FairQueue[str] = FairQueue()
    for name, caller, request, cost in items:
        made.push(name, Flow(caller, request), cost)
    return made


def drained(of: FairQueue[str]) -> list[str]:
    served = []
    while (item := of.pop()) is not None:
        served.append(item)
    return served


def test_equal_requests_of_one_caller_are_served_in_order_of_arrival() -> None:
    assert drained(queue(*((name, "a", number, 1) for number, name in enumerate("pqrst")))) == list("pqrst")


def test_a_newcomer_with_little_work_goes_ahead_of_all_that_another_has_waiting() -> None:
    crowd = [(f"long {number}", "flooder", number, 10.0) for number in range(32)]
    assert drained(queue(*crowd, ("short", "honest", 1, 2.0)))[0] == "short"


def test_a_short_request_goes_ahead_of_long_ones_of_the_same_caller() -> None:
    crowd = [(f"long {number}", "everybody", number, 10.0) for number in range(32)]
    assert drained(queue(*crowd, ("short", "everybody", 99, 2.0)))[0] == "short"


def test_callers_share_alike_however_many_requests_each_brings() -> None:
    of = queue(*((f"a{n}", "a", n, 1.0) for n in range(20)), *((f"b{n}", "b", n, 1.0) for n in range(4)))
    assert sum(item.startswith("b") for item in drained(of)[:8]) == 4


def test_the_requests_of_a_caller_share_alike_however_many_items_each_has() -> None:
    of = queue(*((f"p{n}", "a", 1, 1.0) for n in range(20)), *((f"q{n}", "a", 2, 1.0) for n in range(4)))
    assert sum(item.startswith("q") for item in drained(of)[:9]) == 4


@pytest.mark.parametrize("same_caller", [True, False])
def test_a_long_request_is_not_starved_by_short_ones_that_keep_coming(same_caller: bool) -> None:
    of = queue(("long", "a", 0, 10.0))
    served = []
    for number in range(1, 200):
        of.push(f"short {number}", Flow("a" if same_caller else f"b{number}", number), 1.0)
        if number > 3:
            served.append(of.pop())
    # Four others wait at any time: its own cost, and as much for each of them.
    assert "long" in served[: 5 * 10]


def test_an_item_that_does_not_fit_is_overtaken_by_its_own_cost_and_no_more() -> None:
    of = queue(("large", "a", 1, 4.0), *((f"s{n}", "b", n, 1.0) for n in range(10)))
    served = []
    while (item := of.pop(lambda item: item != "large")) is not None:
        served.append(item)
    # Some go first by right; four more may pass while it does not fit.
    assert 4 <= len(served) < 10
    assert of.pop() == "large"


def test_what_is_removed_is_not_served_and_does_not_count_against_its_request() -> None:
    of = queue(("p1", "a", 1, 5.0), ("q", "a", 2, 6.0))
    assert of.remove("p1", Flow("a", 1))
    assert not of.remove("p1", Flow("a", 1))
    of.push("p2", Flow("a", 1), 5.0)
    assert drained(of) == ["p2", "q"]
    assert len(of) == 0


def test_what_stands_ahead_is_told_and_the_asking_changes_nothing() -> None:
    of = queue(("a1", "a", 1, 3.0), ("a2", "a", 2, 3.0), ("b1", "b", 3, 8.0))
    assert of.ahead(Flow("c", 4), 1.0) == 0.0
    assert of.ahead(Flow("c", 4), 7.0) == 6.0
    assert of.ahead(Flow("c", 4), 20.0) == 14.0
    assert of.order() == ["a1", "a2", "b1"]
    assert len(of) == 3


def test_more_than_was_said_is_charged_to_the_caller() -> None:
    of = queue(("a1", "a", 1, 1.0), ("a2", "a", 2, 1.0), ("b1", "b", 3, 2.5))
    assert of.pop() == "a1"
    of.charge(Flow("a", 1), 5.0)
    assert drained(of) == ["b1", "a2"]


def test_what_is_remembered_of_callers_and_requests_is_bounded() -> None:
    of: FairQueue[str] = FairQueue()
    for number in range(10 * REMEMBERED_CALLERS):
        of.push("item", Flow(f"caller {number}", number), 1.0)
        assert of.pop() == "item"
    assert len(of._callers) <= REMEMBERED_CALLERS + 1
    for number in range(5000):
        of.push("item", Flow("one", number), 1.0)
        assert of.pop() == "item"
    assert len(of._callers["one"].finished) < 1000


Three = tuple[float, float, float]


def got_by_busy_callers(sizes: Three, requests: list[int], rounds: int, weights: Three = (1, 1, 1)) -> list[float]:
    """What three callers get, divided by their weights, who have three items each waiting at any time; their numbers of
    requests come in turn."""
    of: FairQueue[str] = FairQueue()
    costs, got = dict(zip("abc", sizes, strict=True)), dict.fromkeys("abc", 0.0)
    weight = dict(zip("abc", weights, strict=True))
    for caller in costs:
        for number in range(3):
            of.push(f"{caller}{number}", Flow(caller, number, weight=weight[caller]), costs[caller])
    for number in range(3, 3 + rounds):
        item = of.pop()
        assert item is not None
        caller = item[0]
        got[caller] += costs[caller] / weight[caller]
        flow = Flow(caller, requests[number % len(requests)], weight=weight[caller])
        of.push(f"{caller}{number}", flow, costs[caller])
    return list(got.values())


@given(
    st.tuples(*[st.floats(0.1, 100)] * 3), st.lists(st.integers(0, 999), min_size=1, max_size=50), st.integers(1, 300)
)
def test_busy_callers_get_the_same_whatever_the_size_of_their_items(
    sizes: Three, requests: list[int], rounds: int
) -> None:
    got = got_by_busy_callers(sizes, requests, rounds)
    assert max(got) - min(got) <= 2 * max(sizes)


def test_what_busy_callers_get_does_not_drift_apart_over_a_long_time() -> None:
    got = got_by_busy_callers((1.0, 3.0, 10.0), [number * number for number in range(31)], 3000)
    assert max(got) - min(got) <= 2 * 10.0


weights = st.tuples(*[st.floats(0.01, 100)] * 3)


@given(st.tuples(*[st.floats(0.1, 100)] * 3), weights, st.integers(1, 300))
def test_busy_callers_get_shares_by_their_weights(sizes: Three, given_weights: Three, rounds: int) -> None:
    got = got_by_busy_callers(sizes, [1, 2, 3], rounds, given_weights)
    most = max(size / weight for size, weight in zip(sizes, given_weights, strict=True))
    assert max(got) - min(got) <= 2 * most * (1 + 1e-9)


def test_a_caller_of_three_times_the_weight_is_served_three_times_as_often() -> None:
    of: FairQueue[str] = FairQueue()
    for number in range(40):
        of.push(f"a{number}", Flow("a", number, weight=3.0), 1.0)
        of.push(f"b{number}", Flow("b", number), 1.0)
    assert sum(item.startswith("a") for item in drained(of)[:40]) == 30


@given(weights, st.floats(0.1, 100))
def test_nobody_starves_beside_others_of_any_weight(given_weights: Three, cost: float) -> None:
    """What goes ahead is bounded by the own cost times the others' weights for each of the own, and an item of each."""
    mine, one, other = given_weights
    of: FairQueue[str] = FairQueue()
    bound = cost * (one + other) / mine
    for number in range(2):
        of.push(f"one {number}", Flow("one", number, weight=one), bound / 8)
        of.push(f"other {number}", Flow("other", number, weight=other), bound / 8)
    of.push("mine", Flow("mine", 0, weight=mine), cost)
    ahead, number = 0.0, 2
    while (item := of.pop()) != "mine":
        assert item is not None
        ahead, number = ahead + bound / 8, number + 1
        caller = item.partition(" ")[0]
        of.push(f"{caller} {number}", Flow(caller, number, weight=one if caller == "one" else other), bound / 8)
        assert ahead <= bound + 3 * bound / 8


def test_the_worked_example_with_a_weight_is_true() -> None:
    of = queue(*((f"a{n}", "a", n, 10.0) for n in range(3)))
    of.push("b", Flow("b", 0, weight=0.1), 2.0)
    assert drained(of) == ["a0", "a1", "b", "a2"]


def test_more_than_was_said_is_charged_by_the_weight() -> None:
    def served_after_a_charge(weight: float) -> list[str]:
        of: FairQueue[str] = FairQueue()
        for number in range(2):
            of.push(f"a{number}", Flow("a", number, weight=weight), 1.0)
        of.push("b", Flow("b", 2), 3.5)
        assert of.pop() == "a0"
        of.charge(Flow("a", 0, weight=weight), 5.0)
        return drained(of)

    assert served_after_a_charge(1.0) == ["b", "a1"]
    assert served_after_a_charge(10.0) == ["a1", "b"]
