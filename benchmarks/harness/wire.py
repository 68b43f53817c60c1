"""A client of HTTP/1.1 that costs little: raw streams, one connection a request, requests that are made beforehand.

What the clients take of the CPUs, the service does not have. So nothing is parsed that is not looked at.
"""

import asyncio
import itertools
import json
import math
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

READ_BYTES = 65536
# Of a body that is not looked at no more is remembered.
KEPT_BYTES = 65536
RESET = struct.pack("ii", 1, 0)

Chunks = Sequence[bytes]


@dataclass(slots=True)
class Reply:
    """What came of one request. Seconds count from before the connection was asked for; `status` 0 is none at all."""

    status: int = 0
    first_seconds: float = math.inf  # the first byte of the body
    seconds: float = math.inf  # the last
    size: int = 0
    head: str = ""
    body: bytes = b""
    error: str = ""

    def header(self, name: str) -> str:
        """The value in lower case, or nothing."""
        for line in self.head.split("\r\n"):
            key, _, value = line.partition(":")
            if key == name:
                return value.strip()
        return ""


def request(
    path: str, body: object = None, *, method: str = "", keep_alive: bool = False, **headers: str
) -> tuple[bytes, ...]:
    """The bytes of a request; `body` goes as JSON, or as it is where it is bytes."""
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method or ('GET' if body is None else 'POST')} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if not keep_alive:
        lines.append("Connection: close")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(raw)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "\r\n"]).encode(), raw


def long_request(path: str, opening: str, text: bytes, **fields: object) -> tuple[bytes, ...]:
    """A request whose `text` begins with `opening` and goes on with `text`, which many requests may share uncopied."""
    members = json.dumps({**fields, "text": opening}).encode().removesuffix(b'"}')
    length = len(members) + len(text) + 2
    head, _ = request(path, b"", Content_Length=str(length))
    return head.replace(b"Content-Length: 0\r\n", b"", 1) + members, text, b'"}'


class Addresses:
    """Addresses of the loopback network for callers to come from: all different, or all one."""

    def __init__(self, one_address: bool) -> None:
        self._one_address = one_address
        self._numbers = itertools.count(2)

    def new(self) -> str:
        number = 2 if self._one_address else next(self._numbers)
        return f"127.0.{number // 250}.{number % 250 + 1}"

    def some(self, count: int) -> list[str]:
        return [self.new() for _ in range(count)]


async def connect(port: int, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))


async def ask(port: int, address: str, chunks: Chunks, give_up_seconds: float = 120.0) -> Reply:
    """Send a request that has `Connection: close`, and take all of its answer."""
    reply, begun = Reply(), time.monotonic()
    try:
        async with asyncio.timeout(give_up_seconds):
            reader, writer = await connect(port, address)
            try:
                writer.writelines(chunks)
                await _read(reader, reply, begun)
            finally:
                writer.close()
    except TimeoutError:
        reply.error = f"nothing for {give_up_seconds:.0f} s" if not reply.status else "not whole in time"
    except OSError as error:
        # A refusal may come, and the connection go, before all of the request is written.
        reply.error = "" if reply.status >= 400 else type(error).__name__
    reply.seconds = time.monotonic() - begun
    return reply


async def _read(reader: asyncio.StreamReader, reply: Reply, begun: float) -> None:
    head, tail = bytearray(), b""
    while b"\r\n\r\n" not in head:
        if not (data := await reader.read(READ_BYTES)):
            reply.error = "closed without an answer"
            return
        head += data
    raw, _, data = bytes(head).partition(b"\r\n\r\n")
    reply.head = raw.decode("latin-1").lower()
    reply.status = int(reply.head.split(maxsplit=2)[1])
    while data or (data := await reader.read(READ_BYTES)):
        reply.first_seconds = min(reply.first_seconds, time.monotonic() - begun)
        reply.size += len(data)
        tail = (tail + data)[-5:]
        if len(reply.body) < KEPT_BYTES:
            reply.body += data[: KEPT_BYTES - len(reply.body)]
        data = b""
    if reply.header("transfer-encoding") == "chunked" and tail != b"0\r\n\r\n":
        reply.error = "cut"


class KeptAlive:
    """One connection for one request after another, each once the answer before it is whole."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.reply = Reply()  # the last, as far as it has come; without its body

    @classmethod
    async def open(cls, port: int, address: str = "127.0.0.1") -> Self:
        return cls(*await connect(port, address))

    def close(self) -> None:
        self._writer.close()

    async def ask(self, chunks: Chunks) -> Reply:
        reply, begun = Reply(), time.monotonic()
        self.reply = reply
        self._writer.writelines(chunks)
        reply.head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        reply.status = int(reply.head.split(maxsplit=2)[1])
        if reply.header("transfer-encoding") == "chunked":
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                await self._take(size, begun)
                await self._reader.readexactly(2)
            await self._reader.readexactly(2)
        else:
            await self._take(int(reply.header("content-length") or 0), begun)
        reply.seconds = time.monotonic() - begun
        return reply

    async def _take(self, size: int, begun: float) -> None:
        while size:
            if not (data := await self._reader.read(size)):
                raise asyncio.IncompleteReadError(b"", size)
            self.reply.first_seconds = min(self.reply.first_seconds, time.monotonic() - begun)
            self.reply.size += len(data)
            size -= len(data)


async def ask_and_vanish(port: int, address: str, chunks: Chunks, seconds: float, *, reset: bool) -> None:
    """Send a request and be gone after `seconds`, by a reset or an orderly end."""
    with suppress(OSError):
        _, writer = await connect(port, address)
        writer.writelines(chunks)
        await asyncio.sleep(seconds)
        if reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        writer.close()


async def ask_and_read_slowly(port: int, address: str, chunks: Chunks, seconds: float, step_seconds: float) -> None:
    """Take a hundred bytes of the answer each `step_seconds`, for `seconds`; or nothing when that is infinite."""
    with suppress(OSError):
        sock = small_socket(address)
        sock.setblocking(False)
        with sock:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, b"".join(chunks))
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                await asyncio.sleep(min(step_seconds, until - time.monotonic()))
                if step_seconds < seconds:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(step_seconds):
                            if not await loop.sock_recv(sock, 100):
                                return


def small_socket(address: str) -> socket.socket:
    """One whose buffer for what comes is as small as the system allows."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.bind((address, 0))
    return sock


def numbered(prefix: str) -> Iterator[str]:
    """Openings that no two texts share, so that nothing is answered from what was kept."""
    return (f"{prefix} {number:07}: " for number in itertools.count(1))
