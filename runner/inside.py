"""A request to the app from within the process: through the same doors as one of the same caller from outside."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Scope

# What says who the caller is, how long it waits, and what its request belongs to.
PASSED_ON = ("host", "authorization", "x-api-key", "prefer", "traceparent", "tracestate")
# Messages of an answer that are made before they are read.
MOST_AHEAD = 4
LEAVING_SECONDS = 10.0


class Inside:
    """One request and its answer. `is_whole`: all of the answer has been read."""

    def __init__(self, body: bytes) -> None:
        self.status = 0
        self.headers = Headers()
        self.is_whole = False
        self._body: bytes | None = body
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(MOST_AHEAD)
        self._left = asyncio.Event()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The answer's body as it comes. It ends early where the answer breaks off."""
        while not self.is_whole and (message := await self._messages.get()) is not None:
            self.is_whole = not message.get("more_body", False)
            yield message.get("body", b"")

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._send)
        finally:
            if not self._left.is_set():
                await self._messages.put(None)

    async def begun(self) -> None:
        """Wait for status and headers."""
        message = await self._messages.get()
        if message is not None:
            self.status, self.headers = message["status"], Headers(raw=message["headers"])

    def leave(self) -> None:
        """As a client that closes its connection: the app is told, and what it still sends is thrown away."""
        self._left.set()
        while not self._messages.empty():
            self._messages.get_nowait()

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if not self._left.is_set():
            await self._messages.put(message)


@asynccontextmanager
async def asked(app: ASGIApp, outer: Scope, path: str, body: object, headers: dict[str, str]) -> AsyncIterator[Inside]:
    """The answer to `POST path` with `body` as JSON, for the caller of the request `outer`.

    Whoever leaves the block before the answer's end has left the request, whose work then ends.
    """
    request = Inside(json.dumps(body).encode())
    # In a task of its own, so that the trace and the flow of this request are not changed.
    task = asyncio.create_task(request.run(app, _scope(outer, path, headers)))
    try:
        await request.begun()
        yield request
    finally:
        if not request.is_whole:
            request.leave()
        # Also when it is cancelled: no work goes on that nobody waits for.
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task], timeout=LEAVING_SECONDS)
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        # Why an answer was cut is in the log already.
        if not task.cancelled():
            task.exception()


def _scope(outer: Scope, path: str, headers: dict[str, str]) -> Scope:
    told = {"content-type": "application/json", **headers}
    passed_on = {name.encode("latin-1") for name in PASSED_ON if name not in told}
    raw = [(name, value) for name, value in outer["headers"] if name in passed_on]
    raw += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in told.items()]
    return {
        "type": "http",
        "asgi": outer["asgi"],
        "http_version": "1.1",
        "method": "POST",
        "scheme": outer["scheme"],
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": raw,
        "client": outer.get("client"),
        "server": outer.get("server"),
    }
