"""What can go wrong, and the HTTP status each thing becomes.

FactoryError                500   anything of our own that has no better name
├── MalformedRequest        400   the body is not JSON
├── Unauthorized            401   the request brings no key, or a wrong one
├── RequestTooSlow          408   headers or body do not come
├── PayloadTooLarge         413   the body is over `max_body_bytes`
├── AnswerTooLarge          413   the answer is over what the platform sends
├── UnsupportedMediaType    415   the body is not declared as JSON
├── TooManyRequests         429   the caller has had what it may have; it may come back after `retry_after` seconds
├── HeadersTooLarge         431   the headers are over `header_bytes`
├── InvalidInput            422   a field is out of range; `errors` names every one
├── ClientDisconnected      499   nobody is left to read the answer (only ever seen in the log)
├── OutOfTime               504   the platform ends it before it is done, however often it is tried
└── Unavailable             503   try again after `retry_after` seconds
    ├── ModelNotReady             the model is downloading or loading, or could not be loaded
    ├── QueueFull                 as many requests wait as the function allows
    └── NotDone                   an item of a batch for which the invocation had no time left

What only one function can meet is in that function's own `errors.py`.

`ModelLoadFailed` is raised by a loader, never sent as it is: `LazyModel` turns it into `ModelNotReady`.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class FieldError:
    """One offending field: `field` as a caller would write it (`labels[3]`), `detail` as one sentence."""

    field: str
    detail: str


class FactoryError(Exception):
    """Base of the tree. `detail` is shown to the caller, so it never holds article text or a stack trace."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def headers(self) -> dict[str, str]:
        return {}

    def body(self, instance: str) -> bytes:
        """The problem details as JSON: in ASCII, as a field's name may hold what UTF-8 cannot carry."""
        return json.dumps(self.problem(instance), ensure_ascii=True).encode()

    def problem(self, instance: str) -> dict[str, Any]:
        """The RFC 9457 problem details; `instance` is the request id."""
        return {
            "type": f"urn:problem-type:factory:{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }


class MalformedRequest(FactoryError):
    status, slug, title = 400, "malformed-request", "Malformed request"


class Unauthorized(FactoryError):
    status, slug, title = 401, "unauthorized", "Unauthorized"

    def __init__(self, detail: str, *, is_wrong: bool) -> None:
        """`is_wrong`: a key was brought, but there is no such key."""
        super().__init__(detail)
        self.is_wrong = is_wrong

    @property
    def headers(self) -> dict[str, str]:
        # RFC 6750, section 3: a request that brings nothing is told no error.
        error = ', error="invalid_token"' if self.is_wrong else ""
        return {"WWW-Authenticate": f'Bearer realm="factory"{error}'}


class NotFound(FactoryError):
    status, slug, title = 404, "not-found", "Not found"


class RequestTooSlow(FactoryError):
    status, slug, title = 408, "request-too-slow", "Request too slow"


class HeadersTooLarge(FactoryError):
    status, slug, title = 431, "headers-too-large", "Headers too large"


class PayloadTooLarge(FactoryError):
    status, slug, title = 413, "payload-too-large", "Payload too large"


class AnswerTooLarge(FactoryError):
    status, slug, title = 413, "answer-too-large", "Answer too large"


class UnsupportedMediaType(FactoryError):
    status, slug, title = 415, "unsupported-media-type", "Unsupported media type"


class InvalidInput(FactoryError):
    status, slug, title = 422, "invalid-input", "Invalid input"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.detail}" for error in errors))
        self.errors = tuple(errors)

    def problem(self, instance: str) -> dict[str, Any]:
        errors = [{"field": error.field, "detail": error.detail} for error in self.errors]
        return super().problem(instance) | {"errors": errors}


class ComeBack(FactoryError):
    """Another time it may be answered. Raised as what it is: one of those below."""

    def __init__(self, detail: str, retry_after: float) -> None:
        """`retry_after` is in seconds; it is sent rounded up, at least 1."""
        super().__init__(detail)
        self.retry_after = max(1, math.ceil(retry_after))

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)}


class TooManyRequests(ComeBack):
    status, slug, title = 429, "too-many-requests", "Too many requests"


class ClientDisconnected(FactoryError):
    status, slug, title = 499, "client-disconnected", "Client disconnected"


class Unavailable(ComeBack):
    status, slug, title = 503, "unavailable", "Temporarily unavailable"


class ModelNotReady(Unavailable):
    slug, title = "model-not-ready", "The model is not ready"

    def __init__(self, detail: str, retry_after: float, *, model: str, state: str, progress: float | None) -> None:
        super().__init__(detail, retry_after)
        self.model, self.state, self.progress = model, state, progress

    def problem(self, instance: str) -> dict[str, Any]:
        return super().problem(instance) | {"model": self.model, "state": self.state, "progress": self.progress}


class QueueFull(Unavailable):
    slug, title = "queue-full", "Too many requests are waiting"


class NotDone(Unavailable):
    slug, title = "not-done", "Not done"


class OutOfTime(FactoryError):
    status, slug, title = 504, "out-of-time", "Out of time"


class ModelLoadFailed(Exception):
    """Raised by a model's loader with a reason that an operator can act on."""
