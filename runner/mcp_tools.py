"""The functions as tools of the Model Context Protocol. A call is a request to the function's own route.

So its fields, limits, keys and errors are those of the route, and it is in the log like any other.
"""

import base64
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp_types import AudioContent, CallToolResult, TextContent, Tool, ToolAnnotations
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request

from common import logs
from common.http.events import EVENT_STREAM
from functions.audio.pieces import BYTES_PER_SECOND
from functions.audio.schemas import AudioRequest
from functions.extract.schemas import ExtractRequest, ExtractResponse, TextsResponse
from functions.summarize.schemas import SummarizeRequest, SummarizeResponse
from runner.inside import Inside, asked

JSON, MP3 = "application/json", "audio/mpeg"
# There are clients that take no result over 1 MiB. A recording grows by a third in base64. JSON is in a result twice:
# as it is, and as a text with its quotes escaped, for older clients.
MOST_SOUND_SECONDS = 120.0
MOST_SOUND_BYTES = 750_000
MOST_JSON_BYTES = 400_000
SECONDS_BETWEEN_NOTICES = 0.25
BROKEN_OFF = "the answer broke off; the service's log has the reason"
# How an answer is sent is not the caller's to choose here.
TRANSPORT_FIELDS = frozenset({"stream", "progress"})
# Clients tell here what elsewhere is in headers of the same names.
HEADERS_OF_META = ("traceparent", "tracestate")

Context = ServerRequestContext[dict[str, Any], Request]
Arguments = dict[str, Any]


class Spoken(BaseModel):
    """What is told beside the sound of a recording."""

    engine: str
    voice: str
    seconds: float


class Refused(Exception):
    """The call is answered with this error."""

    def __init__(self, *texts: str) -> None:
        super().__init__(*texts)
        self.result = CallToolResult(content=[TextContent(text=text) for text in texts], is_error=True)


@dataclass(frozen=True)
class Function:
    """A tool whose answer is JSON. `listed` is what clients see of it."""

    listed: Tool
    path: str

    async def call(self, context: Context, arguments: Arguments) -> CallToolResult:
        try:
            if hidden := TRANSPORT_FIELDS & arguments.keys():
                raise Refused(f"{', '.join(sorted(hidden))}: unknown field")
            return await self.answered(context, arguments)
        except Refused as refused:
            return refused.result

    async def answered(self, context: Context, arguments: Arguments) -> CallToolResult:
        async with self.asked(context, arguments, JSON) as answer:
            return _structured(json.loads(await _whole(answer, MOST_JSON_BYTES)))

    def asked(self, context: Context, body: Arguments, accept: str) -> AbstractAsyncContextManager[Inside]:
        meta: Mapping[str, Any] = context.meta or {}
        told = {name: value for name in HEADERS_OF_META if isinstance(value := meta.get(name), str) and value.isascii()}
        # Both requests have the same id in the log.
        headers = {"accept": accept, "x-request-id": logs.trace().request_id, **told}
        assert context.request is not None
        return asked(context.request.app, context.request.scope, self.path, body, headers)


class Summarize(Function):
    """To a client that asks for progress it is told what the model is at."""

    async def answered(self, context: Context, arguments: Arguments) -> CallToolResult:
        if "progress_token" not in (context.meta or {}):
            return await super().answered(context, arguments)
        wanted = {name: True for name in TRANSPORT_FIELDS if name in SummarizeRequest.model_fields}
        async with self.asked(context, arguments | wanted, EVENT_STREAM) as answer:
            if answer.status != 200:
                await _whole(answer, MOST_JSON_BYTES)
            return _structured(await _told(context, answer))


class Speak(Function):
    """Its answer is sound."""

    async def answered(self, context: Context, arguments: Arguments) -> CallToolResult:
        _check_length(arguments)
        async with self.asked(context, arguments, MP3) as answer:
            sound = await _whole(answer, MOST_SOUND_BYTES)
            spoken = Spoken(
                engine=answer.headers.get("x-audio-engine", ""),
                voice=answer.headers.get("x-audio-voice", ""),
                seconds=round(len(sound) / BYTES_PER_SECOND, 1),
            )
        result = _structured(spoken.model_dump())
        heard = AudioContent(data=base64.b64encode(sound).decode(), mime_type=MP3)
        return result.model_copy(update={"content": [heard, *result.content]})


def _check_length(arguments: Arguments) -> None:
    """Refuses what surely does not fit, before it is spoken. What is wrong otherwise is the route's to say."""
    try:
        wish = AudioRequest.model_validate(arguments)
    except ValidationError:
        return
    if (seconds := wish.seconds_of(wish.text)) > MOST_SOUND_SECONDS:
        raise Refused(
            f"text: would be about {seconds:.0f} s of speech, and a tool's answer holds {MOST_SOUND_SECONDS:.0f} s. "
            "Send it in parts, or to POST /audio, which streams any length."
        )


