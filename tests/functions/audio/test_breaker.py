import pytest

from common.errors import ClientDisconnected
from functions.audio.breaker import Breaker, Tolerance
from functions.audio.errors import UpstreamFailed, UpstreamSilent, UpstreamTimeout, UpstreamUnavailable


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("service under test", lambda: Tolerance(failures=3, pause_seconds=10.0), clock)


def fail(breaker: Breaker, error: Exception | None = None, *, refuse: bool = True) -> None:
    error = error or UpstreamFailed("away")
    with pytest.raises(type(error)), breaker.attempt(refuse=refuse):
        raise error


def open_it(breaker: Breaker) -> None:
    for _ in range(3):
        fail(breaker)
    assert breaker.status.state == "open"


def test_it_opens_after_failures_in_a_row_and_tells_when_to_come_back(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    fail(breaker, UpstreamTimeout("slow"))
    with breaker.attempt():
        pass
    fail(breaker)
    fail(breaker)
    assert breaker.status.state == "closed"
    fail(breaker)
    clock.now += 4
    assert (breaker.status.state, breaker.status.failures, breaker.status.retry_in_seconds) == ("open", 3, 6.0)
    with pytest.raises(UpstreamUnavailable) as refused, breaker.attempt():
        raise AssertionError("it was let through")
    assert refused.value.retry_after == 6


def test_a_half_open_one_lets_one_through(breaker: Breaker, clock: Clock) -> None:
    open_it(breaker)
    clock.now += 10
    assert breaker.status.state == "half-open"
    with breaker.attempt(), pytest.raises(UpstreamUnavailable), breaker.attempt():
        raise AssertionError("a second one was let through")
    assert breaker.status == type(breaker.status)("closed", 0, 0.0)


def test_a_failed_trial_doubles_the_pause_up_to_a_bound(breaker: Breaker, clock: Clock) -> None:
    open_it(breaker)
    pauses = []
    for _ in range(5):
        clock.now += breaker.status.retry_in_seconds
        fail(breaker)
        pauses.append(breaker.status.retry_in_seconds)
    assert pauses == [20, 40, 80, 80, 80]


def test_who_leaves_during_the_trial_makes_room_for_the_next(breaker: Breaker, clock: Clock) -> None:
    open_it(breaker)
    clock.now += 10
    for error in (ClientDisconnected("left"), UpstreamSilent("nothing to say")):
        fail(breaker, error)
        assert breaker.status.state == "half-open"
    with breaker.attempt():
        pass
    assert breaker.status.state == "closed"


def test_what_says_nothing_of_the_service_does_not_count(breaker: Breaker) -> None:
    for _ in range(10):
        fail(breaker, UpstreamSilent("only stars"))
        fail(breaker, ClientDisconnected("left"))
    assert breaker.status.failures == 0


def test_what_has_begun_goes_on_while_it_is_open(breaker: Breaker) -> None:
    open_it(breaker)
    until = breaker.status.retry_in_seconds
    fail(breaker, refuse=False)
    assert breaker.status.retry_in_seconds == until, "an old failure prolongs the pause"
    with breaker.attempt(refuse=False):
        pass
    assert breaker.status.state == "closed"
