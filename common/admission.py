"""The queue of a function: some requests are let in, some wait, some are refused at once with a time to come back."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from math import inf
from types import MappingProxyType

from common.callers import Flow, flow
from common.errors import QueueFull
from common.fair import FairQueue

# Weight of the newest sample in the moving average of how long a slot is held.
SMOOTHING = 0.2
# Places of the queue, in multiples of what one caller may have.
CALLERS_SHARE = 2
# A request is refused at once if its predicted wait is this many times its patience. The prediction is an average, so
# it is not taken at its word.
DOUBT = 1.5


@dataclass(frozen=True)
class Limits:
    """`concurrency` requests are served at a time. `max_waiting` more of one caller may wait, if nobody else does.

    Nobody may have more places in the queue than are left free: so there is always one for somebody who has none.
    """

    concurrency: int
    max_waiting: int


@dataclass(frozen=True)
class QueueStatus:
    """Requests of one function that are being served, and those that wait for their turn."""

    at_work: int
    waiting: int


_registry: dict[str, Callable[[], QueueStatus]] = {}


def register_queue(function: str, status: Callable[[], QueueStatus]) -> None:
    """From now on health reports the queue of `function`; `status` is asked each time."""
    _registry[function] = status


def queues() -> Mapping[str, Callable[[], QueueStatus]]:
    """By the name of each function: what returns the status of its queue."""
    return MappingProxyType(_registry)


class Places:
    """How many requests a function takes in at the same time. Something else decides which is served next.

    `Limits` as for `Admission`: nobody may have more places beyond those at work than are left free, and the last one
    is for somebody who has none.
    """

    def __init__(self, name: str, limits: Callable[[], Limits]) -> None:
        """`limits` is called on use."""
        self._name = name
        self._limits = limits
        self._held: Counter[str] = Counter()
        self._held_seconds = 1.0

    @contextmanager
    def hold(self, known: int = 0, retry_after: Callable[[], float] | None = None) -> Iterator[None]:
        """A place for the request at hand. Raises QueueFull, to come back after `retry_after()` seconds.

        `known`: so many requests are there by another count, in which one may have become many. These are held against
        those who are there, and not against somebody who has no place yet.
        """
        caller, limits = flow().caller, self._limits()
        own, everyone = self._held[caller], self._held.total()
        if own:
            everyone = max(known, everyone)
        free = limits.concurrency + CALLERS_SHARE * limits.max_waiting - everyone
        if free <= (min(1, limits.max_waiting) if own else 0) or own >= free + limits.concurrency:
            detail = f"{self._name}: {everyone} requests are there already, {own} of them of this caller"
            raise QueueFull(detail, (retry_after or self.retry_after)())
        self._held[caller] += 1
        begun = time.monotonic()
        try:
            yield
        finally:
            self._held_seconds += SMOOTHING * (time.monotonic() - begun - self._held_seconds)
            self._held[caller] -= 1
            if not self._held[caller]:
                del self._held[caller]

    def status(self) -> QueueStatus:
        """All that have a place; as many as may be are at work."""
        held = self._held.total()
        at_work = min(held, self._limits().concurrency)
        return QueueStatus(at_work, held - at_work)

    def retry_after(self) -> float:
        """Seconds until a place is given back, from how long they were held lately."""
        return self._held_seconds / max(1, self._held.total())


@dataclass(frozen=True, eq=False)
class _Turn:
    flow: Flow
    given: "asyncio.Future[None]"


class Admission:
    """The queue of one function, in fair order. Belongs to one event loop.

    With `shared_slots` nobody may have more slots than are left free, so that there is always one for somebody who has
    none: for slots that are held for long, and of which one caller alone has enough with half of them.
    """

    def __init__(self, name: str, limits: Callable[[], Limits], *, shared_slots: bool = False) -> None:
        """`limits` is called on use, so that importing a handler reads no settings."""
        self.name = name
        self._limits = limits
        self._shared_slots = shared_slots
        self._active = 0
        self._held: Counter[str] = Counter()
        self._waiting: FairQueue[_Turn] = FairQueue()
        # How long a slot is held for each unit of cost; unknown until the first one is given back.
        self._seconds_per_cost: float | None = None

    @asynccontextmanager
    async def slot(self, cost: float = 1.0, until: float = inf) -> AsyncIterator[float]:
        """Hold one slot for work of this cost; yields the milliseconds that were spent waiting for it.

        Raises QueueFull when there is no place, when the wait would be far over `until` (`time.monotonic`), and at
        `until`.
        """
        queued_at = time.monotonic()
        await self._enter(cost, until)
        entered_at = time.monotonic()
        try:
            yield (entered_at - queued_at) * 1000
        finally:
            sample = (time.monotonic() - entered_at) / cost
            known = sample if self._seconds_per_cost is None else self._seconds_per_cost
            self._seconds_per_cost = known + SMOOTHING * (sample - known)
            self._leave(flow().caller)

    def wait_seconds(self, cost: float) -> float:
        """How long a request of this cost that came now would wait for its slot, from measured rates."""
        limits = self._limits()
        if self._is_free(limits):
            return 0.0
        seconds_per_cost = 1.0 if self._seconds_per_cost is None else self._seconds_per_cost
        # One of those at work has to end, and those that are ahead to begin.
        return (self._waiting.ahead(flow(), cost) + cost) * seconds_per_cost / limits.concurrency

    async def _enter(self, cost: float, until: float) -> None:
        limits = self._limits()
        if self._is_free(limits):
            self._take(flow().caller)
            return
        self._check(limits, cost, until)
        turn = _Turn(flow(), asyncio.get_running_loop().create_future())
        self._waiting.push(turn, turn.flow, cost)
        try:
            async with asyncio.timeout(None if until == inf else max(0.0, until - time.monotonic())):
                await turn.given
        except TimeoutError:
            self._withdraw(turn)
            detail = f"{self.name}: no place became free within the time that the request may wait"
            raise QueueFull(detail, self.wait_seconds(cost)) from None
        except asyncio.CancelledError:
            self._withdraw(turn)
            raise

    def _check(self, limits: Limits, cost: float, until: float) -> None:
        own, everyone = self._waiting.waiting_of(flow().caller), len(self._waiting)
        if own >= CALLERS_SHARE * limits.max_waiting - everyone:
            detail = f"{self.name}: {self._active + everyone} requests are there already, {own} of this caller wait"
            raise QueueFull(detail, self.wait_seconds(cost))
        seconds = self.wait_seconds(cost)
        if self._seconds_per_cost is not None and seconds > DOUBT * (until - time.monotonic()):
            raise QueueFull(f"{self.name}: the wait would be longer than the request may wait", seconds)

    def _withdraw(self, turn: _Turn) -> None:
        # The slot may have been handed over in the same step in which the wait ended.
        if not self._waiting.remove(turn, turn.flow) and turn.given.done() and not turn.given.cancelled():
            self._leave(turn.flow.caller)

    def _is_free(self, limits: Limits) -> bool:
        # With shared slots a request may wait while a slot is free: its caller has enough. It must not hold up others.
        nobody_waits = not len(self._waiting) or self._shared_slots
        return self._active < limits.concurrency and nobody_waits and self._may_have(flow().caller, limits)

    def _may_have(self, caller: str, limits: Limits) -> bool:
        # A caller without a slot may take the last one.
        free = limits.concurrency - self._active
        return not self._shared_slots or self._held[caller] < max(1, free)

    def _take(self, caller: str) -> None:
        self._active += 1
        self._held[caller] += 1

    def _leave(self, caller: str) -> None:
        """Give a slot back, and give all free slots to the next in line."""
        self._active -= 1
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        limits = self._limits()
        while self._active < limits.concurrency and (turn := self._next(limits)) is not None:
            if not turn.given.done():
                self._take(turn.flow.caller)
                turn.given.set_result(None)

    def _next(self, limits: Limits) -> _Turn | None:
        if not self._shared_slots:
            return self._waiting.pop()
        turn = next((turn for turn in self._waiting.order() if self._may_have(turn.flow.caller, limits)), None)
        if turn is not None:
            self._waiting.take(turn, turn.flow)
        return turn
