"""Pages of other origins that may call the service (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from functools import lru_cache

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from common.errors import MalformedRequest
from common.http.problems import PROBLEM_JSON
from common.logs import trace
from common.settings import get_settings

METHODS = ("GET", "HEAD", "POST")
REQUEST_HEADERS = (
    "Accept",
    "Authorization",
    "Content-Type",
    "If-None-Match",
    "If-Range",
    "Prefer",
    "Range",
    "traceparent",
    "X-API-Key",
    "X-Request-ID",
)
# What a page may read of an answer beside what it may always.
ANSWER_HEADERS = (
    "Accept-Ranges",
    "Content-Location",
    "Content-Range",
    "ETag",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Server-Timing",
    "WWW-Authenticate",
    "X-Request-ID",
)
PREFLIGHT_SECONDS = 3600

_exposed: set[str] = set(ANSWER_HEADERS)


def expose(*headers: str) -> None:
    """A function has answers with these headers, which pages of other origins may read too."""
    _exposed.update(headers)


def exposed() -> set[str]:
    """All headers of answers that pages of other origins may read."""
    return set(_exposed)


class Cors:
    """By the setting `cors_origins`; with none it does nothing. A key is a header, so there are no credentials."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        # The settings may not be read before the first request, and tests change them.
        self._by_origins = lru_cache(maxsize=1)(self._allowing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origins = get_settings().cors_origins
        await (self._by_origins(origins) if origins else self.app)(scope, receive, send)

    def _allowing(self, origins: str) -> ASGIApp:
        return _Allowing(
            self.app,
            allow_origins=[origin.strip() for origin in origins.split(",")],
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=sorted(exposed()),
            max_age=PREFLIGHT_SECONDS,
        )


class _Allowing(CORSMiddleware):
    def preflight_response(self, request_headers: Headers) -> Response:
        """A refusal is problem+json, as every error is."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        error = MalformedRequest(f"{bytes(response.body).decode()}; see FACTORY_CORS_ORIGINS")
        headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return Response(error.body(trace().request_id), error.status, headers, PROBLEM_JSON)
