"""Whether a function's time grows faster than its input.

Time is that of the thread on the CPU, and the least of several rounds: what else the machine does is not counted. A
first look at two lengths is cheap; only what looks bad there is measured at longer and longer inputs.
"""

import gc
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise

from tests.fuzz.alphabet import Case, made

# Linear is 1; sorting and the odd cache miss are a little more. Quadratic is 2.
MOST_EXPONENT = 1.5
# Growth that costs nothing at the longest input is nobody's trouble.
LEAST_SECONDS = 0.05
# A look at this length and at some times as much, and what has to come of it to be worth a second one.
LOOK_CHARACTERS, LOOK_TIMES, LOOK_SECONDS = 3_000, 4, 0.0008
# Longer texts than the one that took so long are not tried.
ENOUGH_SECONDS, GIVE_UP_SECONDS = 0.3, 3.0
ROUNDS = 6


@dataclass(frozen=True)
class Entry:
    """A place where callers' text comes in. `call` is what is done with it, `most` how many characters it may have.

    The first look is at `look` characters: more than what is done at once, where longer texts are cut into parts.
    """

    name: str
    call: Callable[[str], object]
    most: int
    look: int = LOOK_CHARACTERS
    # In the test suite, which has less time, only each so many-th case is looked at.
    every: int = 1


@dataclass(frozen=True)
class Fault:
    """`seconds` for `length` characters of `case`, which grew with this exponent."""

    entry: str
    case: Case
    length: int
    seconds: float
    exponent: float

    def __str__(self) -> str:
        return (
            f"{self.entry}: {self.seconds:.2f} s for {self.length} characters of {self.case}, "
            f"growing with the power {self.exponent:.2f}"
        )


def grows(entry: Entry, case: Case) -> Fault | None:
    """The growth that is more than linear, if there is one."""
    look = min(entry.look, entry.most // LOOK_TIMES)
    first, second = _seconds(entry, made(case, look)), _seconds(entry, made(case, LOOK_TIMES * look))
    if second >= LOOK_SECONDS:
        # The short one is over so soon that a slow moment is enough to hide what grows.
        first = min(first, _seconds(entry, made(case, look)))
    if second >= GIVE_UP_SECONDS:
        return Fault(entry.name, case, LOOK_TIMES * look, second, math.inf)
    if second < LOOK_SECONDS or _exponent(first, second, LOOK_TIMES) <= MOST_EXPONENT:
        return None
    return _confirmed(entry, case)


def _confirmed(entry: Entry, case: Case) -> Fault | None:
    """Twice as long again and again, until it takes long or is as long as it may be; judged by the last two steps.

    By two, for the first that is cut into parts, or over some other threshold, takes a leap. All lengths have a turn in
    each round, so that a spell in which the machine is slow does not meet one of them alone.
    """
    shortest = entry.most >> (entry.most // LOOK_CHARACTERS).bit_length()
    lengths = [shortest << doubled for doubled in range((entry.most // shortest).bit_length())]
    seconds = [math.inf] * len(lengths)
    for _ in range(ROUNDS):
        for index, length in enumerate(lengths):
            seconds[index] = min(seconds[index], _seconds(entry, made(case, length)))
            if seconds[index] >= ENOUGH_SECONDS:
                break
    # What was broken off behind the same length in each round was never measured.
    measured = [each for each in seconds if each < math.inf]
    exponent = min((_exponent(*step) for step in pairwise(measured[-3:])), default=0.0)
    if len(measured) < 3 or measured[-1] < LEAST_SECONDS or exponent <= MOST_EXPONENT:
        return None
    return Fault(entry.name, case, lengths[len(measured) - 1], measured[-1], exponent)


def _exponent(first: float, second: float, times: float = 2) -> float:
    return math.log(max(second, 1e-7) / max(first, 1e-7), times)


def _seconds(entry: Entry, text: str) -> float:
    """Of one call; `GIVE_UP_SECONDS` of one that had to be ended."""
    gc.disable()
    try:
        begun = time.thread_time()
        with suppress(_TooLong), _ending(GIVE_UP_SECONDS):
            entry.call(text)
        return time.thread_time() - begun
    finally:
        gc.enable()


class _TooLong(BaseException):
    """No `Exception`, which the function might catch."""


@contextmanager
def _ending(seconds: float) -> Iterator[None]:
    """Raises _TooLong in the block after so many seconds of the CPU: what is exponential has no end by itself."""

    def end(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
