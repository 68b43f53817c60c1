"""A loopback double of the service, without models, that can be made to refuse, to fail and to be away. In a test:

    with FactoryDouble() as factory:
        factory.rules.append(refuse_every_second)
        factory.url, factory.calls, factory.texts  # what came, answered or not, and what was answered

By hand: `python -m tests.doubles.factory_double --refuse-every-second` serves until it is ended.
"""

import argparse
import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

MP3 = b"\xff\xfb" + bytes(6000 - 2)  # a second, to one who counts bytes
VTT = b"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nspoken\n"


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    fields: dict[str, Any]
    # How many are there, with this one; and how many came before it.
    at_work: int
    number: int


@dataclass
class Reply:
    """`cut`: so many bytes of the body are sent, then the connection is broken. `seconds`: before anything is."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    cut: int | None = None
    seconds: float = 0.0


# The reply of the first rule that has one is sent.
Rule = Callable[[Request], Reply | None]


def problem(status: int, detail: str = "", **headers: str) -> Reply:
    told = {"type": "urn:problem-type:factory:test", "title": "Told so", "status": status, "detail": detail}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(told).encode(), {"Content-Type": "application/problem+json", **named})


def refuse_every_second(request: Request) -> Reply | None:
    """Whoever asks: half of all calls."""
    return problem(503, "no room", Retry_After="0") if request.number % 2 else None


def places(most: int, seconds: float, retry_after: str = "1") -> Rule:
    """An answer takes so long, and whoever comes while `most` are there is refused."""

    def rule(request: Request) -> Reply | None:
        if request.at_work > most:
            return problem(503, "no room", Retry_After=retry_after)
        reply = answer(request)
        reply.seconds = seconds
        return reply

    return rule


def answer(request: Request) -> Reply:
    """As the service would, by the shape of it."""
    if request.path == "/audio":
        captions = "vtt" in request.headers.get("accept", "")
        told = {"Content-Type": "text/vtt" if captions else "audio/mpeg", "X-Audio-Engine": "piper"}
        return Reply(200, VTT if captions else MP3, {**told, "X-Audio-Voice": "piper:double"})
    if request.path == "/summarize":
        text = request.fields["text"]
        usage = {"prompt_tokens": len(text.split()), "completion_tokens": 5}
        found = {"summary": text[:40], "model": "double", "usage": usage, "condensed": len(text) > 5000}
        return Reply(body=json.dumps(found).encode())
    result = {"entities": [], "words": 7, "windows": 1}
    if "texts" in request.fields:
        found = {"results": [result for _ in request.fields["texts"]], "model": "double"}
    else:
        found = {**result, "model": "double"}
    return Reply(body=json.dumps(found).encode())


class FactoryDouble:
    """`calls` counts what came, by path; `texts` what was answered with 200, by path and text."""

    def __init__(self, port: int = 0, *rules: Rule, keeps_texts: bool = True) -> None:
        self.rules = list(rules)
        self.calls: Counter[str] = Counter()
        self.texts: Counter[tuple[str, str]] = Counter()
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.most_at_work = 0
        self.health: dict[str, Any] = {"status": "healthy", "models": {}}
        self.port = port
        self._keeps_texts = keeps_texts
        self._at_work = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="factory-double", daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self.come()
        return self

    def __exit__(self, *_: object) -> None:
        self.go()
        self._wait(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def come(self) -> None:
        """Listen, on the same port each time."""
        self._server = self._wait(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]

    def go(self) -> None:
        """Be away: nothing listens, and every connection is broken."""

        async def close() -> None:
            if self._server is not None:
                self._server.close()
                self._server = None
            for writer in self._writers:
                writer.transport.abort()

        self._wait(close())

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._answer(reader, writer):
                    pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = head[0].split()[1]
        if path.startswith("/health"):
            await self._send(writer, Reply(body=json.dumps(self.health).encode()))
            return True
        request = Request(path, headers, json.loads(body), self._at_work + 1, self.calls.total())
        self.calls[path] += 1
        self.headers.append(headers) if self._keeps_texts else None
        self._at_work += 1
        self.most_at_work = max(self.most_at_work, self._at_work)
        try:
            reply = next(filter(None, (rule(request) for rule in self.rules)), None) or answer(request)
            await asyncio.sleep(reply.seconds)
        finally:
            self._at_work -= 1
        if reply.status == 200 and reply.cut is None and self._keeps_texts:
            fields = request.fields
            self.texts.update((path, text) for text in fields.get("texts", [fields.get("text", "")]))
        await self._send(writer, reply)
        return reply.cut is None

    async def _send(self, writer: asyncio.StreamWriter, reply: Reply) -> None:
        lines = [f"HTTP/1.1 {reply.status} Told", f"Content-Length: {len(reply.body)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        writer.write("\r\n".join([*lines, "\r\n"]).encode("latin-1") + reply.body[: reply.cut])
        await writer.drain()


def main() -> None:
    parser = argparse.ArgumentParser(description="A double of the service on the loopback.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--refuse-every-second", action="store_true", help="with Retry-After: 0")
    parser.add_argument("--places", type=int, help="refuse, with Retry-After: 1, whoever comes over so many")
    parser.add_argument("--seconds", type=float, default=0.02, help="that an answer takes, where there are places")
    given = parser.parse_args()
    rules: list[Rule] = [refuse_every_second] if given.refuse_every_second else []
    rules += [places(given.places, given.seconds)] if given.places else []
    with FactoryDouble(given.port, *rules, keeps_texts=False) as double:
        print(double.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
