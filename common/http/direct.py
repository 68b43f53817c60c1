"""A request to the app that came by no front door: who invokes the function itself may do so by IAM.

It passes the same middleware as any other, but neither keys nor limits are asked for: those are between the callers of
a front door.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Scope

from common.errors import FactoryError
from common.http.problems import PROBLEM_JSON

# In the scope of a request; no front door can set it.
DIRECT = "factory.direct"
# What the log and the queues call whoever invokes.
CALLER = "direct"


@dataclass(frozen=True)
class Answer:
    """The whole of an answer."""

    status: int
    headers: Headers
    body: bytes


def is_direct(scope: Scope) -> bool:
    return scope.get(DIRECT) is True


async def ask(app: ASGIApp, path: str, body: bytes, headers: dict[str, str], context: Any) -> Answer:
    """What `app` answers to `POST path` with a body of JSON; `context` is AWS Lambda's, or None.

    An answer that breaks off is a problem of status 500, as there is no connection to be broken.
    """
    request = _Request(body)
    try:
        await app(_scope(path, headers | {"content-length": str(len(body))}, context), request.receive, request.send)
    except Exception:
        # The app has logged it.
        request.is_whole = False
    if request.is_whole:
        return Answer(request.status, request.headers, bytes(request.made))
    error = FactoryError("the answer broke off; the log has the reason under this request id")
    told = Headers({"content-type": PROBLEM_JSON})
    return Answer(error.status, told, error.body(headers.get("x-request-id", "")))


@dataclass
class _Request:
    body: bytes | None
    status: int = 0
    headers: Headers = field(default_factory=Headers)
    made: bytearray = field(default_factory=bytearray)
    is_whole: bool = False

    async def receive(self) -> Message:
        if self.body is not None:
            body, self.body = self.body, None
            return {"type": "http.request", "body": body, "more_body": False}
        # Nobody leaves.
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], Headers(raw=message["headers"])
        else:
            self.made += message.get("body", b"")
            self.is_whole = not message.get("more_body", False)


def _scope(path: str, headers: dict[str, str], context: Any) -> Scope:
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": (CALLER, 0),
        "server": None,
        DIRECT: True,
    }
    # By this the service knows how much time is left.
    return scope if context is None else scope | {"aws.context": context}
