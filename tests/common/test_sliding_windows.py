"""Sliding windows: as the library counts, with the exact time to come back, in bounded memory."""

import threading
import tracemalloc

import limits.storage.memory
import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from common.windows import Windows

MINUTE = 60


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


# What was charged, and after how many seconds the next comes: often within a window, at times beyond several.
history = st.lists(st.tuples(st.integers(1, 30), st.floats(0, 90)), max_size=25)


@given(history, st.integers(1, 60))
def test_it_counts_as_the_library_does(charges: list[tuple[int, float]], most: int) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits.storage.memory, "time", clock)
        patch.setattr(MemoryStorage, "_MemoryStorage__schedule_expiry", lambda _: None)
        theirs_storage = MemoryStorage()
        theirs_storage.timer.join()
        theirs = SlidingWindowCounterRateLimiter(theirs_storage)
        ours = SlidingWindowCounterRateLimiter(Windows(clock=clock.time))
        item = RateLimitItemPerMinute(most)
        for amount, pause in charges:
            assert ours.hit(item, "caller", cost=amount) == theirs.hit(item, "caller", cost=amount)
            assert ours.test(item, "caller") == theirs.test(item, "caller")
            assert ours.get_window_stats(item, "caller").remaining == theirs.get_window_stats(item, "caller").remaining
            clock.now += pause


@given(history, st.integers(1, 60), st.data())
def test_who_comes_back_alone_at_the_time_that_was_told_is_let_in_and_not_a_second_before(
    charges: list[tuple[int, float]], most: int, data: st.DataObject
) -> None:
    clock = Clock()
    windows = Windows(clock=clock.time)
    for amount, pause in charges:
        windows.acquire_sliding_window_entry("caller", most, MINUTE, amount)
        clock.now += pause
    wanted = data.draw(st.integers(1, most))
    seconds = windows.wait_seconds("caller", most, MINUTE, wanted)
    assert 0 <= seconds <= 2 * MINUTE
    began = clock.now
    if seconds:
        assert not windows.acquire_sliding_window_entry("caller", most, MINUTE, wanted)
        clock.now = began + seconds - 1 - 1e-5
        if clock.now > began:
            assert not windows.acquire_sliding_window_entry("caller", most, MINUTE, wanted)
    clock.now = began + seconds
    assert windows.acquire_sliding_window_entry("caller", most, MINUTE, wanted)


@given(history, st.integers(1, 60))
def test_within_any_minute_nobody_has_twice_what_it_may(charges: list[tuple[int, float]], most: int) -> None:
    clock = Clock()
    windows = Windows(clock=clock.time)
    had: list[tuple[float, int]] = []
    for amount, pause in charges:
        if windows.acquire_sliding_window_entry("caller", most, MINUTE, amount):
            had.append((clock.now, amount))
        clock.now += pause
    for end, _ in had:
        assert sum(amount for at, amount in had if end - MINUTE < at <= end) <= 2 * most


@given(st.integers(1, 20), st.floats(0, 200))
def test_what_is_given_back_was_not_had(amount: int, pause: float) -> None:
    clock = Clock()
    windows = Windows(clock=clock.time)
    number = windows.number(MINUTE)
    assert windows.acquire_sliding_window_entry("caller", 20, MINUTE, amount)
    clock.now += pause
    windows.give_back("caller", MINUTE, amount, number)
    assert windows.wait_seconds("caller", 20, MINUTE, 20) == 0


def test_a_hundred_thousand_callers_take_bounded_memory_and_no_thread() -> None:
    threads = threading.active_count()
    windows = Windows(most=4096)
    limiter, item = SlidingWindowCounterRateLimiter(windows), RateLimitItemPerMinute(10)
    tracemalloc.start()
    for number in range(100_000):
        assert limiter.hit(item, "work", f"2001:db8:{number:x}::/64")
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(windows) == 4096
    assert taken < 4096 * 500
    assert threading.active_count() <= threads
    # The one that came last is remembered.
    assert not limiter.test(item, "work", f"2001:db8:{99_999:x}::/64", cost=10)
    assert limiter.test(item, "work", "2001:db8:0::/64", cost=10)
