"""Who makes room for whom, without sockets; and what one connection keeps."""

import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from common.errors import FactoryError
from common.http.bodies import LINGER_BYTES
from runner.connections import BETWEEN_LINES_SECONDS, Connections, Limits
from runner.corked import MOST_JOINED_BYTES, CorkedTransport
from runner.protocol import MOST_HELD_BYTES, PIECE_BYTES, BoundedProtocol, Phase

SHORTEST = b"GET / HTTP/1.1\r\n\r\n"


def limits(connections: int = 4, unsent_bytes: int = 100) -> Limits:
    return Limits(10, 120, 32_768, connections, unsent_bytes)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Loop:
    def call_later(self, *_: object) -> None: ...


class Guest:
    """A connection that does nothing."""

    loop: Any = Loop()

    def __init__(self, address: str, unsent: int = 0) -> None:
        self.address, self.unsent, self.end = address, unsent, ""

    def overdue(self, _: float) -> str | None:
        return None

    def refuse(self, error: FactoryError) -> None:
        self.end = str(error.status)

    def drop(self) -> None:
        self.end = self.end or "dropped"

    def unsent_bytes(self) -> int:
        return self.unsent


def full(*addresses: str) -> tuple[Connections, list[Guest]]:
    """As many connections as there may be, each a second after the one before."""
    clock = Clock()
    connections = Connections(limits(len(addresses)), clock)
    guests = [Guest(address) for address in addresses]
    for guest in guests:
        clock.now += 1
        connections.add(guest)
    clock.now += 1
    return connections, guests


def ends(guests: list[Guest]) -> list[str]:
    return [guest.end for guest in guests]


def test_the_longest_idle_of_the_address_with_most_makes_room() -> None:
    connections, guests = full("b", *["a"] * 10)
    connections.works(guests[1])
    connections.waits(guests[1])
    connections.add(Guest("c"))
    assert [guest for guest in guests if guest.end] == [guests[2]]
    assert len(connections) == 11


def test_what_is_open_at_work_and_closed_is_told_from_the_start(caplog: pytest.LogCaptureFixture) -> None:
    connections, guests = full("a", "a", "a")
    connections.works(guests[2])
    assert (len(connections), connections.at_work) == (3, 1)
    with caplog.at_level(logging.WARNING):
        connections.add(Guest("b"))
    # The log has had its line, and begins anew.
    assert caplog.records
    assert connections.closed == {"made room for another": 1}
    guests[2].unsent = 7
    connections.falls_behind(guests[2])
    assert connections.unsent_bytes == 7


def test_a_second_connection_of_an_honest_address_goes_before_nobody_who_has_waited_longer() -> None:
    connections, guests = full("silent", "other", "honest", "honest")
    connections.add(Guest("new"))
    assert ends(guests) == ["dropped", "", "", ""]


def test_nobody_at_work_makes_room_and_the_newcomer_is_told() -> None:
    connections, guests = full("a", "a")
    for guest in guests:
        connections.works(guest)
    newcomer = Guest("b")
    connections.add(newcomer)
    assert ends([*guests, newcomer]) == ["", "", "503"]
    assert len(connections) == 2


def test_a_crowd_of_one_address_takes_nothing_from_another() -> None:
    connections, guests = full("honest", *["crowd"] * 10)
    for _ in range(50):
        connections.add(Guest("crowd"))
    assert guests[0].end == ""
    assert len(connections) == 11


def test_an_answer_that_is_still_taken_is_not_cut_for_room() -> None:
    connections, guests = full("a", "a")
    guests[0].unsent = 10
    connections.add(Guest("b"))
    assert ends(guests) == ["", "dropped"]


def test_of_too_much_that_nobody_takes_the_largest_of_the_largest_address_goes() -> None:
    connections, guests = full("a", "a", "b", "c")
    for guest, unsent in zip(guests, (30, 40, 45, 1), strict=True):
        guest.unsent = unsent
        connections.falls_behind(guest)
    assert ends(guests) == ["", "dropped", "", ""]


def test_the_log_has_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    clock = Clock()
    connections = Connections(limits(1), clock)
    for number in range(1000):
        clock.now = number * BETWEEN_LINES_SECONDS / 250
        connections.add(Guest("a"))
    assert len(caplog.records) == 4
    assert "made room for another: 250" in caplog.text


def test_without_a_descriptor_some_make_room() -> None:
    connections, guests = full("a", "a", "a")
    connections.out_of_descriptors()
    assert "dropped" in ends(guests)


