"""Connections that cost no more than they should: uvicorn's protocol, with limits that it does not have.

    waiting ──> headers ──> body ──> working ──> waiting ..
       └───────────┴─────────┴──────────┴──> closing

Who says nothing, or a byte a second, or takes nothing of an answer, is let go. Beyond the bound of connections the one
that has been idle for longest makes room, of the address that has most: so a newcomer is always heard.
"""

import asyncio
import logging
import resource
import socket
import time
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Any

import httptools
from uvicorn import Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from common.errors import FactoryError, HeadersTooLarge, MalformedRequest, RequestTooSlow, Unavailable
from common.problems import PROBLEM_JSON

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
BETWEEN_LINES_SECONDS = 60.0
# Descriptors for everything else: models, pipes, the loopback of the event loop, the speech cloud, the hub.
RESERVED_DESCRIPTORS = 96
MOST_DESCRIPTORS = 65_536
# To be given to uvicorn as `backlog`.
ACCEPTED_AT_ONCE = 16
WAITING_TO_BE_ACCEPTED = 1024
# A closed connection whose client takes nothing is not waited for any longer.
CLOSING_SECONDS = 10.0
# A body may be this slow once `header_seconds` are over, so that a large one is whole within ten minutes.
LEAST_BODY_BYTES_PER_SECOND = 5_000
# The methods that llhttp knows do not include every word; an unknown one is read as this one and then named again.
KNOWN_METHOD = b"TRACE"
LONGEST_METHOD = 32


class Phase(Enum):
    """What a connection is at. All but WORKING may be interrupted: nothing is lost but what was not said yet."""

    WAITING = "no byte of a request is there"
    HEADERS = "a request has begun"
    BODY = "its headers are there, its body is not"
    WORKING = "it is being answered"


@dataclass(frozen=True)
class Limits:
    """Seconds until a silent connection is let go, and how many connections there may be (0: by descriptors)."""

    header_seconds: float
    send_seconds: float
    header_bytes: int
    connections: int


