"""How much one caller may have of a function within a minute, and how many requests of it may be at work.

A function tells its paths and its limits to `metered`; `common.http.quotas` counts its requests before their bodies are
read, and the function counts what they hold with `charge_characters`. With no limit set nothing is counted, and the
library is not even imported.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from common.callers import flow
from common.errors import FieldError, InvalidInput, TooManyRequests
from common.settings import get_settings

if TYPE_CHECKING:
    from limits.strategies import SlidingWindowCounterRateLimiter

    from common.windows import Windows

MINUTE_SECONDS = 60
AT_WORK = "at-work"
# Weight of the newest sample in the moving average of how long a request is at work.
SMOOTHING = 0.2


class PerMinute(Protocol):
    """The limits of a function; None: there is none."""

    @property
    def requests_per_minute(self) -> int | None: ...
    @property
    def characters_per_minute(self) -> int | None: ...


@dataclass(frozen=True)
class Metered:
    """`paths`: where a POST is a request to the function. Below them it has others, which are not counted by minute."""

    name: str
    paths: tuple[str, ...]
    limits: Callable[[], PerMinute]

    def policies(self) -> list["Policy"]:
        limits = self.limits()
        found = [
            Policy(self.name, limits.requests_per_minute or 0, "requests"),
            Policy(f"{self.name}-characters", limits.characters_per_minute or 0, "characters"),
        ]
        return [policy for policy in found if policy.most]


@dataclass(frozen=True)
class Policy:
    """One caller may have `most` of `unit` within a minute."""

    name: str
    most: int
    unit: str


@dataclass(frozen=True)
class _Charge:
    policy: Policy
    caller: str
    amount: int
    window: int


@dataclass
class Bill:
    """What one request was charged. It is not, where it could not be served."""

    charges: list[_Charge] = field(default_factory=list)

    def give_back(self) -> None:
        while self.charges:
            charge = self.charges.pop()
            key = _key(charge.policy, charge.caller)
            _limiter()[0].give_back(key, MINUTE_SECONDS, charge.amount, charge.window)


_metered: dict[str, Metered] = {}
_bill: ContextVar[Bill | None] = ContextVar("bill", default=None)
_is_counted: ContextVar[bool] = ContextVar("is_counted", default=True)


def metered(name: str, *paths: str, limits: Callable[[], PerMinute]) -> None:
    """A function has limits; `limits` is called on use."""
    _metered[name] = Metered(name, paths, limits)


def function_at(path: str) -> Metered | None:
    """The function that has this path, or one above it."""
    for function in _metered.values():
        if any(path == own or path.startswith(f"{own}/") for own in function.paths):
            return function
    return None


def count_nothing() -> None:
    """The request that this task serves has no limits."""
    _is_counted.set(False)


def begin_bill() -> Bill:
    bill = Bill()
    _bill.set(bill)
    return bill


def charge_request(name: str) -> None:
    """One more request of the caller to a function. Raises TooManyRequests."""
    for policy in _metered[name].policies():
        if policy.unit == "requests":
            _charge(policy, 1)


def charge_characters(name: str, characters: int, field_name: str) -> None:
    """So many characters of the caller for a function. Raises TooManyRequests, and InvalidInput for what it may never
    have at once."""
    for policy in _metered[name].policies() if _is_counted.get() else ():
        if policy.unit == "characters":
            if characters > policy.most:
                detail = f"has {characters} characters, and one caller may have {policy.most} in a minute"
                raise InvalidInput([FieldError(field_name, detail)])
            _charge(policy, characters)


def left(policy: Policy) -> tuple[int, int]:
    """How much of a policy the caller has left, and in how many seconds it would have more; 0: it has all."""
    windows, _ = _limiter()
    key = _key(policy, flow().caller)
    previous, seconds, current, _ = windows.get_sliding_window(key, MINUTE_SECONDS)
    had = int(previous * seconds / MINUTE_SECONDS + current)
    remaining = max(0, policy.most - had)
    if remaining == policy.most:
        return remaining, 0
    return remaining, windows.wait_seconds(key, policy.most, MINUTE_SECONDS, remaining + 1)


def forget() -> None:
    """Nobody has had anything."""
    _limiter.cache_clear()


class AtWork:
    """How many requests of each caller are at work. Belongs to one event loop."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._held_seconds = 1.0

    def left(self) -> int:
        """How many more the caller may have; 0 where there is no limit."""
        return max(0, (get_settings().requests_at_work or 0) - self._held[flow().caller])

    @contextmanager
    def hold(self) -> Iterator[None]:
        """The request at hand is at work. Raises TooManyRequests; when one of the others ends is a guess."""
        caller, most = flow().caller, get_settings().requests_at_work
        own = self._held[caller]
        if most is not None and own >= most:
            raise TooManyRequests(f"{own} requests of this caller are at work already", self._held_seconds / own)
        self._held[caller] += 1
        begun = time.monotonic()
        try:
            yield
        finally:
            self._held_seconds += SMOOTHING * (time.monotonic() - begun - self._held_seconds)
            self._held[caller] -= 1
            if not self._held[caller]:
                del self._held[caller]


def _charge(policy: Policy, amount: int) -> None:
    from limits import RateLimitItemPerMinute

    windows, limiter = _limiter()
    caller = flow().caller
    window = windows.number(MINUTE_SECONDS)
    if not limiter.hit(RateLimitItemPerMinute(policy.most), policy.name, caller, cost=amount):
        seconds = windows.wait_seconds(_key(policy, caller), policy.most, MINUTE_SECONDS, amount)
        raise TooManyRequests(f"{policy.name}: one caller may have {policy.most} {policy.unit} in a minute", seconds)
    if (bill := _bill.get()) is not None:
        bill.charges.append(_Charge(policy, caller, amount, window))


def _key(policy: Policy, caller: str) -> str:
    from limits import RateLimitItemPerMinute

    return RateLimitItemPerMinute(policy.most).key_for(policy.name, caller)


@lru_cache(maxsize=1)
def _limiter() -> "tuple[Windows, SlidingWindowCounterRateLimiter]":
    # Takes a tenth of a second, which only those pay who have set a limit.
    from limits.strategies import SlidingWindowCounterRateLimiter

    from common.windows import Windows

    windows = Windows()
    return windows, SlidingWindowCounterRateLimiter(windows)
