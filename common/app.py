"""The one place that builds a FastAPI app, so that a function behaves the same behind uvicorn, Mangum and a test."""

import asyncio
import json
import logging
import os
import random
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common import logs
from common.bodies import BodyLimit
from common.callers import begin_flow, caller_of
from common.errors import (
    AnswerTooLarge,
    ClientDisconnected,
    FactoryError,
    FieldError,
    InvalidInput,
    MalformedRequest,
    Unavailable,
    UnsupportedMediaType,
)
from common.problems import PROBLEM_JSON, http_problem_response, problem_response, unexpected
from common.settings import load_settings

logger = logging.getLogger(__name__)

SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
# An error names so many fields; of the others it gives the number.
MOST_FIELD_ERRORS = 20
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {"description": "Any error: RFC 9457 problem details", "content": {PROBLEM_JSON: {}}}
}

# Lambda takes an answer of 6 MB. In JSON one character becomes six at most.
MAX_LAMBDA_BYTES = 6 * 1024 * 1024
LONGEST_ESCAPE = 6

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(*routers: APIRouter, title: str = "The Factory", lifespan: Lifespan | None = None) -> FastAPI:
    """An app that serves `routers` and answers every error as problem+json.

    FastAPI's own documentation pages are off: they load their scripts from a CDN and stay blank without one.
    """
    app = FastAPI(title=title, docs_url=None, redoc_url=None, lifespan=lifespan, responses=PROBLEM_RESPONSES)
    # A redirect would name whatever host the request came with. A slash at the end is answered as without it.
    app.router.redirect_slashes = False
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(FactoryError, _on_factory_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestScope)
    return app


class LambdaHandler:
    """Mangum, with a clear answer in place of one that Lambda would not take."""

    def __init__(self, app: FastAPI) -> None:
        """On Lambda, reads the settings: bad ones fail the start with their reason (InvalidSettings)."""
        if "AWS_LAMBDA_RUNTIME_API" in os.environ:
            load_settings()
        # Problem details travel as text: not every gateway decodes base64 by itself. `lifespan` would run on every
        # invocation.
        # It has a log line of its own for each request, beside ours.
        logging.getLogger("mangum.http").setLevel(logging.WARNING)
        self._mangum = Mangum(app, lifespan="off", text_mime_types=[*DEFAULT_TEXT_MIME_TYPES, PROBLEM_JSON])

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._mangum(event, context)
        # Most answers are far from the limit and need no count.
        if len(answer.get("body") or "") * LONGEST_ESCAPE < MAX_LAMBDA_BYTES:
            return answer
        size = len(json.dumps(answer))
        if size <= MAX_LAMBDA_BYTES:
            return answer
        error = AnswerTooLarge(
            f"the answer would have {size} bytes, AWS Lambda sends {MAX_LAMBDA_BYTES} at most: "
            f"send the text in {size // MAX_LAMBDA_BYTES + 1} parts"
        )
        # A load balancer may want, and then gets, each header as a list.
        lists = answer.get("multiValueHeaders") or {}
        told = answer.get("headers") or {name: values[0] for name, values in lists.items()}
        request_id = next((value for name, value in told.items() if name.lower() == "x-request-id"), "")
        logs.access.warning("request %s: %s", request_id, error)
        headers = {"content-type": PROBLEM_JSON, "x-request-id": request_id}
        problem: dict[str, Any] = {"statusCode": error.status, "body": json.dumps(error.problem(request_id))}
        if "headers" in answer:
            problem["headers"] = headers
        if lists:
            problem["multiValueHeaders"] = {name: [value] for name, value in headers.items()}
        return {**answer, **problem, "isBase64Encoded": False}


def create_handler(app: FastAPI) -> LambdaHandler:
    """What AWS Lambda invokes."""
    return LambdaHandler(app)


@asynccontextmanager
async def cancelled_on_disconnect(request: Request) -> AsyncIterator[None]:
    """Cancel the block when the client goes away; it then raises ClientDisconnected.

    The request's body must have been read before.
    """
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
        if gone:
            # It left in the very last step: its cancellation has been asked for and comes with the next one.
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        logs.trace().left = True
        raise ClientDisconnected("the client closed the connection") from None
    finally:
        # Not waited for, as that would cost a turn of the event loop: a watcher that is cancelled here goes no further.
        watcher.cancel()


class RequestScope:
    """Outermost of ours: request id, `Server-Timing`, the log line, and an answer for what nobody else caught.

    HEAD is GET without the body (RFC 9110, 9.3.2), and a slash at the end of a path means nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.monotonic()
        method, scope = scope["method"], _plain(scope)
        offered = Headers(scope=scope).get("x-request-id", "")
        caller = begin_flow(caller_of(scope)).caller
        trace = logs.begin_trace(offered if SANE_REQUEST_ID.fullmatch(offered) else _new_request_id(), caller)
        answer = _Answer(trace, method == "HEAD", send)
        try:
            await self.app(scope, receive, answer.send)
        except asyncio.CancelledError:
            # The server is told to stop and has waited for as long as it may.
            if not answer.status:
                stopped = Unavailable("the service is being stopped", 1)
                await problem_response(stopped, scope)(scope, receive, answer.send)
            raise
        except Exception as error:
            if not answer.status:
                await problem_response(unexpected(), scope)(scope, receive, answer.send)
            elif not _is_told_by_returning(error, scope):
                raise
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            total_ms = (time.monotonic() - begun) * 1000
            # A stream's status was sent before its client left.
            shown = ClientDisconnected.status if trace.left else answer.status
            logs.log_request(trace, method=method, route=route, status=shown, total_ms=total_ms)


class _Answer:
    """What is sent for one request; `status` is 0 until it has begun."""

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
    # Starlette wraps what it has a handler for and cannot answer any more.
    reason = error.__cause__ if isinstance(error, RuntimeError) else error
    if not isinstance(reason, FactoryError):
        unexpected()
        return False
    logger.warning("request %s was cut: %s", logs.trace().request_id, reason)
    return "aws.context" not in scope


async def _on_factory_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FactoryError)
    return problem_response(error, request.scope)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return http_problem_response(error, request.scope)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem_response(_invalid(request, error), request.scope)


def _invalid(request: Request, error: RequestValidationError) -> FactoryError:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return MalformedRequest(f"body: not valid JSON at character {first['loc'][-1]}")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if first["loc"] == ("body",) and media_type != "application/json":
        return UnsupportedMediaType("body: send JSON with the header Content-Type: application/json")
    found = error.errors()
    named = [_field_error(item) for item in found[:MOST_FIELD_ERRORS]]
    if len(found) > len(named):
        named.append(FieldError("body", f"{len(found) - len(named)} more errors of this kind"))
    return InvalidInput(named)


def _field_error(item: dict[str, Any]) -> FieldError:
    """What pydantic found, without the rejected input: that may be an article."""
    inner = item["loc"][1:] if len(item["loc"]) > 1 else item["loc"]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in inner).lstrip(".")
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        message = "unknown field"
    if item["type"] == "string_unicode":
        message = "must be valid Unicode, without lone surrogates"
    return FieldError(field[:100], message)
