"""One connection: uvicorn's protocol on httptools, with limits that it does not have.

    waiting ──> headers ──> body ──> working ──> waiting ..
       └───────────┴─────────┴──────────┴──> closing

Who says nothing, or a byte a second, or takes nothing of an answer, is let go. One request is read at a time: what
follows it on the connection is not parsed before its answer is there.
"""

import asyncio
import socket
import struct
import time
import uuid
from enum import Enum
from typing import Any

import httptools
from uvicorn import Config, Server
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from common.callers import caller_of, connection_begins, connection_ends
from common.errors import FactoryError, HeadersTooLarge, MalformedRequest, RequestTooSlow, Unavailable
from common.http.bodies import LINGER_BYTES, LINGER_SECONDS
from common.http.problems import PROBLEM_JSON
from runner.connections import Connections
from runner.corked import CorkedTransport

# To be given to uvicorn as `backlog`.
ACCEPTED_AT_ONCE = 16
WAITING_TO_BE_ACCEPTED = 1024
# The parser is given so much at a time: as many short requests as fit in it are there at once, at most.
PIECE_BYTES = 4096
# What has come beside a request that is at work, until no more is read.
MOST_HELD_BYTES = 65_536
MOST_HEADERS = 100
# The methods that llhttp knows do not include every word; an unknown one is read as this one and then named again.
KNOWN_METHOD = b"TRACE"
LONGEST_METHOD = 32
FRAMING = (b"content-length", b"transfer-encoding")
INTERNET = (socket.AF_INET, socket.AF_INET6)
# Linux, struct tcp_info: tcpi_bytes_acked.
TCP_INFO_BYTES_ACKED = struct.Struct("=Q")
TCP_INFO_OFFSET = 120


class Phase(Enum):
    """What a connection is at."""

    WAITING = "no byte of a request is there"
    HEADERS = "a request has begun"
    BODY = "its headers are there, its body is not"
    WORKING = "it is being answered"
    CLOSING = "it was refused; what still comes is thrown away"


