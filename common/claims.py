"""Who was refused and told when to come back has a claim: it goes before those who have not waited.

A claim is of one client (`Flow.holder`) for what it wanted. It begins with the refusal and ends when the client is let
in, or soon after the time at which it should have come. So what is kept for somebody who never comes is kept for no
longer than he was told to wait, and the grace.

Claims go in turn (deficit round robin with a quantum of one; Shreedhar and Varghese 1995): the callers stand in a ring,
and each has its claims in the order of their age. When a claim of a caller ends, the caller goes to the ring's end. So
a caller with a thousand clients that were refused keeps others waiting for one of them at a time, and among the clients
of one caller the oldest claim is next. A client that was let in has no claim any more: it begins again at the end.

A connection that is closed cannot come back, but its client may, on another one. So the caller keeps the oldest claim
of its lost connections for the first of its clients that comes in time, on a connection of which nothing was let in
yet. The others end: a client that connects anew for each try has one claim and not one for each.

>>> now = [0.0]
>>> claims = Claims[str](clock=lambda: now[0])
>>> many, one = [Flow("A", number, f"A{number}") for number in range(3)], Flow("B", 9, "B")
>>> for refused in [*many, one]:
...     claims.grant(refused, 10, refused.holder)
>>> [claim.demand for claim in claims.ahead(Flow("C", 10, "C"))]
['A0', 'B']

They come back after the ten seconds that they were told. B waits for one of A, and the last of A for its elders and B:

>>> now[0] = 10.0
>>> [claim.demand for claim in claims.ahead(one)]
['A0']
>>> [claim.demand for claim in claims.ahead(many[2])]
['A0', 'B', 'A1']
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from common.callers import Client, Flow, client, may_come_back

D = TypeVar("D")

# How late a client may be: on its way, and because its clock is not ours.
GRACE_SECONDS = 5.0
GRACE_SHARE = 0.1
MOST_GRACE_SECONDS = 30.0
# Who comes earlier than this has not done as it was told.
EARLY_SECONDS = 1.0
MOST_CLAIMS = 256
MOST_OF_CALLER = 32
# The holder of what was a closed connection's.
LOST = " lost"
# Clients of which is remembered that something was let in.
MOST_KNOWN = 1024


@dataclass(frozen=True)
class Claim(Generic[D]):
    """`demand` is what the client wanted when it was last refused. `due` and `expires` are times of the clock."""

    demand: D
    due: float
    expires: float


class Claims(Generic[D]):
    """Of one queue. Not thread-safe. Nothing here takes longer than there are claims, which are bounded."""

    def __init__(
        self,
        grace_seconds: float = GRACE_SECONDS,
        most: int = MOST_CLAIMS,
        most_of_caller: int = MOST_OF_CALLER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grace_seconds = grace_seconds
        self._most = most
        self._most_of_caller = most_of_caller
        self._clock = clock
        # The ring of callers, and of each the claims by holder, the oldest first.
        self._ring: OrderedDict[str, dict[str, Claim[D]]] = OrderedDict()
        self._known: OrderedDict[Client, None] = OrderedDict()

    def __len__(self) -> int:
        self._tidy()
        return sum(len(claims) for claims in self._ring.values())

    def grant(self, flow: Flow, due_seconds: float, demand: D) -> None:
        """The client is refused and told to come back in so many seconds. A claim that it has already keeps its age.

        Where there are too many claims, the newest of the caller with most of them ends. So a newcomer has one unless
        its own caller has too many, or nobody has more than one.
        """
        self._tidy()
        now = self._clock()
        grace = min(self._grace_seconds + GRACE_SHARE * due_seconds, MOST_GRACE_SECONDS)
        claim = Claim(demand, now + due_seconds, now + due_seconds + grace)
        own, holder = self._ring.get(flow.caller, {}), self._holder(flow)
        if (held := own.get(holder)) is not None:
            if _is_early(held, now):
                # Several of one address may be one client to us: each was told a time, and each may come at its own.
                claim = Claim(demand, min(held.due, claim.due), max(held.expires, claim.expires))
            own[holder] = claim
            if holder == LOST:
                self._rename(*client(flow), LOST)
        elif len(own) < self._most_of_caller and self._has_room_for(flow.caller):
            self._ring.setdefault(flow.caller, {})[holder] = claim

    def settle(self, flow: Flow) -> None:
        """The client is let in, with a claim or without."""
        self._tidy()
        holder = self._holder(flow)
        if holder in self._ring.get(flow.caller, {}):
            self._end(flow.caller, holder)
        self._known[client(flow)] = None
        self._known.move_to_end(client(flow))
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def clients(self) -> list[Client]:
        """Those who have claims."""
        self._tidy()
        return [(caller, holder) for caller, claims in self._ring.items() for holder in claims]

    def ahead(self, flow: Flow) -> list[Claim[D]]:
        """The claims that go before a request of this client that came now, in their order.

        Who has none waits for all of its caller, and for as many of each other caller. Who has one and comes before
        its time waits for all claims of all callers: it gains nothing by that, and loses nothing.
        """
        self._tidy()
        own, holder = self._ring.get(flow.caller, {}), self._holder(flow)
        held = own.get(holder)
        if held is not None and _is_early(held, self._clock()):
            everybody = [list(claims.values()) for claims in self._ring.values()]
            return [claim for claim in _in_turn(everybody) if claim is not held]
        elders = len(own) if held is None else list(own).index(holder)
        found: list[list[Claim[D]]] = []
        is_before = True
        for caller, claims in self._ring.items():
            if caller == flow.caller:
                is_before = held is None
                found.append(list(islice(claims.values(), elders)))
            else:
                found.append(list(islice(claims.values(), elders + is_before)))
        return list(_in_turn(found))

    def _holder(self, flow: Flow) -> str:
        """Whose claim is the request's: its client's own, else what a lost connection has left to its caller."""
        own, (_, name) = self._ring.get(flow.caller, {}), client(flow)
        lost = own.get(LOST)
        if name in own or lost is None or client(flow) in self._known or _is_early(lost, self._clock()):
            return name
        return LOST

    def _rename(self, caller: str, to: str, holder: str) -> None:
        """Another holder has the claim, in the same place."""
        claims = self._ring[caller]
        self._ring[caller] = {to if name == holder else name: claim for name, claim in claims.items()}

    def _has_room_for(self, caller: str) -> bool:
        if len(self) < self._most or not self._ring:
            return self._most > 0
        most = max(self._ring, key=lambda name: len(self._ring[name]))
        if len(self._ring[most]) <= len(self._ring.get(caller, {})) + 1:
            return False
        # It was not its turn: the caller stays where it is in the ring.
        self._ring[most].popitem()
        return True

    def _tidy(self) -> None:
        """End what is over, and keep the oldest claim of the lost connections of each caller."""
        now = self._clock()
        for caller, claims in list(self._ring.items()):
            for holder, claim in list(claims.items()):
                if claim.expires <= now:
                    self._end(caller, holder)
            lost = [name for name in claims if name == LOST or not may_come_back(name)]
            for holder in lost[1:]:
                del claims[holder]
            if lost and lost[0] != LOST:
                self._rename(caller, LOST, lost[0])

    def _end(self, caller: str, holder: str) -> None:
        claims = self._ring[caller]
        del claims[holder]
        self._ring.move_to_end(caller)
        if not claims:
            del self._ring[caller]


def _is_early(claim: Claim[D], now: float) -> bool:
    return now < claim.due - EARLY_SECONDS


def _in_turn(of_callers: list[list[Claim[D]]]) -> Iterator[Claim[D]]:
    """The first of each, then the second of each, and so on."""
    for number in range(max(map(len, of_callers), default=0)):
        yield from (claims[number] for claims in of_callers if number < len(claims))
