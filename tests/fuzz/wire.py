"""Requests as bytes, sent as they are, and what is wrong with an answer whatever was sent.

python -m tests.fuzz.wire PORT < FILE
"""

import json
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

ADDRESS = "127.0.9.1"
GIVE_UP_SECONDS = 40.0
DOCUMENTED = {502, 503, 504}
PROBLEM = "application/problem+json"
# An error that is longer repeats what was sent.
MOST_ERROR_BYTES = 16_384


@dataclass
class Reply:
    """`status` 0: none. `timed_out`: neither an answer nor the end of the connection came."""

    status: int = 0
    head: str = ""
    body: bytes = b""
    timed_out: bool = False
    seconds: float = 0.0

    def header(self, name: str) -> str:
        found = re.search(rf"\r\n{name}: *([^\r]*)", self.head, re.IGNORECASE)
        return found[1] if found else ""

    def ends_with(self, body: bytearray) -> bool:
        """Whether `body` is all of it."""
        if length := self.header("content-length"):
            return len(body) >= int(length)
        return self.header("transfer-encoding") == "chunked" and body.endswith(b"0\r\n\r\n")


def exchange(port: int, data: bytes, *, address: str = ADDRESS, silence_seconds: float = GIVE_UP_SECONDS) -> Reply:
    """Send `data` and take the answer, or what there is of it when the time is over.

    When nothing has come for `silence_seconds` the client says that it will send no more, and waits on.
    """
    reply, begun = Reply(), time.monotonic()
    received = bytearray()
    with closing(socket.socket()) as sock:
        sock.bind((address, 0))
        sock.settimeout(GIVE_UP_SECONDS)
        try:
            sock.connect(("127.0.0.1", port))
            sock.sendall(data)
        except OSError:
            pass
        for part in _parts(sock, begun, silence_seconds, reply):
            received += part
            if not reply.status:
                _read_head(received, reply)
            if reply.status and reply.ends_with(received):
                break
    reply.body = bytes(received)
    reply.seconds = time.monotonic() - begun
    return reply


def _parts(sock: socket.socket, begun: float, silence_seconds: float, reply: Reply) -> Iterator[bytes]:
    half_closed = False
    while True:
        left = GIVE_UP_SECONDS - (time.monotonic() - begun)
        if left <= 0:
            reply.timed_out = True
            return
        try:
            sock.settimeout(left if half_closed else min(left, silence_seconds))
            if not (part := sock.recv(65536)):
                return
            yield part
        except TimeoutError:
            if half_closed:
                continue
            half_closed = True
            if not reply.status:
                try:
                    sock.shutdown(socket.SHUT_WR)
                except OSError:
                    return
        except OSError:
            return


def _read_head(received: bytearray, reply: Reply) -> None:
    """Takes the head out of `received`, once it is there; an interim answer is followed by another."""
    while (end := received.find(b"\r\n\r\n")) >= 0 and received.startswith(b"HTTP/1."):
        head = received[:end].decode("latin-1")
        del received[: end + 4]
        if not head[9:12].startswith("1"):
            reply.head, reply.status = head, int(head[9:12])
            return


def wrong(reply: Reply) -> str | None:
    """Why an answer must not be, to any request; None when it may be."""
    if reply.timed_out:
        return f"no whole answer in {GIVE_UP_SECONDS:.0f} s"
    if reply.status >= 500 and reply.status not in DOCUMENTED:
        return f"status {reply.status}"
    if "injected" in reply.head.lower():
        return "a header of the caller's is in the answer"
    location = reply.header("location")
    if 300 <= reply.status < 400 and reply.status != 304 and not location.startswith("/"):
        return f"a redirect to {location[:80]!r}"
    if reply.status < 400:
        return None
    if len(reply.body) > MOST_ERROR_BYTES:
        return f"an error of {len(reply.body)} bytes"
    return None if _is_servers_own(reply) else _wrong_problem(reply)


def _is_servers_own(reply: Reply) -> bool:
    """What is no HTTP, or too much of it, reaches no application: the server refuses it by itself."""
    kinds = ("text/plain", PROBLEM)
    return (
        reply.status in (400, 408, 414, 431, 503)
        and reply.header("content-type").startswith(kinds)
        and not reply.header("x-request-id")
    )


def main() -> None:
    """Send what is on standard input, and show the answer."""
    reply = exchange(int(sys.argv[1]), sys.stdin.buffer.read(), silence_seconds=1.0)
    print(reply.head or "no answer", reply.body[:1000], f"{reply.seconds:.2f} s", wrong(reply) or "", sep="\n")


def _wrong_problem(reply: Reply) -> str | None:
    if not reply.header("content-type").startswith(PROBLEM):
        return f"status {reply.status} without problem details: {reply.header('content-type')!r}"
    if not reply.header("x-request-id"):
        return f"status {reply.status} without X-Request-ID"
    if not reply.body:
        return None
    try:
        problem = json.loads(reply.body)
    except ValueError:
        # Cut by the closing of the connection, or in chunks.
        return None
    if problem.get("status") != reply.status or not problem.get("detail"):
        return f"problem details without status or detail: {reply.body[:200]!r}"
    return None


if __name__ == "__main__":
    main()