class BoundedServer(Server):
    """uvicorn's server, which accepts few connections at a time and has many wait for that.

    asyncio has one number for both. It accepts so many before it looks at the first of them, and so would run out of
    descriptors before room is made. When it does run out, it reports each try.
    """

    def __init__(self, config: Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(WAITING_TO_BE_ACCEPTED)

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if str(context.get("message", "")).startswith("socket.accept()"):
            self._connections.out_of_descriptors()
        else:
            loop.default_exception_handler(context)


class BoundedProtocol(HttpToolsProtocol):
    """`since` is when the phase began, `address` where the connection comes from: of IPv6 the network."""

    def __init__(self, *args: Any, connections: Connections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections = connections
        self.phase = Phase.WAITING
        self.since = time.monotonic()
        self.address = ""
        self._served = False
        # Of a request that is at work, what came after it.
        self._held = b""
        self._refusal: FactoryError | None = None
        # Bytes since the parser has last handed on a body, or all headers.
        self._unparsed_bytes = 0
        # Bytes that came after the answer, or after a refusal.
        self._unwanted_bytes = 0
        self._method: bytes | None = None
        self._begun_requests = 0
        self._is_replaying = False
        # When the reader last took something, and how much it had taken then.
        self._taken_at, self._taken = self.since, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = CorkedTransport(transport, self.loop)
        self.flow = _Flow(transport, self)
        self.address = caller_of({"client": self.client})
        connection_begins(self.client)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        connection_ends(self.client)
        self._connections.remove(self)
        self._held = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.phase is Phase.CLOSING:
            self._throw_away(len(data))
            return
        self._held += data
        self._parse_held()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._connections.falls_behind(self)

    def resume_writing(self) -> None:
        self._connections.catches_up(self)
        super().resume_writing()

    @property
    def is_full(self) -> bool:
        """So much is there already that no more should be read."""
        return len(self._held) >= MOST_HELD_BYTES or bool(self.pipeline)

    @property
    def is_at_work(self) -> bool:
        """A request that is there in whole has no answer yet."""
        if self.pipeline:
            return True
        return self.cycle is not None and not self.cycle.response_complete and self.phase is not Phase.BODY

    def _parse_held(self) -> None:
        data, self._held = self._held, b""
        at = 0
        while at < len(data) and self._takes_more():
            if self.is_at_work:
                self._held = data[at:]
                break
            self._parse(data[at : at + PIECE_BYTES])
            at += PIECE_BYTES
        if self.is_full:
            self.flow.pause_reading()

    def _takes_more(self) -> bool:
        return not self.transport.is_closing() and self._refusal is None and self.phase is not Phase.CLOSING

    def _go_on(self) -> None:
        """Read what follows the request that has been answered."""
        self._parse_held()
        # A body is read further when the application asks for it.
        if self.phase is not Phase.BODY:
            self.flow.resume_reading()

    def _parse(self, piece: bytes) -> None:
        self._unparsed_bytes += len(piece)
        begun = self._begun_requests
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserInvalidMethodError:
            if self._begun_requests != begun + 1 or self._unparsed_bytes != len(piece):
                self.refuse(MalformedRequest("the request is not valid HTTP"))
                return
            self._parse_with_known_method(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(piece[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            own = error.__context__
            self.refuse(own if isinstance(own, FactoryError) else MalformedRequest("the request is not valid HTTP"))
            return
        if self._unparsed_bytes > self._connections.limits.header_bytes:
            self.refuse(self._headers_too_large())

    def on_message_begin(self) -> None:
        if self._is_replaying:
            return
        self._begun_requests += 1
        self._enter(Phase.HEADERS)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self.phase is Phase.HEADERS:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # After the body they are trailers, which nobody has asked for.
        if self.phase is Phase.HEADERS:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_replaying:
            return
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._connections.limits.header_bytes or len(self.headers) > MOST_HEADERS:
            # The parser hands it on.
            raise self._headers_too_large()
        self._enter(Phase.BODY)
        self._unparsed_bytes = self._unwanted_bytes = 0
        super().on_headers_complete()
        if self._method is not None:
            self.scope["method"], self._method = self._method.decode("ascii"), None

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        if self.cycle.response_complete:
            self._throw_away(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            # The parser thinks so because another protocol was asked for: the body is still to come.
            return
        super().on_message_complete()
        self._unparsed_bytes = 0
        if self.cycle.response_complete:
            self._wait()
        else:
            self._enter(Phase.WORKING)
            self._connections.works(self)

    def on_response_complete(self) -> None:
        self._served = True
        super().on_response_complete()
        # Silence is measured in `overdue`: a timer for each answer would keep what has long been closed.
        self._unset_keepalive_if_required()
        if self.pipeline or (self.cycle is not None and not self.cycle.response_complete):
            return
        if self._refusal is not None:
            self.refuse(self._refusal)
            return
        # The next request may have begun: its time begins now.
        self._enter(Phase.WAITING if self.phase is Phase.WORKING else self.phase)
        self._connections.waits(self)
        if self._held:
            self.loop.call_soon(self._go_on)

    def overdue(self, now: float) -> str | None:
        """Let go of the connection when its time is over; why, if it was."""
        seconds = now - self.since
        limits = self._connections.limits
        if self._is_stuck(now, limits.send_seconds) or (self.phase is Phase.CLOSING and seconds > LINGER_SECONDS):
            self.transport.abort()
            return None if self.phase is Phase.CLOSING else "took nothing"
        if self.transport.is_closing() or self.phase is Phase.CLOSING or self.is_at_work:
            return None
        return self._overdue_request(seconds)

    def _overdue_request(self, seconds: float) -> str | None:
        limits = self._connections.limits
        if self.phase is Phase.WAITING:
            if seconds > (self.timeout_keep_alive if self._served else limits.header_seconds):
                self.transport.close()
                return None if self._served else "said nothing"
        elif seconds > limits.header_seconds:
            if self.phase is Phase.HEADERS:
                self.refuse(RequestTooSlow(f"the headers were not there within {limits.header_seconds:g} s"))
                return "slow headers"
            # How fast a body has to come is the application's to say, until it has answered.
            if self.cycle.response_complete:
                self.transport.close()
                return "slow body"
        return None

    def refuse(self, error: FactoryError) -> None:
        """Answer with `error`, after the answers that are under way, and close."""
        self._held = b""
        if self.phase is Phase.CLOSING:
            return
        if self.is_at_work:
            self._refusal = error
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_answer(error, self.server_state.default_headers))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._enter(Phase.CLOSING)
        self._unwanted_bytes = 0
        self.flow.resume_reading()
        self.transport.write_eof()
        # These are counted by who refuses it.
        if not isinstance(error, RequestTooSlow | Unavailable):
            self._connections.count(error.title.lower())

    def drop(self) -> None:
        """Close at once."""
        self.transport.abort()

    def unsent_bytes(self) -> int:
        return self.transport.get_write_buffer_size()

    def _headers_too_large(self) -> HeadersTooLarge:
        most = self._connections.limits.header_bytes
        return HeadersTooLarge(f"there may be {MOST_HEADERS} headers, of {most} bytes together")

    def _enter(self, phase: Phase) -> None:
        self.phase, self.since = phase, time.monotonic()

    def _wait(self) -> None:
        self._enter(Phase.WAITING)
        self._connections.waits(self)

    def _throw_away(self, size: int) -> None:
        self._unwanted_bytes += size
        if self._unwanted_bytes > LINGER_BYTES:
            self.transport.abort()

    def _is_stuck(self, now: float, seconds: float) -> bool:
        """Bytes wait to be sent, and for so long the reader has taken none."""
        if not self.unsent_bytes():
            self._taken_at = now
            return False
        taken = self._acknowledged_bytes()
        if taken != self._taken:
            self._taken_at, self._taken = now, taken
        return now - self._taken_at > seconds

    def _acknowledged_bytes(self) -> int:
        """What the reader's side has taken. Our own buffer does not tell it: the system's is megabytes large."""
        connection = self.transport.get_extra_info("socket")
        if not hasattr(socket, "TCP_INFO") or getattr(connection, "family", None) not in INTERNET:
            return -self.unsent_bytes()
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_OFFSET + TCP_INFO_BYTES_ACKED.size)
        if len(info) < TCP_INFO_OFFSET + TCP_INFO_BYTES_ACKED.size:
            return -self.unsent_bytes()
        (acknowledged,) = TCP_INFO_BYTES_ACKED.unpack_from(info, TCP_INFO_OFFSET)
        return int(acknowledged)

    def _parse_with_known_method(self, piece: bytes) -> None:
        """Read a request whose method the parser does not know, so that it is told which ones are allowed."""
        method, space, rest = piece.lstrip(b"\r\n").partition(b" ")
        if not space or not method.isalpha() or len(method) > LONGEST_METHOD:
            self.refuse(MalformedRequest("the request is not valid HTTP"))
            return
        self._method = method
        self.parser = httptools.HttpRequestParser(self)
        self._unparsed_bytes = 0
        self._parse(KNOWN_METHOD + b" " + rest)

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Nothing here speaks another protocol: the request is answered as if it had not asked for one.

        The parser believes that all that follows is in the other protocol. Another one is told where the body ends.
        """
        framing = [b"%s: %s\r\n" % (name, value) for name, value in self.headers if name in FRAMING]
        self.parser = httptools.HttpRequestParser(self)
        self._is_replaying = True
        try:
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % b"".join(framing))
        finally:
            self._is_replaying = False
        if rest:
            self._parse(rest)


class _Flow(FlowControl):
    """Reads no more while so much is there that it would only be kept."""

    def __init__(self, transport: asyncio.Transport, connection: BoundedProtocol) -> None:
        super().__init__(transport)
        self._connection = connection

    def resume_reading(self) -> None:
        if not self._connection.is_full:
            super().resume_reading()


def _answer(error: FactoryError, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """`error` as an answer to a request that the application never sees."""
    request_id = uuid.uuid4().hex
    body = error.body(request_id)
    lines = [
        f"HTTP/1.1 {error.status} {error.title}",
        *(f"{name.decode()}: {value.decode()}" for name, value in default_headers),
        f"content-type: {PROBLEM_JSON}",
        f"content-length: {len(body)}",
        f"x-request-id: {request_id}",
        "connection: close",
        *(f"{name.lower()}: {value}" for name, value in error.headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
