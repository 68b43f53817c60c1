"""The one place that builds a FastAPI app, so that a function behaves the same behind uvicorn, Mangum and a test."""

import asyncio
import json
import logging
import os
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common import logs
from common.callers import begin_flow, caller_of
from common.errors import (
    AnswerTooLarge,
    ClientDisconnected,
    FactoryError,
    FieldError,
    InvalidInput,
    MalformedRequest,
    PayloadTooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from common.settings import get_settings, load_settings

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
# After a body over the limit, this much more of it is read and thrown away, so that a client which sends before it
# reads sees the 413 and not a reset connection.
LINGER_BYTES = 4 * 1024 * 1024
LINGER_SECONDS = 2.0

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


class ForeignRoute(APIRoute):
    """A route whose clients look for errors in members of their own, beside those of problem+json."""

    @staticmethod
    def problem_members(error: FactoryError) -> dict[str, Any]:
        raise NotImplementedError


def unexpected() -> FactoryError:
    """What a caller is told of the exception that is being handled; the log gets the whole of it."""
    logger.exception("request %s failed", logs.trace().request_id)
    return FactoryError("the service failed to answer; the log has the reason under this request id")


class RequestScope:
    """Outermost of ours: request id, `Server-Timing`, the log line, and an answer for what nobody else caught."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.monotonic()
        offered = Headers(scope=scope).get("x-request-id", "")
        begin_flow(caller_of(scope))
        trace = logs.begin_trace(offered if SANE_REQUEST_ID.fullmatch(offered) else uuid.uuid4().hex)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = trace.request_id
                if trace.phases:
                    headers["Server-Timing"] = trace.server_timing()
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except asyncio.CancelledError:
            # The server is told to stop and has waited for as long as it may.
            if not status:
                await _problem(Unavailable("the service is being stopped", 1))(scope, receive, send_with_headers)
            raise
        except Exception as error:
            if not status:
                await _problem(unexpected())(scope, receive, send_with_headers)
            elif not _is_told_by_returning(error, scope):
                raise
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            total_ms = (time.monotonic() - begun) * 1000
            # A stream's status was sent before its client left.
            shown = ClientDisconnected.status if trace.left else status
            logs.log_request(trace, method=scope["method"], route=route, status=shown, total_ms=total_ms)


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


class BodyLimit:
    """Reads the body up to `max_body_bytes` and hands it on whole; over that the answer is 413, while it arrives."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = get_settings().max_body_bytes
        declared = Headers(scope=scope).get("content-length", "0")
        too_large = declared.isdecimal() and int(declared) > limit
        body = bytearray()
        more = True
        while more and not too_large:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            too_large = len(body) > limit
        if too_large:
            await _refuse_body(PayloadTooLarge(f"body: may be at most {limit} bytes"), more, receive, send)
            return

        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self.app(scope, replay, send)


async def _refuse_body(error: PayloadTooLarge, more: bool, receive: Receive, send: Send) -> None:
    response = _problem(error, {"Connection": "close"})
    await send({"type": "http.response.start", "status": error.status, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    if more:
        await _discard(receive)
    await send({"type": "http.response.body", "body": b""})


async def _discard(receive: Receive) -> None:
    left = LINGER_BYTES
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while left > 0:
                message = await receive()
                if not message.get("more_body", False):
                    return
                left -= len(message["body"])
    except TimeoutError:
        return


def _problem(
    error: FactoryError, headers: dict[str, str] | None = None, dialect: type[ForeignRoute] | None = None
) -> Response:
    problem = error.problem(logs.trace().request_id)
    if dialect is not None:
        problem |= dialect.problem_members(error)
    # ASCII only: a field's name may hold what UTF-8 cannot carry, such as half a surrogate pair.
    body = json.dumps(problem, ensure_ascii=True)
    return Response(body, error.status, {**error.headers, **(headers or {})}, PROBLEM_JSON)


def _dialect(request: Request) -> type[ForeignRoute] | None:
    route = request.scope.get("route")
    return type(route) if isinstance(route, ForeignRoute) else None


async def _on_factory_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FactoryError)
    return _problem(error, dialect=_dialect(request))


async def _on_http_exception(_: Request, error: Exception) -> Response:
    """404, 405 and whatever else the framework raises by itself."""
    assert isinstance(error, HTTPException)
    problem = {
        "type": "about:blank",
        "title": error.detail,
        "status": error.status_code,
        "detail": error.detail,
        "instance": logs.trace().request_id,
    }
    return Response(json.dumps(problem), error.status_code, error.headers, PROBLEM_JSON)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _problem(_invalid(request, error), dialect=_dialect(request))


def _invalid(request: Request, error: RequestValidationError) -> FactoryError:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return MalformedRequest(f"body: not valid JSON at character {first['loc'][-1]}")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if first["loc"] == ("body",) and media_type != "application/json":
        return UnsupportedMediaType("body: send JSON with the header Content-Type: application/json")
    return InvalidInput([_field_error(item) for item in error.errors()])


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
