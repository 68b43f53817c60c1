"""Around every request: its id and caller, `Server-Timing`, line in the log, metrics, answer to what is unexpected."""

import asyncio
import logging
import random
import re
import time
from collections.abc import Sequence

from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common import keys, logs, metrics
from common.callers import begin_flow, caller_of, holder_of
from common.errors import ClientDisconnected, FactoryError, Unavailable
from common.http import tracing
from common.http.keys import routed_path
from common.http.problems import problem_response

logger = logging.getLogger(__name__)

UNMATCHED = "unmatched"
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


class RequestScope:
    """The outermost middleware of ours.

    HEAD is GET without the body (RFC 9110, 9.3.2), and a slash at the end of a path means nothing.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[APIRoute] = ()) -> None:
        """`routes`: what a request is for that is refused before any of them is reached."""
        self.app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.monotonic()
        method, scope = scope["method"], _plain(scope)
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")
        caller = _begin_flow(scope, headers)
        trace = logs.begin_trace(request_id if SANE_REQUEST_ID.fullmatch(request_id) else _new_request_id(), caller)
        answer = _Answer(trace, method == "HEAD", send)
        metrics.in_progress.inc()
        try:
            await self.app(scope, receive, answer.send)
        finally:
            route = self._template(scope)
            ended = time.monotonic()
            seconds = ended - begun
            # A stream's status was sent before its client left.
            shown = ClientDisconnected.status if trace.left else answer.status
            logs.log_request(trace, method=method, route=route, status=shown, total_ms=seconds * 1000)
            metrics.in_progress.dec()
            metrics.request_ended(trace, method=method, route=route, status=shown, seconds=seconds)
            tracing.record(trace, scope, method=method, route=route, status=shown, begun=begun, ended=ended)

    def _template(self, scope: Scope) -> str:
        """The path of the route, as it is declared."""
        if "route" not in scope:
            refused = next((route for route in self._routes if route.path_regex.match(routed_path(scope))), None)
            return UNMATCHED if refused is None else refused.path
        return getattr(scope["route"], "path", UNMATCHED)


class UnexpectedErrors:
    """Answers for what nobody else has answered for. Within what adds headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except asyncio.CancelledError:
            # The server is told to stop and has waited for as long as it may.
            if not has_begun:
                stopped = Unavailable("the service is being stopped", 1)
                await problem_response(stopped, scope)(scope, receive, send)
            raise
        except Exception as error:
            if not has_begun:
                await problem_response(logs.unexpected(), scope)(scope, receive, send)
            elif not _is_told_by_returning(error, scope):
                raise


def _begin_flow(scope: Scope, headers: Headers) -> str:
    """Name the caller: by its key, if there is such a key, else by its address."""
    key = keys.matching(keys.offered(headers)) if keys.are_set() else None
    if key is None:
        return begin_flow(caller_of(scope), holder_of(scope)).caller
    return begin_flow(key.name, holder_of(scope, has_key=True), key.weight).caller


class _Answer:
    """The answer to one request. `status` is 0 until the answer has begun."""

    def __init__(self, trace: logs.Trace, is_head: bool, send: Send) -> None:
        self.status = 0
        self._trace = trace
        self._is_head = is_head
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._trace.request_id
            if self._trace.phases:
                headers["Server-Timing"] = self._trace.server_timing()
        elif self._is_head:
            message = {**message, "body": b""}
        await self._send(message)


def _new_request_id() -> str:
    # Not a secret: the system is not asked for its randomness.
    return f"{random.getrandbits(128):032x}"


def _plain(scope: Scope) -> Scope:
    if scope["method"] != "HEAD" and not (scope["path"].endswith("/") and scope["path"] != "/"):
        return scope
    path = scope["path"].rstrip("/") or "/"
    plain = {**scope, "path": path, "method": "GET" if scope["method"] == "HEAD" else scope["method"]}
    if path != scope["path"] and scope.get("raw_path") is not None:
        plain["raw_path"] = scope["raw_path"].rstrip(b"/") or b"/"
    return plain


def _is_told_by_returning(error: Exception, scope: Scope) -> bool:
    """Log why half an answer is all there is; whether the client sees it when the app returns, without a raise.

    The connection has to be broken rather than ended as if the answer were whole. A server breaks it when an app
    returns in the middle of an answer; Mangum would take that for the end.
    """
    # If the answer has begun, Starlette wraps the exceptions for which it has a handler.
    reason = error.__cause__ if isinstance(error, RuntimeError) else error
    if not isinstance(reason, FactoryError):
        logs.trace().problem = logs.unexpected().slug
        return False
    logs.trace().problem = reason.slug
    logger.warning("request %s was cut: %s", logs.trace().request_id, reason)
    return "aws.context" not in scope
