"""A fair queue: it decides whose work is served next when there is more work than time.

Weighted fair queueing (Demers, Keshav, Shenker 1989) in two levels. Callers share what is served among them by their
weights, and the requests of one caller share alike what that caller gets. Each level has a virtual clock: it runs as
fast as one of weight 1 that waits is served. To a caller of another weight an item costs its cost divided by the
weight. An item's tag is the time on that clock at which it would be finished if all who wait were served side by side;
the item with the least tag is next. So a newcomer with little work goes ahead of those who want much or have had much,
and since the clock runs on, nobody waits for ever: the others' work that goes ahead of an item is bounded by its own
cost times the weights of those who wait, divided by its caller's own.

Worked example: A has three items that cost 10 each, then B comes with one that costs 2. The tags of A are 10, 20, 30,
that of B is 2: B is served before all that A has waiting. Were its weight 0.1, its tag would be 20, the same as that of
A's second item, which came first: B would be served after two of A's.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import takewhile
from typing import Generic, TypeVar

from common.callers import Flow

T = TypeVar("T")

# Idle callers whose share is remembered. A forgotten one starts as a newcomer.
REMEMBERED_CALLERS = 1024
REMEMBERED_REQUESTS = 256
# The cost of items that may overtake one that does not fit now, in multiples of its own cost.
MOST_OVERTAKEN = 1.0


@dataclass(eq=False)
class _Entry(Generic[T]):
    item: T
    flow: Flow
    cost: float
    tag: float
    number: int
    # The cost of the items that were served while this one did not fit.
    overtaken: float = 0.0

    @property
    def rank(self) -> tuple[float, int]:
        return self.tag, self.number


@dataclass(eq=False)
class _Caller(Generic[T]):
    """`served`: on the callers' clock, when all that this one was given is finished; `clock`: that of its requests."""

    weight: float = 1.0
    served: float = 0.0
    clock: float = 0.0
    finished: OrderedDict[int, float] = field(default_factory=OrderedDict)
    waiting: dict[T, _Entry[T]] = field(default_factory=dict)

    def requests(self) -> int:
        return len({entry.flow.request for entry in self.waiting.values()})


class FairQueue(Generic[T]):
    """Items (hashable, each at most once) with their costs, in any unit that is the same for all. Not thread-safe."""

    def __init__(self) -> None:
        self._clock = 0.0
        self._callers: OrderedDict[str, _Caller[T]] = OrderedDict()
        self._number = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def waiting_of(self, caller: str) -> int:
        """How many items of `caller` wait."""
        known = self._callers.get(caller)
        return len(known.waiting) if known else 0

    def push(self, item: T, flow: Flow, cost: float) -> None:
        caller = self._callers.get(flow.caller)
        if caller is None:
            caller = self._callers[flow.caller] = _Caller()
            self._forget_idle()
        caller.weight = flow.weight
        if not caller.waiting:
            caller.served = max(caller.served, self._clock)
        self._number += 1
        tag = max(caller.clock, caller.finished.get(flow.request, 0.0)) + cost
        caller.finished[flow.request] = tag
        caller.finished.move_to_end(flow.request)
        while len(caller.finished) > REMEMBERED_REQUESTS + len(caller.waiting):
            caller.finished.popitem(last=False)
        caller.waiting[item] = _Entry(item, flow, cost, tag, self._number)
        self._length += 1

    def remove(self, item: T, flow: Flow) -> bool:
        """Take an item out that is no longer wanted; False if it does not wait."""
        caller = self._callers.get(flow.caller)
        entry = caller.waiting.pop(item, None) if caller else None
        if caller is None or entry is None:
            return False
        self._length -= 1
        # The request is not charged for work that was not done.
        if caller.finished.get(flow.request) == entry.tag:
            caller.finished[flow.request] -= entry.cost
        return True

    def pop(self, fits: Callable[[T], bool] = lambda _: True) -> T | None:
        """The item that is next, of those that fit; None if there is none.

        An item that does not fit is passed over, until what overtook it has cost as much as the item itself: then
        nothing is served before it.
        """
        passed: list[_Entry[T]] = []
        for entry in self._ordered():
            if fits(entry.item):
                for other in passed:
                    other.overtaken += entry.cost
                self._serve(entry)
                return entry.item
            if entry.overtaken >= MOST_OVERTAKEN * entry.cost:
                return None
            passed.append(entry)
        return None

    def take(self, item: T, flow: Flow) -> None:
        """Serve an item that waits although it may not be next: because it costs less together with the one that is."""
        self._serve(self._callers[flow.caller].waiting[item])

    def order(self) -> list[T]:
        """All items, in the order in which they would be served if nobody came."""
        return [entry.item for entry in self._ordered()]

    def ahead(self, flow: Flow, cost: float) -> float:
        """The cost of the items that would be served before an item of `flow` that came now."""
        return sum(entry.cost for entry in self._before(flow, cost))

    def before(self, flow: Flow, cost: float) -> list[T]:
        """The items that would be served before an item of `flow` that came now."""
        return [entry.item for entry in self._before(flow, cost)]

    def _before(self, flow: Flow, cost: float) -> list[_Entry[T]]:
        marker: T = object()  # type: ignore[assignment]
        before = self._callers[flow.caller].finished.get(flow.request) if flow.caller in self._callers else None
        self.push(marker, flow, cost)
        found = list(takewhile(lambda entry: entry.item is not marker, self._ordered()))
        self.remove(marker, flow)
        if before is None:
            self._callers[flow.caller].finished.pop(flow.request, None)
        return found

    def charge(self, flow: Flow, cost: float) -> None:
        """Something of `flow` has cost this much more (or less) than was said when it was pushed."""
        if (caller := self._callers.get(flow.caller)) is not None:
            self._clock = max(0.0, self._clock + cost / (self._active() or caller.weight))
            caller.served = max(self._clock, caller.served + cost / caller.weight)
            if flow.request in caller.finished:
                caller.finished[flow.request] = max(caller.clock, caller.finished[flow.request] + cost)

    def _serve(self, entry: _Entry[T]) -> None:
        caller = self._callers[entry.flow.caller]
        self._clock += entry.cost / self._active()
        caller.clock += entry.cost / caller.requests()
        caller.served += entry.cost / caller.weight
        del caller.waiting[entry.item]
        self._length -= 1
        self._callers.move_to_end(entry.flow.caller)

    def _active(self) -> float:
        """The weights of all callers that wait."""
        return sum(caller.weight for caller in self._callers.values() if caller.waiting)

    def _ordered(self) -> Iterator[_Entry[T]]:
        """Every entry in the order of service: a heap of callers by the tag of what is next of each."""
        entries = {
            name: sorted(caller.waiting.values(), key=lambda entry: entry.rank, reverse=True)
            for name, caller in self._callers.items()
            if caller.waiting
        }
        heap = [self._next(name, self._callers[name].served, waiting) for name, waiting in entries.items()]
        heapify(heap)
        while heap:
            tag, _, name = heappop(heap)
            entry = entries[name].pop()
            yield entry
            if entries[name]:
                heappush(heap, self._next(name, tag, entries[name]))

    def _next(self, name: str, served: float, waiting: list[_Entry[T]]) -> tuple[float, int, str]:
        return served + waiting[-1].cost / self._callers[name].weight, waiting[-1].number, name

    def _forget_idle(self) -> None:
        idle = [name for name, caller in self._callers.items() if not caller.waiting]
        for name in idle[: max(0, len(idle) - REMEMBERED_CALLERS)]:
            del self._callers[name]
