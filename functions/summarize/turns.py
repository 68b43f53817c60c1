"""The one thread that calls llama.cpp, for all models that are loaded: it decides whose step is next.

Two threads that compute would fight for the same cores, and neither's times could be planned with. So each step runs
alone, and the models take turns by `sharing.shares`: start-time fair queueing (Goyal, Vin, Cheng 1996) with shares for
weights. A model's tag grows by the time of its step over its share; the least tag is next.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Protocol

from functions.summarize.planning import Queue
from functions.summarize.sharing import Need, shares

logger = logging.getLogger(__name__)

# While another model may get work, a step takes about this long at most: so late can the more urgent one begin.
TURN_SECONDS = 1.0
# Who had more than its share for the sake of its readers does not pay for it for longer than this.
MOST_AHEAD_SECONDS = 10.0


class Player(Protocol):
    """One model's queue, as it takes its turns. All methods but `step` are called with `Turns.changed` held."""

    def prepare(self) -> Need | None:
        """What it needs now; None: it has nothing to do."""

    def has_idle_work(self) -> bool:
        """Whether `step` has something to do that is only done while nobody has anything to do."""

    def disturb(self) -> None:
        """Somebody has work: what is done in idle time ends soon."""

    def reads_along(self) -> bool:
        """Whether somebody reads along while one of its requests writes."""

    def step(self) -> None:
        """One step. It does not fail."""

    def queue(self, *, best: bool = False) -> Queue:
        """Its requests with their costs, the recent or the least ones."""


@dataclass(eq=False)
class _Seat:
    player: Player
    tag: float = 0.0


class Turns:
    """`changed` guards the queues of all players; whoever gives one of them work notifies it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.changed = threading.Condition()
        self._clock = clock
        self._seats: list[_Seat] = []
        # That of the step that was begun last, and whose it was.
        self._tag = 0.0
        self._last: _Seat | None = None
        self._stepping = False
        self._thread: threading.Thread | None = None
        # How many want the cores for themselves, and whether one of them has them.
        self._wanted, self._taken = 0, False

    def join(self, player: Player) -> None:
        with self.changed:
            self._seats.append(_Seat(player, self._tag))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="llama", daemon=True)
                self._thread.start()

    def leave(self, player: Player) -> None:
        """`player` makes no further step; one that is under way is waited for."""
        with self.exclusive():
            self._seats = [seat for seat in self._seats if seat.player is not player]

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """No step is made within."""
        with self.changed:
            self._wanted += 1
            self.changed.wait_for(lambda: not self._stepping and not self._taken)
            self._wanted -= 1
            self._taken = True
        try:
            yield
        finally:
            with self.changed:
                self._taken = False
                self.changed.notify_all()

    def disturb(self) -> None:
        """Somebody has work. With `changed` held."""
        for seat in self._seats:
            seat.player.disturb()

    def others(self, player: Player) -> Sequence[Player]:
        """All that share the thread with `player`. To be called with `changed` held."""
        return [seat.player for seat in self._seats if seat.player is not player]

    def most_seconds(self, player: Player, slice_seconds: float) -> float:
        """How long the next step of `player` may take, for the sake of the others. With `changed` held."""
        others = self.others(player)
        if any(other.reads_along() for other in others):
            return min(slice_seconds, TURN_SECONDS)
        return TURN_SECONDS if others else inf

    def _run(self) -> None:
        while True:
            with self.changed:
                while (turn := self._next()) is None:
                    self.changed.wait()
                self._stepping = True
            seat, share = turn
            begun = self._clock()
            seat.player.step()
            with self.changed:
                self._stepping = False
                self._last, self._tag = seat, seat.tag
                seat.tag += min((self._clock() - begun) / share, MOST_AHEAD_SECONDS)
                if self._wanted:
                    self.changed.notify_all()

    def _next(self) -> tuple[_Seat, float] | None:
        """Whose step is next, and its share of the time; None: there is nothing to do, or somebody has the cores."""
        if self._wanted or self._taken:
            return None
        needs = [(seat, need) for seat in self._seats if (need := seat.player.prepare()) is not None]
        if not needs:
            return next(((seat, 1.0) for seat in self._seats if seat.player.has_idle_work()), None)
        pairs = zip(needs, shares([need for _, need in needs]), strict=True)
        seats = [(seat, share) for (seat, _), share in pairs if share > 0]
        for seat, _ in seats:
            # Time in which it had nothing to do, or no share, is not made up for.
            seat.tag = max(seat.tag, self._tag)
        if self._last is not None and any(seat is not self._last for seat, _ in seats):
            # Between two tokens of somebody who reads along comes no more than one step of another model.
            readers = {id(seat) for seat, need in needs if need.reads_along and seat is not self._last}
            seats = [entry for entry in seats if id(entry[0]) in readers] or seats
        return min(seats, key=lambda entry: entry[0].tag)
