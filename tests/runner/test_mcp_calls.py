"""Calls of tools by the official client, to routes of the tests in place of the functions."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import httpx2
import pytest
import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from starlette.types import Receive, Scope, Send

from common.callers import flow
from common.errors import QueueFull
from common.http.app import create_app
from common.http.disconnects import cancelled_on_disconnect
from common.logs import trace
from runner.mcp_server import PATH, serving
from runner.mcp_tools import MOST_JSON_BYTES
from tests.conftest import wait_until

ERAS = ["auto", "legacy"]
ENDLESS = {
    "jsonrpc": "2.0",
    "id": 5,
    "method": "tools/call",
    "params": {"name": "extract", "arguments": {"text": "endless"}},
}
WHOLE = {"entities": [], "inference_time_ms": 0, "words": 0, "windows": 0, "model": "none"}

seen: list[dict[str, Any]] = []
at_work = threading.Event()
left = threading.Event()
routes = APIRouter()


@routes.post("/extract")
async def extract(request: Request) -> Response:
    names = ("authorization", "x-api-key", "prefer", "traceparent", "x-forwarded-for", "cookie")
    found = {name: request.headers[name] for name in names if name in request.headers}
    seen.append({**found, "caller": flow().caller, "id": trace().request_id})
    body = await request.json()
    if body["text"] == "busy":
        raise QueueFull("extract: as many requests wait as may", 7)
    if body["text"] == "broken":
        raise RuntimeError("a secret")
    if body["text"] == "cut":
        return StreamingResponse(cut())
    if body["text"] == "large":
        return Response(json.dumps({**WHOLE, "model": "x" * MOST_JSON_BYTES}))
    if body["text"] == "endless":
        await endless(request)
    if body["text"] == "lingering":
        return Lingering(request)
    return Response(json.dumps(WHOLE))


class Lingering(Response):
    """Has something to do after its end, while it still watches for the client's leaving."""

    def __init__(self, request: Request) -> None:
        super().__init__(json.dumps(WHOLE))
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with cancelled_on_disconnect(self._request):
            await super().__call__(scope, receive, send)
            for _ in range(20):
                await asyncio.sleep(0)
        seen.append({"left": trace().left})


async def cut() -> AsyncIterator[bytes]:
    yield b'{"entities'
    raise QueueFull("in the middle", 1)


async def endless(request: Request) -> None:
    try:
        async with cancelled_on_disconnect(request):
            at_work.set()
            await asyncio.Event().wait()
    finally:
        left.set()


@routes.post("/summarize")
async def summarize(request: Request) -> Response:
    body = await request.json()
    assert body["stream"] is True

    async def events() -> AsyncIterator[bytes]:
        yield b'event: status\ndata: {"state": "waiting", "place": 2, "seconds": 14.2}\n\n'
        yield b": still at work\n\nevent: tok"
        yield b'en\ndata: {"text": "Ein Vogel."}\n\n'
        if body["text"] == "endless":
            await endless(request)
        yield b'event: error\ndata: {"title": "Temporarily unavailable", "detail": "no time"}\n\n'

    return StreamingResponse(events(), media_type="text/event-stream")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The door with these routes behind it, over real connections."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with serving(app):
            yield

    app = create_app(routes, lifespan=lifespan)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws="none")
    listener = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    wait_until(lambda: server.started, "it has started")
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listener.close()


@contextlib.asynccontextmanager
async def client(url: str, era: str = "auto", headers: dict[str, str] | None = None) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(url + PATH, http_client=http), mode=era) as connected,
    ):
        yield connected


def ask(url: str, text: str, headers: dict[str, str] | None = None, **options: Any) -> CallToolResult:
    async def asking() -> CallToolResult:
        async with client(url, headers=headers) as connected:
            return await connected.call_tool("extract", {"text": text}, **options)

    seen.clear()
    return asyncio.run(asking())


def sentence(result: CallToolResult) -> str:
    assert result.is_error
    first = result.content[0]
    assert isinstance(first, TextContent)
    return first.text


