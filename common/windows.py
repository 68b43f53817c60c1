"""Counts of what callers had within the last minute, as a storage of the library `limits`, of bounded size.

The library's own storage in memory is not bounded, and under load it starts a thread a hundred times a second that
looks through all keys. This one has two numbers for each key, forgets the key that was charged longest ago, has no
thread, and keeps to a clock that nobody sets.

Sliding window counter: time is cut into windows. What was had within the last one counts in the share of it that is
still less than a window ago.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import floor

from limits.storage import SlidingWindowCounterSupport, Storage

# Keys of all callers and limits: 4,096 callers with two limits of three functions each. They take 8 MB.
MOST_KEPT = 6 * 4096
# A time is told in whole seconds, and later than the exact one by so much at least, as both are rounded.
ROUNDING_SECONDS = 1e-6


@dataclass(slots=True)
class _Counts:
    """`number` is that of the window to which `current` belongs."""

    number: int
    previous: int = 0
    current: int = 0


class Windows(Storage, SlidingWindowCounterSupport):
    """For SlidingWindowCounterRateLimiter. Not thread-safe. Lengths of windows (`expiry`) are in seconds."""

    STORAGE_SCHEME = None

    def __init__(self, most: int = MOST_KEPT, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most = most
        self._clock = clock
        self._kept: OrderedDict[str, _Counts] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        counts, left = self._counts(key, expiry)
        if floor(counts.previous * left / expiry + counts.current) + amount > limit:
            return False
        counts.current += amount
        self._kept[key] = counts
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """What was had in the last window, for how long that still counts, and the same of this window."""
        counts, left = self._counts(key, expiry)
        return counts.previous, left if counts.previous else 0.0, counts.current, left + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:  # noqa: ARG002
        self.clear(key)

    def number(self, expiry: int) -> int:
        """The number of the window that it is now."""
        return int(self._clock() // expiry)

    def give_back(self, key: str, expiry: int, amount: int, number: int) -> None:
        """What was charged in the window `number` was not had after all."""
        counts, _ = self._counts(key, expiry)
        if number == counts.number:
            counts.current = max(0, counts.current - amount)
        elif number == counts.number - 1:
            counts.previous = max(0, counts.previous - amount)

    def wait_seconds(self, key: str, limit: int, expiry: int, amount: int = 1) -> int:
        """Whole seconds after which `amount` is let in, if nothing else is before; 0: now. `amount` is `limit` at most.

        With P had in the last window, C in this one of W seconds, and t seconds into it, it is let in while
        P (W - t) / W + C < limit - amount + 1. In the next window C is what P was.
        """
        counts, left = self._counts(key, expiry)
        room = limit - amount + 1
        if counts.previous * left / expiry + counts.current < room:
            return 0
        if counts.current < room:
            seconds = left - expiry * (room - counts.current) / counts.previous
        else:
            seconds = left + expiry * (1 - room / counts.current)
        return floor(seconds + ROUNDING_SECONDS) + 1

    def _counts(self, key: str, expiry: int) -> tuple[_Counts, float]:
        """The counts as they are now, and the seconds that are left of this window."""
        now = self._clock()
        number = int(now // expiry)
        counts = self._kept.get(key) or _Counts(number)
        if counts.number != number:
            counts.previous = counts.current if counts.number == number - 1 else 0
            counts.number, counts.current = number, 0
        return counts, expiry - now % expiry

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def clear(self, key: str) -> None:
        self._kept.pop(key, None)

    def reset(self) -> int:
        number = len(self._kept)
        self._kept.clear()
        return number

    def check(self) -> bool:
        return True

    def get(self, key: str) -> int:
        raise NotImplementedError("there are sliding windows only")

    def get_expiry(self, key: str) -> float:
        raise NotImplementedError("there are sliding windows only")

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        raise NotImplementedError("there are sliding windows only")
