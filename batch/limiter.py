"""How many calls of one function are at work at the same time: as many as the service gets more done with, no more.

It climbs (hill climbing on goodput). Within a round so many calls end; what was got done in a second with this many at
work is compared with what it was with fewer. While twice as many get clearly more done, they are doubled. Then it stays
where it is, and looks a step up and a step down now and then: more are kept only if they get more done, fewer if they
get as much done. So when answers come later and not more of them come, it goes back.

A refusal cuts it at once, and from there it only looks one step further (additive increase, multiplicative decrease;
Chiu and Jain 1989). Nothing here does input or output, and the time is told by `clock`.
"""

import time
from collections.abc import Callable
from enum import Enum, auto

FIRST = 4
# Of a round: so many calls, and so many for each that is at work. Before it as many as are at work are not counted,
# which were begun beside fewer or more.
LEAST_CALLS, CALLS_A_SLOT = 6, 2
LEAST_SECONDS = 0.25
# By this much more has to be got done with more at work; and this much less may be with fewer.
GAIN, LOSS = 1.08, 0.98
CUT = 0.7
# Rounds between two looks; after each that was in vain there are more.
FEWEST_ROUNDS, MOST_ROUNDS = 3, 24
# What was measured before weighs so much against a new round.
MEMORY = 0.6


class _At(Enum):
    CLIMBING = auto()  # doubling, from the start until it gains nothing
    STAYING = auto()
    LOOKING = auto()  # one round with more or fewer


class Limiter:
    """`limit` may be at work; `at_work` are. `most` is never exceeded."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = min(FIRST, most)
        self.at_work = 0
        self._most = most
        self._clock = clock
        self._at = _At.CLIMBING
        # The limit that is known to be good, and what is got done with it in a second.
        self._base = self.limit
        self._goodput: float | None = None
        self._looks_up = True
        self._step: int | None = None
        self._rounds_left = FEWEST_ROUNDS
        self._pause = FEWEST_ROUNDS
        self._cut_at = clock()
        self._was_full = False
        self._begin_round(0)

    def begin(self) -> float:
        """A call begins; returns what `refused` is told."""
        self.at_work += 1
        self._was_full = self._was_full or self.at_work >= self.limit
        return self._clock()

    def answered(self, work: float) -> None:
        """A call has ended that got so much done, in any unit."""
        if not self._end_call():
            return
        self._calls += 1
        self._work += work
        seconds = self._clock() - self._began_at
        if self._calls >= max(LEAST_CALLS, CALLS_A_SLOT * self.limit) and seconds >= LEAST_SECONDS:
            self._end_round(self._work / seconds)

    def failed(self) -> None:
        """A call has ended that says nothing of how busy the service is."""
        self._end_call()

    def refused(self, began_at: float) -> None:
        """The service has no room. Calls that were at work together are one refusal."""
        self._end_call()
        if began_at < self._cut_at:
            return
        self._cut_at = self._clock()
        self._step, self._at = 1, _At.STAYING
        self._base, self._goodput = max(1, int(self.limit * CUT)), None
        self._pause = self._rounds_left = FEWEST_ROUNDS
        self._looks_up = True
        self._move_to(self._base)

    def _end_call(self) -> bool:
        """Whether it counts in this round."""
        self.at_work -= 1
        if not self._unsettled:
            return True
        self._unsettled -= 1
        if not self._unsettled:
            self._began_at = self._clock()
        return False

    def _end_round(self, goodput: float) -> None:
        was_full = self._was_full
        self._begin_round(0)
        if self._at is _At.STAYING:
            self._stay(goodput)
        elif not was_full:
            # There was too little to do: it says nothing of this limit.
            self._back()
        elif self._at is _At.CLIMBING:
            self._climb(goodput)
        else:
            self._judge(goodput)

    def _climb(self, goodput: float) -> None:
        if self._goodput is not None and goodput < GAIN * self._goodput:
            self._back()
            return
        self._base, self._goodput = self.limit, goodput
        if self.limit == self._most:
            self._at = _At.STAYING
        else:
            self._move_to(min(2 * self.limit, self._most))

    def _stay(self, goodput: float) -> None:
        known = self._goodput
        self._goodput = goodput if known is None else MEMORY * known + (1 - MEMORY) * goodput
        self._rounds_left -= 1
        if self._rounds_left > 0:
            return
        step = self._step or max(1, self._base // 4)
        wanted = self._base + step if self._looks_up else self._base - step
        self._looks_up = not self._looks_up
        self._rounds_left = self._pause
        if 1 <= wanted <= self._most:
            self._at = _At.LOOKING
            self._move_to(wanted)

    def _judge(self, goodput: float) -> None:
        assert self._goodput is not None
        more = self.limit > self._base
        if goodput < self._goodput * (GAIN if more else LOSS):
            self._pause = min(2 * self._pause, MOST_ROUNDS)
            self._back()
            return
        self._base, self._goodput = self.limit, goodput
        self._at, self._pause, self._rounds_left = _At.STAYING, FEWEST_ROUNDS, 1
        # On in the same direction.
        self._looks_up = more

    def _back(self) -> None:
        self._at, self._rounds_left = _At.STAYING, self._pause
        self._move_to(self._base)

    def _move_to(self, limit: int) -> None:
        self.limit = limit
        self._begin_round(self.at_work)

    def _begin_round(self, unsettled: int) -> None:
        self._calls, self._work = 0, 0.0
        self._unsettled = unsettled
        self._began_at = self._clock()
        self._was_full = False