class Connections:
    """All connections of a server. Belongs to one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.most = most_connections(limits.connections)
        self._open: set[BoundedProtocol] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = Counter[str]()
        self._told_at = -BETWEEN_LINES_SECONDS

    def add(self, connection: "BoundedProtocol") -> None:
        self._open.add(connection)
        if len(self._open) > self.most:
            self._make_room(connection)
        if self._sweeping is None:
            self._sweeping = connection.loop.call_later(SWEEP_SECONDS, self._sweep, connection.loop)

    def remove(self, connection: "BoundedProtocol") -> None:
        self._open.discard(connection)

    def count(self, why: str) -> None:
        """Note a connection that was closed; the log has a line a minute with the numbers."""
        self._closed[why] += 1
        self._tell()

    def _make_room(self, newcomer: "BoundedProtocol") -> None:
        idle = [one for one in self._open if one.phase is not Phase.WORKING and one is not newcomer]
        if not idle:
            newcomer.refuse(Unavailable("as many connections are open as there may be", 1))
            self.count("no room")
            return
        by_address = Counter(one.address for one in idle)
        victim = max(idle, key=lambda one: (by_address[one.address], -one.since))
        # At once: until it is told that it is closed it would be chosen again.
        self._open.discard(victim)
        victim.drop()
        self.count("made room for another")

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        for connection in list(self._open):
            if (why := connection.overdue(now)) is not None:
                self._closed[why] += 1
        self._tell()
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep, loop) if self._open else None

    def _tell(self) -> None:
        now = time.monotonic()
        if self._closed and now - self._told_at >= BETWEEN_LINES_SECONDS:
            told = ", ".join(f"{why}: {number}" for why, number in sorted(self._closed.items()))
            logger.warning("connections closed (%s); open: %d of %d", told, len(self._open), self.most)
            self._closed.clear()
            self._told_at = now


class BoundedServer(Server):
    """uvicorn's server, which accepts few connections at a time and has many wait for that.

    asyncio has one number for both. It accepts so many before it looks at the first of them, and so would run out of
    descriptors before room is made.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(WAITING_TO_BE_ACCEPTED)


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `since` is when its phase began, `address` where it comes from."""

    def __init__(self, *args: Any, connections: Connections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections = connections
        self.phase = Phase.WAITING
        self.since = time.monotonic()
        self.address = ""
        self._served = False
        self._header_bytes = 0
        self._body_bytes = 0
        self._method: bytes | None = None
        # When the bytes that wait to be sent last became fewer, and how many they were then.
        self._sent_at, self._unsent = self.since, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.phase is Phase.WAITING:
            self._enter(Phase.HEADERS)
            self._header_bytes = 0
        if self.phase is Phase.HEADERS:
            self._header_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserInvalidMethodError:
            self._feed_with_known_method(data)
        except httptools.HttpParserUpgrade:
            # Nothing here speaks another protocol: the request is answered as if it had not asked.
            return
        except httptools.HttpParserError as error:
            own = error.__context__
            self.refuse(own if isinstance(own, FactoryError) else MalformedRequest("the request is not valid HTTP"))
            return
        self._unset_keepalive_if_required()
        if self.phase is Phase.HEADERS and self._header_bytes > self._connections.limits.header_bytes:
            self.refuse(self._headers_too_large())

    def on_headers_complete(self) -> None:
        if sum(len(name) + len(value) for name, value in self.headers) > self._connections.limits.header_bytes:
            # The parser hands it on.
            raise self._headers_too_large()
        self._enter(Phase.BODY)
        self._body_bytes = 0
        super().on_headers_complete()
        if self._method is not None:
            self.scope["method"], self._method = self._method.decode("ascii"), None

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._enter(Phase.WORKING)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._served = True
        # Requests of a pipeline come before the answers to those before them.
        if not self.pipeline:
            self._enter(Phase.WAITING)
        super().on_response_complete()

    def overdue(self, now: float) -> str | None:
        """Let go of the connection when its time is over; why, if it was."""
        limits = self._connections.limits
        seconds = now - self.since
        if self._is_stuck(now, CLOSING_SECONDS if self.transport.is_closing() else limits.send_seconds):
            self.transport.abort()
            return "took nothing"
        if self.transport.is_closing() or seconds <= limits.header_seconds:
            return None
        if self.phase is Phase.WAITING and not self._served:
            self.transport.close()
            return "said nothing"
        if self.phase is Phase.HEADERS:
            self.refuse(RequestTooSlow(f"the headers were not there within {limits.header_seconds:g} s"))
            return "slow headers"
        if self.phase is Phase.BODY and self._body_bytes < seconds * LEAST_BODY_BYTES_PER_SECOND:
            self.refuse(RequestTooSlow(f"the body comes with less than {LEAST_BODY_BYTES_PER_SECOND} bytes a second"))
            return "slow body"
        return None

    def refuse(self, error: FactoryError) -> None:
        """Answer what has no answer yet with `error`, and close."""
        if not self.pipeline and (
            self.cycle is None or self.cycle.response_complete or not self.cycle.response_started
        ):
            body = error.body("")
            lines = [
                f"HTTP/1.1 {error.status} {error.title}",
                f"content-type: {PROBLEM_JSON}",
                f"content-length: {len(body)}",
                "connection: close",
                *(f"{name.lower()}: {value}" for name, value in error.headers.items()),
            ]
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()

    def _headers_too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(f"the headers may have {self._connections.limits.header_bytes} bytes")

    def drop(self) -> None:
        """Close at once."""
        self.transport.abort()

    def _enter(self, phase: Phase) -> None:
        self.phase, self.since = phase, time.monotonic()

    def _is_stuck(self, now: float, seconds: float) -> bool:
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent < self._unsent:
            self._sent_at = now
        self._unsent = unsent
        return unsent > 0 and now - self._sent_at > seconds

    def _feed_with_known_method(self, data: bytes) -> None:
        """Read a request whose method the parser does not know, so that it is told which ones are allowed."""
        method, space, rest = data.partition(b" ")
        if not space or not method.isalpha() or len(method) > LONGEST_METHOD:
            self.refuse(MalformedRequest("the request is not valid HTTP"))
            return
        self._method = method
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(KNOWN_METHOD + b" " + rest)
        except httptools.HttpParserError:
            self.refuse(MalformedRequest("the request is not valid HTTP"))


def most_connections(setting: int) -> int:
    """How many connections there may be: by the setting, but never more than descriptors are left for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wished = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft < wished:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wished, hard))
        soft = wished
    return max(1, min(setting, soft - RESERVED_DESCRIPTORS))
