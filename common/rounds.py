"""Who was let in how often, while others wait: nobody is let in once more than those who are there as well.

A client is only known by its later requests; see `callers.holder_of`. What was before the others came does not count.

>>> rounds = Rounds()
>>> one, other = Flow("A", 1, "A1"), Flow("A", 2, "A2")
>>> with rounds.present(one), rounds.present(other):
...     pass
>>> with rounds.present(one):
...     # It was let in twice, and the other, who waits for its second time, once.
...     rounds.has_turn(one, [client(other)]), rounds.has_turn(other, [client(one)])
(False, True)
"""

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from common.callers import Client, Flow, client

# Clients that are remembered after they have left.
MOST_KNOWN = 1024
# However often somebody was let in when there was room for all, it waits for no more than so many turns of the others.
MOST_AHEAD = 2


class Rounds:
    """Of one queue. Not thread-safe."""

    def __init__(self) -> None:
        self._times: OrderedDict[Client, int] = OrderedDict()
        self._present: Counter[Client] = Counter()

    @contextmanager
    def present(self, flow: Flow, waiting: Collection[Client] = ()) -> Iterator[None]:
        """The client is let in, and there until the block ends. `waiting`: others who were refused.

        A block that fails was no turn.
        """
        own = client(flow)
        known = [self._times[other] for other in self._others(own, waiting) if other in self._times]
        # Who was away, or never here, is let in as the last of the others.
        least, most = (min(known) - 1, min(known) + MOST_AHEAD - 1) if known else (0, MOST_AHEAD - 1)
        self._times[own] = min(max(self._times.get(own, least), least), most) + 1
        self._times.move_to_end(own)
        if len(self._times) > MOST_KNOWN:
            self._times.popitem(last=False)
        self._present[own] += 1
        try:
            yield
        except Exception:
            self._times[own] = self._times.get(own, 1) - 1
            raise
        finally:
            self._present[own] -= 1
            if not self._present[own]:
                del self._present[own]

    def has_turn(self, flow: Flow, waiting: Collection[Client]) -> bool:
        """Whether the client had no more turns than any of those who wait or are there; true where nobody waits."""
        own = client(flow)
        if own not in self._times or not any(other != own for other in waiting):
            return True
        mine = self._times[own]
        return all(self._times.get(other, mine) >= mine for other in self._others(own, waiting))

    def _others(self, own: Client, waiting: Collection[Client]) -> set[Client]:
        return {*self._present, *waiting} - {own}
