"""Errors as answers: problem details (RFC 9457), with the members that a foreign API's clients look for."""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from common import logs
from common.errors import FactoryError, MalformedRequest

PROBLEM_JSON = "application/problem+json"

Members = Callable[[FactoryError], dict[str, Any]]

_foreign: dict[str, Members] = {}


def foreign_errors(prefix: str, members: Members) -> None:
    """Below the path `prefix`, clients look for errors in members of their own, beside those of problem+json.

    It counts for every error there: of a path that is not served, of a body that is too large, of the server itself.
    """
    _foreign[prefix] = members


def problem_response(error: FactoryError, scope: Scope, headers: dict[str, str] | None = None) -> Response:
    """`error` as the answer to the request of `scope`."""
    logs.trace().problem = error.slug
    return _response(error, error.problem(logs.trace().request_id), scope, {**error.headers, **(headers or {})})


def http_problem_response(error: HTTPException, scope: Scope) -> Response:
    """For the errors that the framework raises itself: 404, 405 and a body that cannot be parsed."""
    if (reason := _unreadable(error.__cause__)) is not None:
        return problem_response(MalformedRequest(f"body: {reason}"), scope)
    shown = FactoryError(error.detail)
    problem = shown.problem(logs.trace().request_id)
    problem |= {"type": "about:blank", "title": error.detail, "status": error.status_code}
    logs.trace().problem = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    headers = dict(error.headers or {})
    if "GET" in (allowed := headers.get("Allow", "").split(", ")):
        headers["Allow"] = ", ".join([*allowed, "HEAD"])
    return _response(shown, problem, scope, headers)


def _response(error: FactoryError, problem: dict[str, Any], scope: Scope, headers: dict[str, str]) -> Response:
    for prefix, members in _foreign.items():
        if scope["path"].startswith(prefix):
            problem |= members(error)
    # ASCII only: a field's name may hold what UTF-8 cannot carry, such as half a surrogate pair.
    return Response(json.dumps(problem, ensure_ascii=True), problem["status"], headers, PROBLEM_JSON)


def _unreadable(cause: BaseException | None) -> str | None:
    """Why a body could not be parsed, where it was not for its grammar."""
    if isinstance(cause, UnicodeDecodeError):
        return f"not valid UTF-8 at byte {cause.start}"
    if isinstance(cause, RecursionError):
        return "nested too deeply"
    # Of the JSON parser's own only one is left: Python reads no number of more than some thousand digits.
    return "holds a number of too many digits" if isinstance(cause, ValueError) else None
