"""POST /summarize, as one answer or as Server-Sent Events."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from common.admission import Admission, Limits
from common.app import cancelled_on_disconnect, create_app, create_handler
from common.errors import ClientDisconnected, FactoryError
from common.logs import trace
from common.settings import get_settings
from functions.summarize import service
from functions.summarize.engine import LlamaEngine, model
from functions.summarize.schemas import SummarizeRequest, SummarizeResponse

EVENT_STREAM = "text/event-stream"

router = APIRouter(tags=["summarize"])
admission = Admission("summarize", lambda: Limits(1, get_settings().summarize.max_waiting))


@router.post(
    "/summarize",
    summary="A summary of an article",
    response_model=SummarizeResponse,
    responses={200: {"content": {EVENT_STREAM: {}}}},
)
async def summarize(body: SummarizeRequest, request: Request) -> SummarizeResponse | Response:
    streams = body.stream or EVENT_STREAM in request.headers.get("accept", "")
    async with cancelled_on_disconnect(request):
        engine = await model.ready(get_settings().model_wait_seconds)
        answer = _answer(body, engine)
        if streams:
            # The first piece is awaited here, so that a full queue or a refused request has its own status.
            return StreamingResponse(_events(request, await anext(answer), answer), media_type=EVENT_STREAM)
        async with aclosing(answer):
            async for piece in answer:
                if isinstance(piece, SummarizeResponse):
                    return piece
    raise FactoryError("the model gave no answer")


async def _answer(body: SummarizeRequest, engine: LlamaEngine) -> AsyncGenerator[str | SummarizeResponse]:
    """The service's pieces, within a slot that is held until the last or until the generator is closed."""
    async with admission.slot() as queued_ms:
        trace().add("queue", queued_ms)
        async with aclosing(service.summarize(body, engine, get_settings().summarize.max_article_tokens)) as pieces:
            async for piece in pieces:
                yield piece


async def _events(
    request: Request, first: str | SummarizeResponse, rest: AsyncGenerator[str | SummarizeResponse]
) -> AsyncIterator[str]:
    async with aclosing(rest):
        try:
            async with cancelled_on_disconnect(request):
                yield _event(first)
                async for piece in rest:
                    yield _event(piece)
        except ClientDisconnected:
            return


def _event(piece: str | SummarizeResponse) -> str:
    if isinstance(piece, str):
        return f"event: token\ndata: {json.dumps({'text': piece}, ensure_ascii=False)}\n\n"
    return f"event: done\ndata: {piece.model_dump_json()}\n\n"


app = create_app(router, title="The Factory: summarize")
handler = create_handler(app)
