"""Connections of odd clients: real sockets on the loopback against a service with short limits."""

import json
import re
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from benchmarks.harness.service import factory, run
from common.settings import ServerSettings
from runner import connections
from tests.conftest import Runner, run_service, wait_until

HEADER_SECONDS = 0.5
# Until the limits have surely been looked at.
BOUND_SECONDS = 15.0
REQUEST = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
TEXT = b'{"text": "Tim Cook will visit Paris."}'
EXTRACT = b"POST /extract HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(TEXT)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    log = tmp_path_factory.mktemp("strict") / "log.txt"
    settings = {"SERVER__HEADER_SECONDS": HEADER_SECONDS, "SERVER__SEND_SECONDS": 1, "WARM_UP": False}
    with run_service(log, **settings, TRUSTED_PROXIES="127.0.0.9, 127.0.1.0/24") as running:
        yield running


def connect(runner: Runner, source: str = "127.0.0.1") -> socket.socket:
    url = httpx.URL(runner.url)
    opened = socket.create_connection((url.host, url.port), timeout=BOUND_SECONDS, source_address=(source, 0))
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def rest(of: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    found = b""
    while piece := of.recv(65536):
        found += piece
    return found


def until_body(of: socket.socket) -> bytes:
    """An answer of JSON, all of it."""
    found = b""
    while not found.endswith(b"}"):
        found += of.recv(65536)
    return found


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", answers)]


def refusal(answer: bytes) -> int:
    """The status of an answer that is a problem and says that the connection is closed."""
    head, _, body = answer.partition(b"\r\n\r\n")
    told = json.loads(body)
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert f"x-request-id: {told['instance']}".encode() in head
    assert f"HTTP/1.1 {told['status']} ".encode() in head
    return int(told["status"])


@contextmanager
def dripping(into: socket.socket, drop: bytes) -> Iterator[None]:
    """Somebody sends `drop` again and again meanwhile."""
    over = threading.Event()

    def drip() -> None:
        while not over.wait(0.1):
            try:
                into.sendall(drop)
            except OSError:
                return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_the_defaults_are_those_that_are_documented() -> None:
    settings = ServerSettings()
    assert settings.header_seconds + 1 < 15
    assert settings.keep_alive_seconds > 60


def test_a_connection_that_says_nothing_is_closed(strict: Runner) -> None:
    with connect(strict) as silent:
        assert rest(silent) == b""


def test_empty_lines_keep_no_connection_open(strict: Runner) -> None:
    with connect(strict) as silent, dripping(silent, b"\r\n"), suppress(ConnectionResetError):
        assert rest(silent) == b""


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /he",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-Y: ",
        b"POST /extract HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
        b"POST /extract HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
    ],
)
@pytest.mark.parametrize("before", [b"", REQUEST], ids=["first", "second"])
def test_a_request_that_comes_byte_by_byte_is_told_and_closed(strict: Runner, before: bytes, begin: bytes) -> None:
    with connect(strict) as slow:
        if before:
            slow.sendall(before)
            assert statuses(until_body(slow)) == [200]
        slow.sendall(begin)
        with dripping(slow, b"x"):
            assert refusal(rest(slow)) == 408


def test_a_slow_body_is_a_408_in_the_log(strict: Runner) -> None:
    with connect(strict) as slow:
        slow.sendall(b"POST /extract HTTP/1.1\r\nHost: x\r\nX-Request-ID: slow-1\r\nContent-Length: 5\r\n\r\n")
        assert refusal(rest(slow)) == 408
    wait_until(lambda: '"slow-1"' in strict.log_text(), "the log line is there")
    (line,) = [json.loads(line) for line in strict.log_text().splitlines() if '"slow-1"' in line]
    assert line["status"] == 408


def test_a_connection_is_kept_for_longer_than_headers_may_take(strict: Runner) -> None:
    with connect(strict) as kept:
        for _ in range(2):
            kept.sendall(REQUEST)
            assert b"200 OK" in until_body(kept)
            # What a proxy does: it uses the connection again after a while. The wait is what is tested here.
            time.sleep(2 * HEADER_SECONDS + 1.2)
        kept.sendall(REQUEST)
        assert b"200 OK" in until_body(kept)


def test_a_connection_is_closed_when_nobody_uses_it_again(tmp_path: Path) -> None:
    settings = {"SERVER__KEEP_ALIVE_SECONDS": 1, "WARM_UP": False}
    with run_service(tmp_path / "log.txt", **settings) as running, connect(running) as idle:
        idle.sendall(REQUEST)
        assert statuses(rest(idle)) == [200]


def test_headers_over_the_limit_are_refused_and_never_collected(strict: Runner) -> None:
    with connect(strict) as large:
        large.sendall(b"GET /health HTTP/1.1\r\n")
        large.sendall(b"".join(b"X-%d: %s\r\n" % (number, b"y" * 100) for number in range(2_000)))
        # It has seen the answer, not a reset, though it went on sending.
        assert refusal(rest(large)) == 431
    response = httpx.get(f"{strict.url}/health", headers={"X-Long": "y" * 40_000})
    assert response.status_code == 431
    assert response.headers["content-type"] == "application/problem+json"
    assert httpx.get(f"{strict.url}/health", headers={"X-Long": "y" * 20_000}).status_code == 200


def test_too_many_headers_are_refused(strict: Runner) -> None:
    many = b"".join(b"a%d: b\r\n" % number for number in range(101))
    with connect(strict) as odd:
        odd.sendall(b"GET /health HTTP/1.1\r\n" + many + b"\r\n")
        assert refusal(rest(odd)) == 431