class Transport(asyncio.Transport):
    """A client's end that takes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.ended, self.closing, self.paused, self.unsent = b"", False, False, False, 0
        self.writes: list[bytes] = []

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def write(self, data: Any) -> None:
        self.written += bytes(data)
        self.writes.append(bytes(data))

    def write_eof(self) -> None:
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class App:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        await self.let.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


def opened(app: App) -> tuple[BoundedProtocol, Transport]:
    config = uvicorn.Config(app, log_config=None, proxy_headers=False, lifespan="off", ws="none")
    loop = asyncio.get_running_loop()
    protocol = BoundedProtocol(config, ServerState(), {}, loop, connections=Connections(limits(unsent_bytes=1_000_000)))
    transport = Transport()
    protocol.connection_made(transport)
    return protocol, transport


async def settled() -> None:
    for _ in range(3000):
        await asyncio.sleep(0)


def test_what_comes_beside_a_request_at_work_is_kept_within_a_bound_and_answered() -> None:
    async def scenario() -> None:
        app = App()
        protocol, transport = opened(app)
        sent = 0
        while not transport.paused:
            protocol.data_received(SHORTEST * 100)
            sent += 100
        assert sent * len(SHORTEST) < MOST_HELD_BYTES + PIECE_BYTES + 100 * len(SHORTEST)
        assert len(protocol.tasks) == 1
        assert len(protocol.pipeline) <= PIECE_BYTES // len(SHORTEST)
        app.let.set()
        while transport.written.count(b"200 OK") < sent:
            await settled()
        assert not transport.paused

    asyncio.run(scenario())


def test_who_goes_on_sending_after_a_refusal_is_cut_after_a_while() -> None:
    async def scenario() -> None:
        protocol, transport = opened(App())
        protocol.data_received(b"nonsense\r\n\r\n")
        assert b" 400 " in transport.written
        assert transport.ended
        assert not transport.closing
        for _ in range(LINGER_BYTES // 65_536 + 1):
            protocol.data_received(b"x" * 65_536)
        assert transport.closing

    asyncio.run(scenario())


@pytest.mark.parametrize(("seconds", "closed"), [(1.0, False), (3.0, True)])
def test_who_stays_after_a_refusal_is_cut_after_a_while(seconds: float, closed: bool) -> None:
    async def scenario() -> None:
        protocol, transport = opened(App())
        protocol.data_received(b"nonsense\r\n\r\n")
        protocol.overdue(protocol.since + seconds)
        assert transport.closing is closed

    asyncio.run(scenario())


def test_a_request_at_work_is_not_timed_and_its_reader_is() -> None:
    async def scenario() -> None:
        protocol, transport = opened(App())
        protocol.data_received(SHORTEST)
        # The head of the next request stands for a client that has begun to ask for more.
        protocol.data_received(b"GET /he")
        assert protocol.overdue(protocol.since + 3600) is None
        transport.unsent = 10
        assert protocol.overdue(protocol.since + 3601) is None
        assert protocol.overdue(protocol.since + 3700) is None
        transport.unsent = 5
        assert protocol.overdue(protocol.since + 3800) is None
        assert protocol.overdue(protocol.since + 3921) == "took nothing"
        assert transport.closing

    asyncio.run(scenario())


def test_nothing_is_kept_of_a_connection_that_was_reset_after_its_answer() -> None:
    async def scenario() -> None:
        app = App()
        app.let.set()
        protocol, _ = opened(app)
        protocol.data_received(SHORTEST)
        await settled()
        assert protocol.phase is Phase.WAITING
        protocol.connection_lost(ConnectionResetError())
        kept = weakref.ref(protocol)
        del protocol, _
        await settled()
        gc.collect()
        assert kept() is None

    asyncio.run(scenario())


def test_the_head_of_an_answer_is_sent_with_what_follows_and_nothing_more_is_held() -> None:
    async def scenario() -> None:
        plain = Transport()
        corked = CorkedTransport(plain, asyncio.get_running_loop())
        corked.write(b"head")
        assert corked.get_write_buffer_size() == 4
        corked.write(b"body")
        assert plain.writes == [b"headbody"]
        corked.write(b"alone")
        await asyncio.sleep(0)
        assert plain.writes == [b"headbody", b"alone"]
        large = b"x" * (MOST_JOINED_BYTES + 1)
        corked.write(b"head")
        corked.write(large)
        corked.write(b"last")
        corked.close()
        assert plain.writes[2:] == [b"head", large, b"last"]
        assert plain.closing

    asyncio.run(scenario())


def test_what_is_held_goes_nowhere_once_the_connection_is_gone() -> None:
    async def scenario() -> None:
        plain = Transport()
        corked = CorkedTransport(plain, asyncio.get_running_loop())
        corked.write(b"head")
        corked.abort()
        await asyncio.sleep(0)
        assert plain.writes == []

    asyncio.run(scenario())
