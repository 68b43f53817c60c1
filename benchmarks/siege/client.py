"""A light HTTP client over raw sockets: two hundred of them share the cores of the service that they measure."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

WAIT_SECONDS = 120.0


@dataclass(frozen=True)
class Answer:
    """`status` 0: no answer came. `seconds` until its end, `first` until its first byte."""

    status: int
    headers: dict[str, str]
    body: bytes
    first: float
    seconds: float


@dataclass(frozen=True)
class Address:
    host: str
    port: int


def request(method: str, path: str, body: object = None, **headers: str) -> bytes:
    """The bytes of a request; underscores in the names of headers stand for hyphens."""
    content = b"" if body is None else json.dumps(body).encode()
    told = {"Host": "127.0.0.1", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body is not None:
        told |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items()), "", ""]
    return "\r\n".join(lines).encode() + content


class Client:
    """One connection, kept alive and opened anew when it is gone. `source` is the address that it comes from."""

    def __init__(self, service: Address, source: str = "127.0.0.1") -> None:
        self._service, self._source = service, source
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, sent: bytes, seconds: float = WAIT_SECONDS) -> Answer:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                return await self._ask(sent, begun)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await self.close()
            return Answer(0, {}, b"", 0.0, time.monotonic() - begun)

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _ask(self, sent: bytes, begun: float) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                self._service.host, self._service.port, local_addr=(self._source, 0)
            )
        reader, writer = self._streams
        writer.write(sent)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        first = time.monotonic() - begun
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await self._body(reader, headers)
        if headers.get("connection") == "close":
            await self.close()
        return Answer(int(head[0].split()[1]), headers, body, first, time.monotonic() - begun)

    async def _body(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return await reader.readexactly(int(headers["content-length"]))
        chunks = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            chunks.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b"".join(chunks)


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of them are; nan of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def milliseconds(values: list[float], *shares: float) -> str:
    return " / ".join(f"{1000 * percentile(values, share):.0f}" for share in shares)


def counted(answers: list[Answer]) -> str:
    """How many answers of each status: `200: 31, 503: 4`."""
    statuses: dict[Any, int] = {}
    for answer in answers:
        statuses[answer.status or "none"] = statuses.get(answer.status or "none", 0) + 1
    return ", ".join(f"{status}: {number}" for status, number in sorted(statuses.items(), key=str)) or "nothing"