def test_a_call_is_the_callers_own_with_its_keys(url: str) -> None:
    headers = {
        "authorization": "Bearer abc",
        "x-api-key": "def",
        "prefer": "wait=5",
        "cookie": "no=1",
        "x-forwarded-for": "198.51.100.1",
        "x-request-id": "desk-1",
    }
    assert not ask(url, "Paris", headers).is_error
    passed_on = {"authorization": "Bearer abc", "x-api-key": "def", "prefer": "wait=5"}
    # The caller is whom the proxy in front told, which is not read a second time.
    assert seen == [{**passed_on, "caller": "198.51.100.1", "id": "desk-1"}]


def test_the_callers_trace_goes_on_in_a_call(url: str) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    ask(url, "Paris", meta={"traceparent": parent})
    assert seen[0]["traceparent"] == parent


def test_who_is_refused_is_told_when_to_come_back(url: str) -> None:
    result = ask(url, "busy")
    assert sentence(result).endswith("Try again in 7 s.")
    details = result.content[1]
    assert isinstance(details, TextContent)
    assert json.loads(details.text)["retry_after"] == 7


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("broken", "Internal error: the service failed to answer"),
        ("cut", "the answer broke off"),
        ("large", f"more than {MOST_JSON_BYTES} bytes"),
    ],
)
def test_a_call_that_fails_here_says_so_and_no_more(url: str, text: str, reason: str) -> None:
    result = ask(url, text)
    assert reason in sentence(result)
    assert "secret" not in str(result)


def test_who_has_read_an_answer_to_its_end_has_not_left(url: str) -> None:
    assert not ask(url, "lingering").is_error
    assert seen[-1] == {"left": False}


def test_progress_tells_what_the_model_is_at_and_an_error_at_the_end_is_told(url: str) -> None:
    told: list[str | None] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        told.append(message)

    async def asking() -> CallToolResult:
        async with client(url) as connected:
            return await connected.call_tool("summarize", {"text": "a"}, progress_callback=progress)

    assert sentence(asyncio.run(asking())) == "Temporarily unavailable: no time"
    assert told[0] == "waiting, place 2, about 14 s"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("tool", ["extract", "summarize"])
def test_a_call_that_is_cancelled_ends_its_work_while_the_client_stays(url: str, era: str, tool: str) -> None:
    at_work.clear()
    left.clear()

    async def progress(progress: float, total: float | None, message: str | None) -> None: ...

    async def asking() -> None:
        async with client(url, era) as connected:
            listening = progress if tool == "summarize" else None
            running = asyncio.create_task(connected.call_tool(tool, {"text": "endless"}, progress_callback=listening))
            assert await asyncio.to_thread(at_work.wait, 10)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert await asyncio.to_thread(left.wait, 10)

    asyncio.run(asking())


def test_a_cancellation_in_another_session_ends_nothing(url: str) -> None:
    at_work.clear()
    left.clear()
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2025-11-25",
        "mcp-session-id": "a",
    }
    notice = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
    with httpx.stream("POST", url + PATH, json=ENDLESS, headers=headers, timeout=20) as answer:
        assert at_work.wait(10)
        for other in ({**headers, "mcp-session-id": "b"}, {k: v for k, v in headers.items() if k != "mcp-session-id"}):
            assert httpx.post(url + PATH, json=notice, headers=other).status_code == 202
        assert not left.wait(0.2)
        assert httpx.post(url + PATH, json=notice, headers=headers).status_code == 202
        assert "cancelled" in answer.read().decode()
    assert left.wait(10)


def test_a_client_that_is_gone_ends_the_work_for_it(url: str) -> None:
    at_work.clear()
    left.clear()
    headers = {"accept": "application/json, text/event-stream"}
    with httpx.stream("POST", url + PATH, json=ENDLESS, headers=headers, timeout=20):
        assert at_work.wait(10)
    assert left.wait(10)


def test_the_door_can_be_opened_again() -> None:
    app = create_app(routes)

    async def open_and_close() -> None:
        async with serving(app):
            assert PATH in [getattr(route, "path", "") for route in app.routes]

    for _ in range(2):
        asyncio.run(open_and_close())
    assert PATH not in [getattr(route, "path", "") for route in app.routes]
