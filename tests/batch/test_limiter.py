"""How many calls are at work: against services that get more done with more of them, up to a point."""

import heapq
import random
from collections.abc import Callable

import pytest

from batch.limiter import FIRST, Limiter


class Simulated:
    """A service whose calls take `seconds(at_work)`, asked by somebody who always has something to ask."""

    def __init__(self, seconds: Callable[[int], float], most: int = 64, seed: int = 8) -> None:
        self.now = 0.0
        self.limiter = Limiter(most, lambda: self.now)
        self.limits: list[int] = []
        self.refused = self.calls = 0
        self._seconds = seconds
        self._random = random.Random(seed)
        self._ends: list[tuple[float, float]] = []

    def run(self, calls: int, places: int = 1000) -> None:
        for _ in range(calls):
            while self.limiter.at_work < self.limiter.limit:
                began = self.limiter.begin()
                self.calls += 1
                if self.limiter.at_work > places:
                    self.refused += 1
                    self.limiter.refused(began)
                    continue
                took = self._seconds(self.limiter.at_work) * self._random.uniform(0.8, 1.2)
                heapq.heappush(self._ends, (self.now + took, began))
            self.now, _ = heapq.heappop(self._ends)
            self.limiter.answered(1.0)
            self.limits.append(self.limiter.limit)


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_it_grows_as_far_as_the_service_gets_more_done_and_little_further(workers: int) -> None:
    service = Simulated(lambda at_work: max(1.0, at_work / workers))
    service.run(1500)
    later = service.limits[500:]
    assert sum(later) / len(later) >= 0.9 * workers
    assert sum(later) / len(later) <= 2.5 * workers + 1


def test_it_grows_to_its_bound_where_everything_is_answered_at_once() -> None:
    service = Simulated(lambda _: 0.5, most=24)
    service.run(600)
    assert service.limits[-1] == 24
    assert max(service.limits) == 24


def test_a_service_that_gets_slower_with_more_gets_no_more() -> None:
    service = Simulated(lambda at_work: at_work**1.5)
    service.run(400)
    assert max(service.limits[200:]) <= 2 * FIRST


def test_a_refusal_cuts_it_and_it_comes_back_slowly() -> None:
    service = Simulated(lambda at_work: max(1.0, at_work / 50))
    service.run(2000, places=10)
    assert service.limits[-1] <= 11
    later = service.limits[500:]
    assert sum(later) / len(later) >= 5
    assert service.refused <= 0.1 * service.calls


def test_calls_that_were_refused_together_are_one_refusal() -> None:
    limiter = Limiter(64)
    limiter.limit = 20
    began = [limiter.begin() for _ in range(20)]
    for one in began:
        limiter.refused(one)
    assert limiter.limit == 14
    assert limiter.at_work == 0


def test_it_follows_a_service_that_gets_more_room() -> None:
    workers = [2]
    service = Simulated(lambda at_work: max(1.0, at_work / workers[0]))
    service.run(600)
    before = service.limits[-1]
    workers[0] = 16
    service.run(4000)
    assert before <= 6
    assert sum(service.limits[-500:]) / 500 >= 10
