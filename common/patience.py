"""How long a caller waits: the preference of the request (RFC 7240), and the time that AWS Lambda leaves it."""

import re
import time

from fastapi import Request

from common.errors import FieldError, InvalidInput

# `wait` takes delta-seconds (RFC 7240, 4.3); other preferences of the header are none of ours.
WAIT = re.compile(r"\s*wait\s*(?:=\s*\"?([^\";,]*)\"?\s*)?(?:;.*)?", re.IGNORECASE)
MAX_SECONDS = 86_400
# What an invocation needs after its work is done, to send the answer.
LAMBDA_MARGIN_SECONDS = 1.0


def preferred_wait(request: Request) -> int | None:
    """Seconds of `Prefer: wait=N`; raises InvalidInput for a wait that is no whole number from 1 on."""
    for header in request.headers.getlist("prefer"):
        for preference in header.split(","):
            if match := WAIT.fullmatch(preference):
                return _seconds((match[1] or "").strip())
    return None


def deadline(request: Request, default: float | None) -> float | None:
    """When the answer has to be there, as a time of `time.monotonic`: `Prefer: wait`, or else `default` seconds from
    now, and on Lambda before the invocation is ended."""
    wait = preferred_wait(request)
    bounds = [float(wait) if wait is not None else default]
    if (context := request.scope.get("aws.context")) is not None:
        bounds.append(context.get_remaining_time_in_millis() / 1000 - LAMBDA_MARGIN_SECONDS)
    known = [bound for bound in bounds if bound is not None]
    return time.monotonic() + min(known) if known else None


def _seconds(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text[:6]) <= MAX_SECONDS and len(text) <= 6:
        return int(text)
    raise InvalidInput([FieldError("Prefer", f"wait: must be a whole number of seconds from 1 to {MAX_SECONDS}")])
