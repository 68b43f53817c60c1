"""All connections of the server: how many there may be, who makes room for a newcomer, and one line a minute about it.

What a single connection may do is in `runner.protocol`.
"""

import asyncio
import logging
import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from common.errors import FactoryError, Unavailable
from common.settings import Settings

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
BETWEEN_LINES_SECONDS = 60.0
# Descriptors for everything but connections: files, pipes, the hub; and for each recording its way to the cloud.
RESERVED_DESCRIPTORS = 64
DESCRIPTORS_PER_RECORDING = 2
MOST_DESCRIPTORS = 65_536
# So many connections of one address are nothing special: a browser opens some six.
FEW_CONNECTIONS = 8
# As many connections are closed when, against all reckoning, no descriptor is left for the next.
SHED_AT_ONCE = 4
RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class Limits:
    """What all connections together and each one may take.

    `connections` is their number, `unsent_bytes` what may wait in all of them to be taken by its reader.
    """

    header_seconds: float
    send_seconds: float
    header_bytes: int
    connections: int
    unsent_bytes: int


class Connection(Protocol):
    """What `Connections` has to know of one: `address` is where it comes from."""

    loop: asyncio.AbstractEventLoop
    address: str

    def overdue(self, now: float) -> str | None: ...
    def refuse(self, error: FactoryError) -> None: ...
    def drop(self) -> None: ...
    def unsent_bytes(self) -> int: ...


class Connections:
    """Belongs to one event loop.

    A connection waits, or a request of it is at work. Only those that wait are closed to make room: of the address that
    has most connections, or of any where all have few, the one that has waited longest.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._clock = clock
        self._open: set[Connection] = set()
        self._by_address = Counter[str]()
        # By address, and there in the order in which they began to wait: since when.
        self._waiting: dict[str, dict[Connection, float]] = {}
        # Those whose reader is behind, in the order in which it fell behind.
        self._behind: dict[Connection, None] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        # Since the last line, and since the start.
        self._closed, self.closed = Counter[str](), Counter[str]()
        self._told_at = -BETWEEN_LINES_SECONDS

    def __len__(self) -> int:
        return len(self._open)

    @property
    def at_work(self) -> int:
        """Those with a request that is being answered."""
        return len(self._open) - sum(map(len, self._waiting.values()))

    @property
    def unsent_bytes(self) -> int:
        """What waits to be taken by readers who are behind."""
        return sum(connection.unsent_bytes() for connection in self._behind)

    def add(self, connection: Connection) -> None:
        """A new connection is there, and another makes room for it if there are too many."""
        self._open.add(connection)
        self._by_address[connection.address] += 1
        self.waits(connection)
        if len(self._open) > self.limits.connections:
            self._make_room(connection)
        if self._sweeping is None:
            self._sweeping = connection.loop.call_later(SWEEP_SECONDS, self._sweep, connection.loop)

    def remove(self, connection: Connection) -> None:
        if connection not in self._open:
            return
        self._open.discard(connection)
        self.works(connection)
        self._behind.pop(connection, None)
        self._by_address[connection.address] -= 1
        if not self._by_address[connection.address]:
            del self._by_address[connection.address]

    def waits(self, connection: Connection) -> None:
        """Nothing of it is at work from now on: it may be closed to make room."""
        if connection in self._open:
            waiting = self._waiting.setdefault(connection.address, {})
            waiting.pop(connection, None)
            waiting[connection] = self._clock()

    def works(self, connection: Connection) -> None:
        """A request of it is at work from now on."""
        waiting = self._waiting.get(connection.address)
        if waiting is not None and connection in waiting:
            del waiting[connection]
            if not waiting:
                del self._waiting[connection.address]

    def falls_behind(self, connection: Connection) -> None:
        """Its reader takes less than is written. Over the bound the address with most to be sent loses its largest."""
        if connection in self._open:
            self._behind.setdefault(connection)
        while self._behind:
            unsent = {one: one.unsent_bytes() for one in self._behind}
            if sum(unsent.values()) <= self.limits.unsent_bytes:
                return
            by_address = Counter[str]()
            for one, size in unsent.items():
                by_address[one.address] += size
            self._drop(max(unsent, key=lambda one: (by_address[one.address], unsent[one])), "too much not taken")

    def catches_up(self, connection: Connection) -> None:
        self._behind.pop(connection, None)

    def out_of_descriptors(self) -> None:
        """The system has none for one more connection."""
        self.count("no descriptor left")
        for _ in range(min(SHED_AT_ONCE, len(self._waiting))):
            self._drop(self._longest_waiting(), "made room for another")

    def count(self, why: str) -> None:
        """Note a connection that is closed; the log has a line a minute with the numbers."""
        self._note(why)
        self._tell()

    def _make_room(self, newcomer: Connection) -> None:
        victim = self._longest_waiting()
        if victim is not newcomer:
            self._drop(victim, "made room for another")
            return
        # All others are at work, or this is one more of the address that has most.
        newcomer.refuse(Unavailable("as many connections are open as there may be", RETRY_SECONDS))
        self._drop(newcomer, "no room")

    def _longest_waiting(self) -> Connection:
        def prominence(address: str) -> tuple[int, float]:
            since = next(iter(self._waiting[address].values()))
            return max(self._by_address[address], FEW_CONNECTIONS), -since

        waiting = self._waiting[max(self._waiting, key=prominence)]
        # An answer is not cut as long as there is another way.
        return next((one for one in waiting if not one.unsent_bytes()), next(iter(waiting)))

    def _drop(self, connection: Connection, why: str) -> None:
        # At once: until it is told that it is closed it would be chosen again.
        self.remove(connection)
        connection.drop()
        self.count(why)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = self._clock()
        for connection in list(self._open):
            if (why := connection.overdue(now)) is not None:
                self._note(why)
        self._tell()
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep, loop) if self._open or self._closed else None

    def _note(self, why: str) -> None:
        self._closed[why] += 1
        self.closed[why] += 1

    def _tell(self) -> None:
        now = self._clock()
        if self._closed and now - self._told_at >= BETWEEN_LINES_SECONDS:
            told = ", ".join(f"{why}: {number}" for why, number in sorted(self._closed.items()))
            logger.warning("connections closed (%s); open: %d of %d", told, len(self._open), self.limits.connections)
            self._closed.clear()
            self._told_at = now


def limits(settings: Settings) -> Limits:
    """The limits by the settings and by the descriptors that this process may have."""
    server = settings.server
    reserved = RESERVED_DESCRIPTORS + DESCRIPTORS_PER_RECORDING * settings.audio.concurrency
    most = most_connections(server.max_connections, reserved)
    if most < server.max_connections:
        logger.warning("%d connections at most: `ulimit -n` is too low for %d", most, server.max_connections)
    return Limits(server.header_seconds, server.send_seconds, server.header_bytes, most, server.max_unsent_bytes)


def most_connections(setting: int, reserved: int) -> int:
    """How many connections there may be: by the setting, but with `reserved` descriptors left for all else.

    The soft limit of the process is raised as far as that takes.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wished = min(setting + reserved, MOST_DESCRIPTORS)
    if hard != resource.RLIM_INFINITY:
        wished = min(wished, hard)
    if soft != resource.RLIM_INFINITY and soft < wished:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wished, hard))
            soft = wished
        except (OSError, ValueError):  # Some systems have a limit below the hard one.
            pass
    if soft == resource.RLIM_INFINITY:
        return setting
    # Where there are hardly any, half are better than none.
    return max(1, min(setting, soft - min(reserved, soft // 2)))
