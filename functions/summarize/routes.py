"""POST /summarize, as one answer or as Server-Sent Events."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.types import Receive

from common.errors import ClientDisconnected, FactoryError
from common.http.deadlines import deadline, preferred_wait
from common.http.disconnects import cancelled_on_disconnect
from common.http.events import EVENT_STREAM, UNBUFFERED
from common.http.headers import qualities
from common.logs import trace, unexpected
from common.quotas import charge_characters, metered
from common.settings import get_settings
from functions.summarize import service
from functions.summarize.outputs import Answer, Output, Status
from functions.summarize.schemas import SummarizeRequest, SummarizeResponse

JSON = "application/json"
# Proxies and clients close a connection on which nothing moves; a long article may take longer to read.
HEARTBEAT_SECONDS = 5.0
HEARTBEAT = format_sse_event(comment="still at work")

router = APIRouter(tags=["summarize"])
metered("summarize", "/summarize", limits=lambda: get_settings().summarize)


class EventStream(StreamingResponse):
    """Server-Sent Events that watch for the client's leaving themselves, so that the log tells of it."""

    media_type = EVENT_STREAM

    async def listen_for_disconnect(self, receive: Receive) -> None:  # noqa: ARG002
        await asyncio.Event().wait()


@dataclass(frozen=True)
class Asked:
    """What an answer is told with that may be another request's: when this one came (`time.monotonic`), its text."""

    begun: float
    text: str

    def finished(self, answer: Answer) -> SummarizeResponse:
        """The answer with the time that this request took, whoever it was made for first, and with its offsets."""
        trace().add_in_turn(answer.phases)
        trace().notes.update(answer.notes)
        milliseconds = round((time.monotonic() - self.begun) * 1000)
        own: dict[str, object] = {"inference_time_ms": milliseconds}
        if answer.response.read is not None:
            before = len(self.text) - len(self.text.lstrip())
            own["read"] = [(before + start, before + end) for start, end in answer.response.read]
        return answer.response.model_copy(update=own)


@router.post(
    "/summarize",
    summary="A summary of an article",
    response_model=SummarizeResponse,
    responses={200: {"content": {EVENT_STREAM: {}}}},
)
async def summarize(body: SummarizeRequest, request: Request, response: Response) -> SummarizeResponse | Response:
    begun = time.monotonic()
    settings = get_settings().summarize
    wait = preferred_wait(request, settings.max_wait_seconds)
    until = deadline(request, settings.deadline_seconds, settings.max_wait_seconds)
    charge_characters("summarize", len(body.text), "text")
    if wait is not None:
        response.headers["Preference-Applied"] = f"wait={wait}"
    stream = body.stream or _wants_events(request)
    body = body.model_copy(update={"stream": stream, "progress": stream and body.progress})
    async with cancelled_on_disconnect(request):
        outputs = await service.respond(body, until, wait)
        # Until it is accepted, so that a full queue or a refused request has its own status.
        await anext(outputs)
        if body.stream:
            headers = {**response.headers, **UNBUFFERED}
            return EventStream(_events(request, outputs, Asked(begun, body.text)), headers=headers)
        async with aclosing(outputs):
            async for output in outputs:
                if isinstance(output, Answer):
                    return Asked(begun, body.text).finished(output)
    raise FactoryError("the model gave no answer")


def _wants_events(request: Request) -> bool:
    """Whether `Accept` names Server-Sent Events, and JSON not with a higher quality."""
    named = qualities(request.headers.getlist("accept"))
    wanted = named.get(EVENT_STREAM, 0.0)
    return wanted > 0 and wanted >= named.get(JSON, 0.0)


async def _events(request: Request, outputs: AsyncGenerator[Output], asked: Asked) -> AsyncIterator[bytes]:
    """One event for each output, and a comment now and then while there is none."""
    coming: asyncio.Task[Output | None] | None = None
    try:
        async with cancelled_on_disconnect(request):
            while True:
                coming = asyncio.create_task(_next(outputs))
                while not (await asyncio.wait([coming], timeout=HEARTBEAT_SECONDS))[0]:
                    yield HEARTBEAT
                if (output := coming.result()) is None:
                    return
                yield _event(output, asked)
    except ClientDisconnected:
        return
    except Exception as error:
        # The status is out already: the reason goes where the answer would have gone.
        reason = error if isinstance(error, FactoryError) else unexpected()
        trace().problem = reason.slug
        yield format_sse_event(event="error", data_str=reason.body(trace().request_id).decode())
    finally:
        if coming is not None and not coming.done():
            coming.cancel()
            await asyncio.wait([coming])
        await outputs.aclose()


async def _next(outputs: AsyncGenerator[Output]) -> Output | None:
    return await anext(outputs, None)


def _event(output: Output, asked: Asked) -> bytes:
    if isinstance(output, Answer):
        return format_sse_event(event="done", data_str=asked.finished(output).model_dump_json())
    if isinstance(output, Status):
        return format_sse_event(event="status", data_str=json.dumps(output.told()))
    assert isinstance(output, str)
    return format_sse_event(event="token", data_str=json.dumps({"text": output}, ensure_ascii=False))
