"""The one place that builds a FastAPI app, so that a function behaves the same behind uvicorn, Mangum and a test."""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from common.errors import FactoryError, FieldError, InvalidInput, MalformedRequest, UnsupportedMediaType
from common.http.bodies import BodyLimit
from common.http.middleware import RequestScope
from common.http.problems import PROBLEM_JSON, http_problem_response, problem_response
from common.version import VERSION

# An error names so many fields; of the others it gives the number.
MOST_FIELD_ERRORS = 20
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {"description": "Any error: RFC 9457 problem details", "content": {PROBLEM_JSON: {}}}
}

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(*routers: APIRouter, title: str = "The Factory", lifespan: Lifespan | None = None) -> FastAPI:
    """An app that serves `routers` and answers every error as problem+json.

    FastAPI's own documentation pages are off: they load their scripts from a CDN and stay blank without one.
    """
    app = FastAPI(
        title=title, version=VERSION, docs_url=None, redoc_url=None, lifespan=lifespan, responses=PROBLEM_RESPONSES
    )
    # A redirect would name whatever host the request came with. A slash at the end is answered as without it.
    app.router.redirect_slashes = False
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(FactoryError, _on_factory_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestScope, routes=[route for router in routers for route in _declared(router)])
    return app


def _declared(router: APIRouter) -> Iterator[APIRoute]:
    """The routes of a router, and of those that it includes."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route
        elif isinstance(included := getattr(route, "original_router", None), APIRouter):
            yield from _declared(included)


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
