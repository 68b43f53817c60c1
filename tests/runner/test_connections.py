"""Connections of odd clients: real sockets on the loopback against a service with short limits."""

import json
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from common.settings import ServerSettings
from tests.conftest import ROOT, Runner, run_service, wait_until

HEADER_SECONDS = 0.5
# Until the limits have surely been looked at.
BOUND_SECONDS = 15.0
REQUEST = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    log = tmp_path_factory.mktemp("strict") / "log.txt"
    settings = {"SERVER__HEADER_SECONDS": HEADER_SECONDS, "SERVER__SEND_SECONDS": 1, "WARM_UP": False}
    with run_service(log, **settings, TRUSTED_PROXIES="127.0.0.9") as running:
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
    """An answer of /health, all of it."""
    found = b""
    while not found.endswith(b"}"):
        found += of.recv(65536)
    return found


def test_the_defaults_are_those_that_are_documented() -> None:
    settings = ServerSettings()
    assert settings.header_seconds + 1 < 15
    assert settings.keep_alive_seconds > 60


def test_a_connection_that_says_nothing_is_closed(strict: Runner) -> None:
    with connect(strict) as silent:
        assert rest(silent) == b""


@pytest.mark.parametrize(
    ("begin", "status"),
    [
        (b"GET /he", 408),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX-Y: ", 408),
        (b"POST /extract HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", 408),
        (b"POST /extract HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n", 408),
    ],
)
def test_a_request_that_comes_byte_by_byte_is_told_and_closed(strict: Runner, begin: bytes, status: int) -> None:
    over = threading.Event()

    def drip(into: socket.socket) -> None:
        while not over.wait(0.1):
            try:
                into.sendall(b"x")
            except OSError:
                return

    with connect(strict) as slow:
        slow.sendall(begin)
        thread = threading.Thread(target=drip, args=(slow,))
        thread.start()
        try:
            answer = rest(slow)
        except ConnectionResetError:
            answer = b""
        finally:
            over.set()
            thread.join()
    # The answer is lost where the client still writes when the connection goes.
    if answer:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert f"HTTP/1.1 {status}".encode() in head
        assert b"connection: close" in head
        assert json.loads(body)["status"] == status
    assert httpx.get(f"{strict.url}/health").status_code == 200


def test_a_connection_is_kept_for_longer_than_headers_may_take(strict: Runner) -> None:
    with connect(strict) as kept:
        for _ in range(2):
            kept.sendall(REQUEST)
            assert b"200 OK" in until_body(kept)
            # What a proxy does: it uses the connection again after a while. The wait is what is tested here.
            time.sleep(2 * HEADER_SECONDS + 1.2)
        kept.sendall(REQUEST)
        assert b"200 OK" in until_body(kept)


def test_headers_over_the_limit_are_refused_and_never_collected(strict: Runner) -> None:
    with connect(strict) as large:
        large.sendall(b"GET /health HTTP/1.1\r\n")
        answer = b""
        try:
            for number in range(20_000):
                large.sendall(b"X-%d: %s\r\n" % (number, b"y" * 100))
        except OSError:
            pass
        with suppress(OSError):
            answer = rest(large)
    assert answer == b"" or b"HTTP/1.1 431" in answer
    response = httpx.get(f"{strict.url}/health", headers={"X-Long": "y" * 40_000})
    assert response.status_code == 431
    assert response.headers["content-type"] == "application/problem+json"
    assert httpx.get(f"{strict.url}/health", headers={"X-Long": "y" * 20_000}).status_code == 200


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /%zz\x00 HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02"]
)
def test_what_is_no_http_is_a_problem(strict: Runner, sent: bytes) -> None:
    with connect(strict) as odd:
        odd.sendall(sent)
        head, _, body = rest(odd).partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1.1 4\d\d ", head)
    assert json.loads(body)["status"] in (400, 408)


def test_pipelined_requests_are_answered_in_order(strict: Runner) -> None:
    with connect(strict) as pipelined:
        pipelined.sendall(REQUEST + b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET /health HTTP/1.0\r\n\r\n")
        answers = rest(pipelined)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"404", b"200"]


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


def address_seen(runner: Runner, source: str, **headers: str) -> str:
    """The caller that the service takes a request for, as a refusal names it in the log."""
    with httpx.Client(transport=httpx.HTTPTransport(local_address=source)) as client:
        request_id = f"seen-{source}-{len(headers)}-{time.monotonic_ns()}"
        client.get(f"{runner.url}/health", headers={"X-Request-ID": request_id, **headers})
    wait_until(lambda: request_id in runner.log_text(), "the log line is there")
    (line,) = [json.loads(line) for line in runner.log_text().splitlines() if request_id in line]
    return str(line["caller"])


def test_the_caller_is_whom_a_trusted_proxy_names_and_nobody_else_is_believed(strict: Runner) -> None:
    named = {"X-Forwarded-For": "203.0.113.7, 198.51.100.4"}
    assert address_seen(strict, "127.0.0.9", **named) == "198.51.100.4"
    assert address_seen(strict, "127.0.0.8", **named) == "127.0.0.8"
    assert address_seen(strict, "127.0.0.1", **named) == "127.0.0.1"
    assert address_seen(strict, "127.0.0.9") == "127.0.0.9"


def test_many_silent_connections_leave_room_for_others_and_little_in_the_log(tmp_path: Path) -> None:
    code = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160)); "
        f"sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['local_runner.py']; "
        f"runpy.run_path({str(ROOT / 'local_runner.py')!r}, run_name='__main__')"
    )
    environment = {"FACTORY_HOST": "127.0.0.1", "FACTORY_PORT": "0", "FACTORY_WARM_UP": "false", "PATH": "/usr/bin"}
    log = tmp_path / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=file, stderr=file, cwd=tmp_path
        )
    try:
        wait_until(lambda: b"http://127.0.0.1:" in log.read_bytes(), "the service starts", 60)
        found = re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())
        assert found
        runner = Runner(f"http://127.0.0.1:{found[1]}", process, log)
        wait_until(lambda: _answers(runner), "it answers", 60)
        with ExitStack() as opened:
            for _ in range(300):
                opened.enter_context(connect(runner))
            for _ in range(20):
                assert httpx.get(f"{runner.url}/health", timeout=5).status_code == 200
        assert log.stat().st_size < 20_000
        assert "made room for another" in log.read_text()
    finally:
        process.terminate()
        process.wait(20)


def _answers(runner: Runner) -> bool:
    try:
        return httpx.get(f"{runner.url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_descriptors_bound_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    from runner import connections

    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(connections.resource, "setrlimit", lambda _, limits: raised.append(limits))
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (256, 256))
    assert connections.most_connections(1024) == 256 - connections.RESERVED_DESCRIPTORS
    assert not raised
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    assert connections.most_connections(1024) == 1024
    assert raised == [(connections.MOST_DESCRIPTORS, resource.RLIM_INFINITY)]
