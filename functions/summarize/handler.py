"""POST /summarize, as one answer or as Server-Sent Events."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive

from common.app import cancelled_on_disconnect, create_app, create_handler
from common.errors import ClientDisconnected, FactoryError
from common.headers import qualities
from common.logs import trace
from common.patience import deadline, preferred_wait
from common.problems import unexpected
from common.settings import get_settings
from functions.summarize import service
from functions.summarize.answers import Answers
from functions.summarize.engine import model
from functions.summarize.schemas import SummarizeRequest, SummarizeResponse
from functions.summarize.service import Answer, Piece

EVENT_STREAM, JSON = "text/event-stream", "application/json"
# For proxies: a stream that is collected first is none.
UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
# Proxies and clients close a connection on which nothing moves; a long article may take longer to read.
HEARTBEAT_SECONDS = 5.0

router = APIRouter(tags=["summarize"])
answers = Answers()


class EventStream(StreamingResponse):
    """Server-Sent Events that watch for the client's leaving themselves, so that the log tells of it."""

    media_type = EVENT_STREAM

    async def listen_for_disconnect(self, receive: Receive) -> None:  # noqa: ARG002
        await asyncio.Event().wait()


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
    if wait is not None:
        response.headers["Preference-Applied"] = f"wait={wait}"
    if _wants_events(request):
        body = body.model_copy(update={"stream": True})
    async with cancelled_on_disconnect(request):
        pieces = _pieces(body, wait, until)
        # Until it is accepted, so that a full queue or a refused request has its own status.
        await anext(pieces)
        if body.stream:
            headers = {**response.headers, **UNBUFFERED}
            return EventStream(_events(request, pieces, begun), headers=headers)
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Answer):
                    return _finished(piece, begun)
    raise FactoryError("the model gave no answer")


def _wants_events(request: Request) -> bool:
    """Whether `Accept` names Server-Sent Events, and JSON not with a higher quality."""
    named = qualities(request.headers.getlist("accept"))
    wanted = named.get(EVENT_STREAM, 0.0)
    return wanted > 0 and wanted >= named.get(JSON, 0.0)


async def _pieces(body: SummarizeRequest, wait: int | None, until: float | None) -> AsyncGenerator[Piece]:
    settings = get_settings()
    patience = settings.model_wait_seconds
    if until is not None:
        patience = max(0.0, min(patience, until - time.monotonic()))
    engine = await model.ready(patience)
    run = answers.get(
        body,
        wait,
        lambda: service.summarize(body, engine, settings.summarize, until, wait),
    )
    async with aclosing(run):
        async for piece in run:
            yield piece


async def _events(request: Request, pieces: AsyncGenerator[Piece], begun: float) -> AsyncIterator[str]:
    """One event for each piece, and a comment now and then while there is none."""
    next_piece: asyncio.Task[Piece | None] | None = None
    try:
        async with cancelled_on_disconnect(request):
            while True:
                next_piece = asyncio.create_task(_next(pieces))
                while not next_piece.done():
                    done, _ = await asyncio.wait([next_piece], timeout=HEARTBEAT_SECONDS)
                    if not done:
                        yield ": still at work\n\n"
                if (piece := next_piece.result()) is None:
                    return
                yield _event(piece, begun)
    except ClientDisconnected:
        return
    except Exception as error:
        # The status is out already: the reason goes where the answer would have gone.
        told = error if isinstance(error, FactoryError) else unexpected()
        yield f"event: error\ndata: {json.dumps(told.problem(trace().request_id))}\n\n"
    finally:
        if next_piece is not None and not next_piece.done():
            next_piece.cancel()
            with suppress(asyncio.CancelledError):
                await next_piece
        await pieces.aclose()


async def _next(pieces: AsyncGenerator[Piece]) -> Piece | None:
    return await anext(pieces, None)


def _event(piece: Piece, begun: float) -> str:
    if isinstance(piece, Answer):
        return f"event: done\ndata: {_finished(piece, begun).model_dump_json()}\n\n"
    assert isinstance(piece, str)
    return f"event: token\ndata: {json.dumps({'text': piece}, ensure_ascii=False)}\n\n"


def _finished(answer: Answer, begun: float) -> SummarizeResponse:
    """The answer with the time that this request took, whoever it was made for first."""
    for phase, milliseconds in answer.phases.items():
        trace().add(phase, milliseconds)
    return answer.response.model_copy(update={"inference_time_ms": round((time.monotonic() - begun) * 1000)})


app = create_app(router, title="The Factory: summarize")
handler = create_handler(app)
