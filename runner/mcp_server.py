"""The server of the Model Context Protocol behind /mcp. Imports the package `mcp`: only where the door is open.

It keeps no session: each request stands for itself, so there is nothing that strangers could fill. Clients of protocols
before 2026 get a session id all the same, and it is forgotten: they cancel a call by a request of its own, which by the
id is known to be from the same client.
"""

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import anyio
from fastapi import FastAPI, Request, Response
from mcp.server.caching import CacheHint
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import REQUEST_CANCELLED
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)
from sse_starlette.sse import AppStatus
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from common import logs
from common.settings import get_settings
from common.version import VERSION
from runner.mcp_tools import TOOLS, Context

PATH = "/mcp"
INSTRUCTIONS = (
    "Summaries of news articles, named entities and speech, made on this server's own models. "
    "Its errors say what to change; one that tells a number of seconds is to be tried again after them."
)
# The tools change with the version only.
LISTED_MILLISECONDS = 600_000
SESSION, VERSION_HEADER = "mcp-session-id", "mcp-protocol-version"
LOOPBACK = ("localhost", "127.0.0.1", "::1")

# The calls at work, by session id and number.
_at_work: dict[tuple[str, str], anyio.CancelScope] = {}


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[None]:
    """/mcp is a route of `app` within the block."""
    # It has lines for what strangers send; there is one in the access log already.
    logging.getLogger("mcp").setLevel(logging.ERROR)
    # It would cut what is under way as soon as the service is told to stop.
    AppStatus.enable_automatic_graceful_drain = False
    manager = StreamableHTTPSessionManager(
        app=new_server(), stateless=True, max_request_body_size=get_settings().max_body_bytes
    )

    async def mcp(request: Request) -> Response:
        check_origin(request)
        return _Handed(manager)

    # A GET would open a stream on which nothing ever comes: without sessions there is POST alone.
    app.add_api_route(PATH, mcp, methods=["POST"], include_in_schema=False)
    route = app.router.routes[-1]
    try:
        async with manager.run():
            yield
    finally:
        app.router.routes.remove(route)


def new_server() -> Server[dict[str, Any]]:
    server: Server[dict[str, Any]] = Server(
        "segmento-factory",
        version=VERSION,
        title="The Factory",
        instructions=INSTRUCTIONS,
        cache_hints={"tools/list": CacheHint(ttl_ms=LISTED_MILLISECONDS, scope="public")},
        get_tool_input_schema=lambda name: TOOLS[name].listed.input_schema if name in TOOLS else None,
        on_list_tools=_list_tools,
        on_call_tool=_call_tool,
    )
    # In place of its own, which makes spans: those of the requests are made elsewhere.
    server.middleware = [_cancels]
    return server


def check_origin(request: Request) -> None:
    """Raises HTTPException for a page of another host, which may have made a browser believe that this is its own.

    Clients that are no pages send no Origin. The name in Host says nothing here: behind a proxy it may be any.
    """
    if (origin := request.headers.get("origin")) is None:
        return
    try:
        is_here = urlsplit(origin).hostname in LOOPBACK
    except ValueError:
        is_here = False
    if not is_here:
        raise HTTPException(403, "this door is not for pages of other hosts")


async def _list_tools(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
    return ListToolsResult(tools=[tool.listed for tool in TOOLS.values()])


async def _call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
    if (tool := TOOLS.get(params.name)) is None:
        raise MCPError(INVALID_PARAMS, f"unknown tool {params.name[:100]!r}; there are {', '.join(TOOLS)}")
    call = _call(context, context.request_id)
    with anyio.CancelScope() as work:
        if call is not None:
            _at_work[call] = work
        try:
            return await tool.call(context, params.arguments or {})
        finally:
            if call is not None and _at_work.get(call) is work:
                del _at_work[call]
    raise MCPError(REQUEST_CANCELLED, "the client has cancelled the request")


async def _cancels(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """End the call that the client names; see the module's docstring."""
    if ctx.method == "notifications/cancelled" and ctx.params is not None:
        call = _call(ctx, ctx.params.get("requestId"))
        if call is not None and call in _at_work:
            _at_work[call].cancel()
    return await call_next(ctx)


def _call(context: ServerRequestContext[Any, Any], request_id: object) -> tuple[str, str] | None:
    """What a call is known by: the session id that the client was given, and its own number. None without the first."""
    session = context.request.headers.get(SESSION) if context.request is not None else None
    return (session, repr(request_id)) if session else None


class _Handed(Response):
    """The answer is the session manager's. Who leaves before its end is noted for the log."""

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        super().__init__()
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        trace, is_whole = logs.trace(), False
        headers = Headers(scope=scope)
        begins_session = SESSION not in headers and VERSION_HEADER not in headers

        async def watched() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and not is_whole:
                trace.left = True
            return message

        async def sent(message: Message) -> None:
            nonlocal is_whole
            if message["type"] == "http.response.start" and begins_session:
                MutableHeaders(scope=message)[SESSION] = secrets.token_hex(16)
            is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        await self._manager.handle_request(scope, watched, sent)
