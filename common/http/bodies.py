"""Request bodies: read within bounds, and looked at before they are parsed, for parsing holds up the event loop."""

import asyncio
import re
from collections import Counter

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common import logs
from common.callers import flow
from common.errors import (
    FactoryError,
    FieldError,
    InvalidInput,
    PayloadTooLarge,
    QueueFull,
    RequestTooSlow,
    UnsupportedMediaType,
)
from common.http.problems import problem_response
from common.settings import get_settings

# After a body over the limit, this much more of it is read and thrown away, so that a client which sends before it
# reads sees the 413 and not a reset connection.
LINGER_BYTES = 4 * 1024 * 1024
LINGER_SECONDS = 2.0
# A smaller body needs no place among the large ones.
SMALL_BYTES = 64 * 1024
# A smaller body is parsed within some 10 ms, whatever it holds.
QUICKLY_PARSED_BYTES = 128 * 1024
# The time for the headers is the body's too, and each second more has to bring so much of it.
LEAST_BYTES_PER_SECOND = 5_000
# A larger one may hold so many strings, and so much beside them. No valid request has that much.
MOST_STRINGS = 1024
MOST_BYTES_BESIDE_STRINGS = 16 * 1024
LARGE_BODY_RETRY_SECONDS = 2.0

# Possessive: nothing is tried twice, so the time is linear in the body.
_STRING = re.compile(rb'([^"]*+)"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


class BodyLimit:
    """Reads a body up to `max_body_bytes` and hands it on whole; over that the answer is 413, while it arrives.

    All large bodies together, from the first byte to the end of their request, take `max_bodies_bytes` at most. Nobody
    may have more of that than is left free.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        # Bytes of large bodies that are held, by caller.
        self._by_caller: Counter[str] = Counter()
        self._gate = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        more = True

        async def counted() -> Message:
            nonlocal more
            message = await receive()
            more = message.get("more_body", False)
            return message

        share = _Share(self._by_caller, flow().caller)
        try:
            body = await _read(Headers(scope=scope), counted, share)
            if body is not None and len(body) > SMALL_BYTES:
                # One in a turn of the event loop: a crowd of them takes it for milliseconds each, not all at once.
                async with self._gate:
                    await asyncio.sleep(0)
                _check_structure(body)
            if body is not None:
                await self.app(scope, _replayed(body, receive), send)
        except _Refused as refused:
            await refuse(refused.error, scope, more, receive, send)
        finally:
            share.grow_to(0)


class _Refused(Exception):
    """The body is not handed on. `error` is the answer."""

    def __init__(self, error: FactoryError) -> None:
        self.error = error


class _Share:
    """The bytes of one large body. `by_caller` has the bytes of all large bodies."""

    def __init__(self, by_caller: Counter[str], caller: str) -> None:
        self._by_caller = by_caller
        self._caller = caller
        self._counted = 0

    def grow_to(self, size: int) -> None:
        """The body has `size` bytes now. Refused when that is more than this caller may have."""
        size = size if size > SMALL_BYTES else 0
        if size == self._counted:
            return
        if size > self._counted:
            free = get_settings().max_bodies_bytes - self._by_caller.total()
            if self._by_caller[self._caller] + size - self._counted > free:
                raise _Refused(QueueFull("too many large bodies are there already", LARGE_BODY_RETRY_SECONDS))
        self._by_caller[self._caller] += size - self._counted
        self._counted = size
        if not self._by_caller[self._caller]:
            del self._by_caller[self._caller]


async def _read(headers: Headers, receive: Receive, share: _Share) -> bytes | None:
    """The body; None when the client went away within it."""
    limit = get_settings().max_body_bytes
    declared = headers.get("content-length", "0")
    too_large = _Refused(PayloadTooLarge(f"body: may be at most {limit} bytes"))
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise too_large
    if (encoding := headers.get("content-encoding", "identity").strip().lower()) not in ("identity", ""):
        detail = f"body: Content-Encoding {encoding[:40]!r} is not read; send the JSON as it is"
        raise _Refused(UnsupportedMediaType(detail))
    body = bytearray()
    more = True
    seconds = get_settings().server.header_seconds
    begun = asyncio.get_running_loop().time()
    has_body = "content-length" in headers or "transfer-encoding" in headers
    try:
        async with asyncio.timeout_at(begun + seconds if has_body else None) as patience:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    logs.trace().left = True
                    return None
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > limit:
                    raise too_large
                share.grow_to(len(body))
                if more:
                    patience.reschedule(begun + seconds + len(body) / LEAST_BYTES_PER_SECOND)
    except TimeoutError:
        detail = f"body: it may take {seconds:g} s, and one more for each {LEAST_BYTES_PER_SECOND} bytes"
        raise _Refused(RequestTooSlow(detail)) from None
    return bytes(body)


def _check_structure(body: bytes) -> None:
    """Refuses a large body that holds more than a few long strings: parsing it would take too long."""
    if len(body) <= QUICKLY_PARSED_BYTES:
        return
    if body.count(b'"') <= MOST_STRINGS and b'\\"' not in body:
        # No quote is inside of a string: every second part is between two of them.
        strings, beside = 0, sum(map(len, body.split(b'"')[::2]))
    else:
        strings, beside = _counted(body)
    if strings > MOST_STRINGS or beside > MOST_BYTES_BESIDE_STRINGS:
        detail = f"holds more than {MOST_STRINGS} strings, or {MOST_BYTES_BESIDE_STRINGS} bytes beside its strings"
        raise _Refused(InvalidInput([FieldError("body", detail)]))


def _counted(body: bytes) -> tuple[int, int]:
    """How many strings a body holds, and how many bytes beside them; no further than one of them is too much."""
    at = strings = beside = 0
    while at < len(body):
        found = _STRING.match(body, at)
        beside += len(body) - at if found is None else len(found[1])
        at = len(body) if found is None else found.end()
        strings += 1
        if strings > MOST_STRINGS or beside > MOST_BYTES_BESIDE_STRINGS:
            break
    return strings, beside


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once, and after that the messages of the server."""
    held = [body]

    async def replay() -> Message:
        if held:
            return {"type": "http.request", "body": held.pop(), "more_body": False}
        return await receive()

    return replay


async def refuse(
    error: FactoryError, scope: Scope, more: bool, receive: Receive, send: Send, *, closes: bool = True
) -> None:
    """Answer with `error`. `more`: the body is not all there yet; what still comes is thrown away, and the connection
    is closed then, unless the body is known to be small."""
    response = problem_response(error, scope, {"Connection": "close"} if more and closes else None)
    await send({"type": "http.response.start", "status": error.status, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    if more:
        await _discard(receive)
    await send({"type": "http.response.body", "body": b""})


async def refuse_unread(error: FactoryError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with `error` a request of whose body nothing was read. A small one is about to be there."""
    headers = Headers(scope=scope)
    declared = headers.get("content-length", "0")
    known = "transfer-encoding" not in headers and declared.isdecimal()
    size = int(declared[:20]) if known else SMALL_BYTES + 1
    await refuse(error, scope, size > 0, receive, send, closes=size > SMALL_BYTES)


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
