"""How long a caller waits: the preference of the request (RFC 7240), and the time that AWS Lambda leaves it."""

import time

from fastapi import Request

from common.errors import FieldError, InvalidInput
from common.http.headers import elements, unquoted

MAX_SECONDS = 86_400
# What an invocation needs after its work is done, to send the answer.
LAMBDA_MARGIN_SECONDS = 1.0


def preferred_wait(request: Request, most_seconds: float | None = None) -> int | None:
    """Seconds of `Prefer: wait=N`, at most `most_seconds`; raises InvalidInput for a wait that is no whole number from
    1 on."""
    for preference, _ in elements(request.headers.getlist("prefer")):
        name, _, value = preference.partition("=")
        if name.strip().lower() == "wait":
            seconds = _seconds(unquoted(value.strip()).strip())
            return seconds if most_seconds is None else min(seconds, max(1, int(most_seconds)))
    return None


def deadline(request: Request, default: float | None, most_seconds: float | None = None) -> float | None:
    """When the answer has to be there, as a time of `time.monotonic`: `Prefer: wait`, or else `default` seconds from
    now, and on Lambda before the invocation is ended. Who waits gladly waits `most_seconds` at most: the operator's
    limit is not the caller's to raise."""
    wait = preferred_wait(request, most_seconds)
    bounds = [float(wait) if wait is not None else default]
    if (context := request.scope.get("aws.context")) is not None:
        bounds.append(context.get_remaining_time_in_millis() / 1000 - LAMBDA_MARGIN_SECONDS)
    known = [bound for bound in bounds if bound is not None]
    return time.monotonic() + min(known) if known else None


def _seconds(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text[:6]) <= MAX_SECONDS and len(text) <= 6:
        return int(text)
    raise InvalidInput([FieldError("Prefer", f"wait: must be a whole number of seconds from 1 to {MAX_SECONDS}")])