async def _whole(answer: Inside, most_bytes: int) -> bytes:
    """The body of an answer. Raises Refused with what went wrong."""
    body = bytearray()
    async for chunk in answer.chunks():
        body += chunk
        if len(body) > most_bytes:
            raise Refused(f"the answer has more than {most_bytes} bytes, which a tool's may have: ask for less at once")
    if answer.status >= 400:
        raise _refused(json.loads(body), answer.headers.get("retry-after"))
    if not answer.is_whole:
        raise Refused(BROKEN_OFF)
    return bytes(body)


async def _told(context: Context, answer: Inside) -> dict[str, Any]:
    """The end of a stream of events; until then the client is told how far it is, now and then."""
    begun, last, characters = time.monotonic(), 0.0, 0
    done: dict[str, Any] | None = None
    async for name, data in _events(answer):
        if name == "error":
            raise _refused(data, None)
        if name == "done":
            # The stream is read to its end: who leaves before it has left the request.
            done = data
            continue
        characters += len(data.get("text", ""))
        seconds = time.monotonic() - begun
        if seconds - last >= SECONDS_BETWEEN_NOTICES or not last:
            last = seconds
            await context.session.report_progress(round(seconds, 3), None, _message(name, data, characters))
    if done is None:
        raise Refused(BROKEN_OFF)
    return done


async def _events(answer: Inside) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Name and data of each Server-Sent Event; a comment has the name "" and no data."""
    held = b""
    async for chunk in answer.chunks():
        *events, held = (held + chunk).split(b"\n\n")
        for event in events:
            lines = dict(line.split(": ", 1) for line in event.decode().splitlines() if ": " in line)
            yield lines.get("event", ""), json.loads(lines.get("data", "{}"))


def _message(name: str, data: dict[str, Any], characters: int) -> str:
    if name == "token":
        return f"writing: {characters} characters"
    parts = [str(data.get("state", "at work"))]
    if "place" in data:
        parts.append(f"place {data['place']}")
    if "tokens" in data:
        parts.append(f"{data['tokens']} tokens")
    if data.get("seconds") is not None:
        parts.append(f"about {data['seconds']:.0f} s")
    return ", ".join(parts)


def _refused(problem: dict[str, Any], retry_after: str | None) -> Refused:
    """The sentence for a model to read, and the problem details (RFC 9457) for a program."""
    sentence = f"{problem['title']}: {problem['detail']}"
    if retry_after is not None:
        sentence += f". Try again in {retry_after} s."
        problem = {**problem, "retry_after": int(retry_after)}
    return Refused(sentence, json.dumps(problem))


def _structured(found: dict[str, Any]) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=json.dumps(found, ensure_ascii=False))], structured_content=found)


def _tool(name: str, title: str, description: str, takes: type[BaseModel], answers: Any) -> Tool:
    """With the schemas of the function itself, as far as clients take them."""
    wanted = takes.model_json_schema()
    # Models of some makers refuse a tool that has one of these at the root; the route checks it.
    wanted.pop("oneOf", None)
    for field in TRANSPORT_FIELDS:
        wanted["properties"].pop(field, None)
    answer = TypeAdapter(answers).json_schema(mode="serialization")
    # They do not change a thing; what speaks may be a service elsewhere.
    hints = ToolAnnotations(read_only_hint=True, open_world_hint=name == "speak")
    return Tool(
        name=name,
        title=title,
        description=description,
        input_schema=wanted,
        output_schema={"type": "object", **answer},
        annotations=hints,
    )


TOOLS: dict[str, Function] = {
    "summarize": Summarize(
        _tool(
            "summarize",
            "Summarise an article",
            "Writes a short summary of a news article.",
            SummarizeRequest,
            SummarizeResponse,
        ),
        "/summarize",
    ),
    "extract": Function(
        _tool(
            "extract",
            "Find named entities",
            "Finds entities of any labels in a text (`text`) or in several (`texts`): one of the two is required.",
            ExtractRequest,
            ExtractResponse | TextsResponse,
        ),
        "/extract",
    ),
    "speak": Speak(
        _tool(
            "speak",
            "Read a text aloud",
            f"Reads a text aloud, as MP3: about {MOST_SOUND_SECONDS:.0f} s of speech at most, some 1,700 characters.",
            AudioRequest,
            Spoken,
        ),
        "/audio",
    ),
}