def test_trailers_are_no_headers(strict: Runner) -> None:
    with connect(strict) as odd:
        odd.sendall(b"POST /extract HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        odd.sendall(b"%x\r\n%s\r\n0\r\nContent-Type: application/json\r\n\r\n" % (len(TEXT), TEXT))
        assert statuses(until_body(odd)) == [415]


def test_trailers_without_end_are_refused_and_never_collected(strict: Runner) -> None:
    with connect(strict) as odd:
        odd.sendall(b"POST /extract HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX: ")
        for _ in range(20):
            odd.sendall(b"y" * 4096)
        assert refusal(rest(odd)) == 431


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /%zz\x00 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /extract HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /extract HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /extract HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
def test_what_is_no_http_is_a_problem(strict: Runner, sent: bytes) -> None:
    with connect(strict) as odd:
        odd.sendall(sent)
        assert refusal(rest(odd)) == 400


def test_pipelined_requests_are_answered_in_order(strict: Runner) -> None:
    with connect(strict) as pipelined:
        pipelined.sendall(REQUEST + b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET /health HTTP/1.0\r\n\r\n")
        answers = rest(pipelined)
    assert statuses(answers) == [200, 404, 200]


def test_many_pipelined_requests_are_all_answered(strict: Runner) -> None:
    last = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with connect(strict) as pipelined:
        thread = threading.Thread(target=pipelined.sendall, args=(REQUEST * 999 + last,))
        thread.start()
        found = statuses(rest(pipelined))
        thread.join()
    assert found == [200] * 999 + [404]


def test_what_is_no_http_is_refused_after_the_answers_before_it(strict: Runner) -> None:
    with connect(strict) as odd:
        odd.sendall(REQUEST + b"nonsense\r\n\r\n")
        assert statuses(rest(odd)) == [200, 400]


@pytest.mark.parametrize("before", [b"", b"\r\n"], ids=["alone", "after an empty line"])
def test_an_unknown_method_is_told_which_ones_are_allowed(strict: Runner, before: bytes) -> None:
    with connect(strict) as odd:
        odd.sendall(before + b"BREW /health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = until_body(odd)
    assert statuses(answer) == [405]
    assert b"allow: GET" in answer.lower().replace(b"get", b"GET")


def test_a_request_before_an_unknown_method_runs_once(strict: Runner) -> None:
    with connect(strict) as odd:
        odd.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\nX-Request-ID: once-1\r\n\r\n") + b"BREW / HTTP/1.1\r\n\r\n")
        assert statuses(rest(odd)) == [200, 400]
    wait_until(lambda: '"once-1"' in strict.log_text(), "the log line is there")
    assert httpx.get(f"{strict.url}/health", headers={"X-Request-ID": "later-1"}).status_code == 200
    wait_until(lambda: '"later-1"' in strict.log_text(), "the log line of a later one is there")
    assert strict.log_text().count('"once-1"') == 1


@pytest.mark.parametrize("cut", [0, 5, len(TEXT)])
def test_who_offers_another_protocol_is_answered_in_this_one(strict: Runner, cut: int) -> None:
    """As Java's client and `curl --http2` do, with the body in the same piece or in others."""
    upgrade = EXTRACT + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    with connect(strict) as client:
        client.sendall(upgrade + TEXT[:cut])
        client.sendall(TEXT[cut:])
        assert statuses(until_body(client)) == [200]
        client.sendall(upgrade + TEXT + REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert statuses(rest(client)) == [200, 200]


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0"])
def test_an_offer_of_another_protocol_leaves_chunks_what_they_are(strict: Runner, protocol: bytes) -> None:
    offer = b"Connection: Upgrade\r\nUpgrade: " + protocol
    head = b"POST /extract HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    chunks = b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (TEXT[:5], len(TEXT) - 5, TEXT[5:])
    with connect(strict) as client:
        client.sendall(head + offer + b"\r\n\r\n" + chunks[:20])
        client.sendall(chunks[20:])
        assert statuses(until_body(client)) == [200]
        client.sendall(REQUEST)
        assert statuses(until_body(client)) == [200]
        client.sendall(head + offer + b"\r\n\r\nno length\r\n")
        assert refusal(rest(client)) == 400


def test_who_never_reads_an_answer_is_let_go(strict: Runner) -> None:
    with connect(strict) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(0.2)
        for _ in range(400):
            try:
                deaf.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
            except OSError:
                break
        wait_until(lambda: _is_closed(deaf), "the connection is closed", BOUND_SECONDS)


def _is_closed(of: socket.socket) -> bool:
    try:
        of.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        return True
    except OSError:
        return False
    return False


def test_many_silent_connections_leave_room_for_others_and_little_in_the_log(tmp_path: Path) -> None:
    with run(factory({"WARM_UP": False}), tmp_path / "log.txt", descriptors=160) as runner:
        with ExitStack() as opened, httpx.Client() as kept:
            for _ in range(300):
                opened.enter_context(connect(runner, "127.0.0.2"))
            for _ in range(20):
                assert httpx.get(f"{runner.url}/health", timeout=5).status_code == 200
                # Another address has more connections: this one is kept.
                assert kept.get(f"{runner.url}/health", timeout=5).status_code == 200
        assert runner.log.stat().st_size < 20_000
        assert "made room for another" in runner.log_text()


def test_descriptors_bound_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    assert connections.most_connections(1024, 128) == 128
    assert connections.most_connections(1024, 200) == 128, "some are left for connections"
    assert not raised
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    assert connections.most_connections(1024, 128) == 1024
    assert raised == [(1152, resource.RLIM_INFINITY)]


def test_a_limit_that_the_system_does_not_let_be_raised_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 100_000))
    assert connections.most_connections(1024, 128) == 128
