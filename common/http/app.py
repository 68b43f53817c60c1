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
from common.http.cors import Cors
from common.http.keys import Keys, is_public
from common.http.middleware import RequestScope, UnexpectedErrors
from common.http.problems import PROBLEM_JSON, http_problem_response, problem_response
from common.http.quotas import Quotas
from common.keys import KEY_HEADER
from common.version import VERSION

# An error names so many fields; of the others it gives the number.
MOST_FIELD_ERRORS = 20
_TEXT = {"schema": {"type": "string"}}
_SECONDS = {"schema": {"type": "integer", "minimum": 1}}
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    401: {
        "description": "The service has keys, and the request brings none of them",
        "content": {PROBLEM_JSON: {}},
        "headers": {"WWW-Authenticate": _TEXT},
    },
    429: {
        "description": "The caller has had what it may have; `Retry-After` is when it may have more",
        "content": {PROBLEM_JSON: {}},
        "headers": {"Retry-After": _SECONDS, "RateLimit": _TEXT, "RateLimit-Policy": _TEXT},
    },
    "default": {"description": "Any error: RFC 9457 problem details", "content": {PROBLEM_JSON: {}}},
}
# None is needed where the service has no keys.
SECURITY: list[dict[str, list[str]]] = [{}, {"bearer": []}, {"apiKey": []}]
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "apiKey": {"type": "apiKey", "in": "header", "name": KEY_HEADER},
}

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """With the keys that a request may bring, and nothing of them where none is looked at."""
        schema = super().openapi()
        schema.setdefault("components", {})["securitySchemes"] = SECURITY_SCHEMES
        schema["security"] = SECURITY
        for path, operations in schema["paths"].items():
            for operation in operations.values() if is_public(path) else ():
                operation["security"] = []
                for status in ("401", "429"):
                    operation["responses"].pop(status, None)
        return schema


def create_app(*routers: APIRouter, title: str = "The Factory", lifespan: Lifespan | None = None) -> FastAPI:
    """An app that serves `routers` and answers every error as problem+json.

    FastAPI's own documentation pages are off: they load their scripts from a CDN and stay blank without one.
    """
    app = _App(
        title=title,
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=PROBLEM_RESPONSES,
        # FastAPI's own would tell a collector of values that were sent; ours is `common.http.tracing`.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    # A redirect would name whatever host the request came with. A slash at the end is answered as without it.
    app.router.redirect_slashes = False
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(FactoryError, _on_factory_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    # The last one added is the first to see a request.
    for middleware in (BodyLimit, Quotas, Keys, UnexpectedErrors, Cors):
        app.add_middleware(middleware)
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
