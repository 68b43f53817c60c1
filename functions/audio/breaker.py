"""A circuit breaker: a service elsewhere that keeps failing is left alone for a while.

    closed ── failures in a row ──> open ── after a pause ──> half-open ── the one trial ──> closed
                                     └────────────────── failed: twice the pause ───┘

Ours because of the trial: the libraries let everybody through once the pause is over, and if the service is still
silent, everybody waits for it. Here one caller tries and the others are told at once. Belongs to one event loop.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from common import upstreams
from common.upstreams import UpstreamStatus
from functions.audio.errors import (
    ImpatientTimeout,
    UpstreamFailed,
    UpstreamSilent,
    UpstreamTimeout,
    UpstreamUnavailable,
)

# The pause doubles with every failed trial, up to this many times its first length.
LONGEST_PAUSE = 8


@dataclass(frozen=True)
class Tolerance:
    """`failures` in a row open the breaker for `pause_seconds`."""

    failures: int
    pause_seconds: float


class Breaker:
    """The breaker of one service elsewhere, registered by name so that health can report it."""

    def __init__(self, name: str, tolerance: Callable[[], Tolerance], clock: Callable[[], float] = time.monotonic):
        """`tolerance` is called on use, so that importing a handler reads no settings; `clock` gives seconds."""
        self.name = name
        self._tolerance = tolerance
        self._clock = clock
        self.reset()
        upstreams.register(name, lambda: self.status)

    @property
    def status(self) -> UpstreamStatus:
        left = self._open_until - self._clock()
        if not self._pause:
            return UpstreamStatus("closed", self._failures, 0.0)
        return UpstreamStatus("open" if left > 0 else "half-open", self._failures, max(0.0, left))

    @contextmanager
    def attempt(self, *, refuse: bool = True) -> Iterator[None]:
        """One use of the service: UpstreamFailed and UpstreamTimeout count against it, a normal end for it.

        UpstreamSilent, ImpatientTimeout and other exceptions (the caller left) count neither way. Raises
        UpstreamUnavailable while the breaker is open, unless `refuse` is False: for what has begun and would be cut.
        """
        trial = self._admitted(refuse)
        try:
            yield
        except (UpstreamSilent, ImpatientTimeout):
            raise
        except (UpstreamFailed, UpstreamTimeout):
            self._failed(trial)
            raise
        else:
            self.reset()
        finally:
            if trial:
                self._trial_is_out = False

    def check(self) -> None:
        """Raises UpstreamUnavailable where an attempt would, without making one."""
        status = self.status
        if status.state == "open" or (status.state == "half-open" and self._trial_is_out):
            raise UpstreamUnavailable(f"the {self.name} keeps failing and is left alone", status.retry_in_seconds)

    def reset(self) -> None:
        """As if nothing had ever failed."""
        self._failures = 0
        self._pause = 0.0
        self._open_until = 0.0
        self._trial_is_out = False

    def _admitted(self, refuse: bool) -> bool:
        """Whether this attempt is the trial of a half-open breaker."""
        status = self.status
        if status.state == "closed" or not refuse:
            return False
        if status.state == "half-open" and not self._trial_is_out:
            self._trial_is_out = True
            return True
        raise UpstreamUnavailable(f"the {self.name} keeps failing and is left alone", status.retry_in_seconds)

    def _failed(self, trial: bool) -> None:
        tolerance = self._tolerance()
        self._failures += 1
        if trial:
            self._pause = min(2 * self._pause, LONGEST_PAUSE * tolerance.pause_seconds)
        elif not self._pause and self._failures >= tolerance.failures:
            self._pause = tolerance.pause_seconds
        else:
            # Still tolerated, or begun before the breaker opened.
            return
        self._open_until = self._clock() + self._pause
