"""POST /extract."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from math import inf
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import TypeAdapter, ValidationError

from common.admission import DOUBT, Limits, Places
from common.app import cancelled_on_disconnect, create_app, create_handler
from common.errors import FactoryError, FieldError, InvalidInput, QueueFull
from common.logs import trace
from common.patience import deadline
from common.problems import unexpected
from common.repeats import Flights, Kept, request_key
from common.settings import get_settings
from functions.extract import bounds, service
from functions.extract.batches import Batches
from functions.extract.bounds import SURELY_FEW_CHARACTERS, Bounds
from functions.extract.engine import GlinerEngine, model
from functions.extract.reader import Piece, Prompt
from functions.extract.schemas import ExtractRequest, ExtractResponse, Options, Text, TextProblem, TextsResponse
from functions.extract.service import Extraction

if TYPE_CHECKING:
    from functions.extract.candidates import Candidates

# What a kept result takes beside its JSON: key, objects, links.
ENTRY_BYTES = 1024
# Of the texts of one request so many are at work at the same time: enough for the largest batch.
TEXTS_AT_A_TIME = 16
JSON = "application/json"

router = APIRouter(tags=["extract"])
# Requests at work take turns at the model, window by window.
places = Places("extract", lambda: Limits(1, get_settings().extract.max_waiting))
batches = Batches()
flights: Flights[Extraction] = Flights()
kept: Kept[Extraction] = Kept(
    lambda extraction: ENTRY_BYTES + len(extraction.entities), lambda: get_settings().extract.answer_cache_bytes
)
_text: TypeAdapter[str] = TypeAdapter(Text)


@router.post(
    "/extract",
    summary="Entities of a text, or of several, for any labels",
    response_class=Response,
    responses={200: {"model": ExtractResponse | TextsResponse}},
)
async def extract(body: ExtractRequest, request: Request) -> Response:
    begun = time.monotonic()
    if (body.text is None) == (body.texts is None):
        raise InvalidInput([FieldError("text", "one of `text` and `texts` is required, and only one")])
    settings = get_settings().extract
    bounds.check_texts(body.texts or (), settings)
    options = Options.model_validate(body.model_dump(exclude={"text", "texts"}))
    until = deadline(request, None, settings.max_wait_seconds)
    begin_by = begun + settings.patience_seconds if until is None else until
    async with cancelled_on_disconnect(request):
        engine = await model.ready(get_settings().model_wait_seconds)
        with places.hold():
            try:
                async with asyncio.timeout(None if until is None else until - time.monotonic()):
                    prompt = await service.prepared(options.labels, engine, settings)
                    work = _Work(options, engine, prompt, until, begin_by)
                    answer = await work.answer(body.text, body.texts or (), begun)
            except TimeoutError:
                detail = "extract: it could not be answered within the time that the request may wait"
                raise QueueFull(detail, places.retry_after()) from None
    return Response(answer, media_type=JSON)


class _Timing:
    """The request's phases: waiting for the model's first window, and from there on."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self.started_at: float | None = None

    def started(self) -> None:
        if self.started_at is None:
            self.started_at = time.monotonic()

    def close(self) -> None:
        started = self.started_at or self._begun
        trace().add("queue", (started - self._begun) * 1000)
        trace().add("model", (time.monotonic() - started) * 1000)


class _Work:
    """One request at work. `until` is when its answer has to be there, `begin_by` when the model has to be at it, as
    times of `time.monotonic`."""

    def __init__(
        self, options: Options, engine: GlinerEngine, prompt: Prompt, until: float | None, begin_by: float
    ) -> None:
        self._options, self._engine, self._prompt = options, engine, prompt
        self._until, self._begin_by = until, begin_by
        self._timing = _Timing()
        self._limits = Bounds(get_settings().extract)
        self._turns = asyncio.Semaphore(TEXTS_AT_A_TIME)
        self._is_long = False

    async def answer(self, text: str | None, texts: Sequence[str], begun: float) -> bytes:
        """The JSON of ExtractResponse for `text`, else that of TextsResponse for `texts`."""
        name = json.dumps(self._engine.name).encode()
        self._is_long = sum(map(len, texts if text is None else (text,))) > SURELY_FEW_CHARACTERS
        if text is not None:
            members = await self._members(text)
            self._timing.close()
            return b"{" + members + b', "model": ' + name + b"}"
        results = [self._result_or_error(f"texts[{number}]", one) for number, one in enumerate(texts)]
        listed = b", ".join(await asyncio.gather(*results))
        self._timing.close()
        milliseconds = str(_since(begun)).encode()
        return b'{"results": [' + listed + b'], "model": ' + name + b', "inference_time_ms": ' + milliseconds + b"}"

    async def _result_or_error(self, field: str, text: str) -> bytes:
        """What went wrong with one text is told in its place; the others have their results."""
        try:
            async with self._turns:
                _text.validate_python(text)
                return b"{" + await self._members(text) + b"}"
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            problem = InvalidInput([FieldError(field, reason)]).problem("")
        except FactoryError as error:
            problem = error.problem("")
        except Exception:
            problem = unexpected().problem("")
        return json.dumps({"error": TextProblem.model_validate(problem).model_dump()}).encode()

    async def _members(self, text: str) -> bytes:
        """Of a kept result, or of one of a run that equal texts at the same time share."""
        begun = time.monotonic()
        key = request_key(self._engine.name, self._options, text)
        if (known := kept.get(key)) is not None:
            return known.members(cached=True, inference_time_ms=_since(begun))

        async def run(_: object) -> AsyncGenerator[Extraction]:
            yield await self._extraction(text)

        async with aclosing(flights.join(key, run)) as results:
            result = await anext(results)
        kept.keep(key, result)
        return result.members(cached=False, inference_time_ms=result.inference_time_ms)

    async def _extraction(self, text: str) -> Extraction:
        if self._is_long:
            tokens = await service.count(text, self._prompt, self._engine, self._limits)
            seconds = batches.seconds(tokens)
            if self._until is not None and seconds > DOUBT * (self._until - time.monotonic()):
                raise QueueFull("extract: it would take longer than the request may wait", seconds)
        return await service.extract(text, self._options, self._engine, self._find, self._prompt, self._limits)

    async def _find(self, piece: Piece) -> "Candidates":
        begin_by = self._begin_by if self._timing.started_at is None else inf
        return await batches.spans(self._engine, piece, self._timing.started, begin_by)


def _since(begun: float) -> int:
    return round((time.monotonic() - begun) * 1000)


app = create_app(router, title="The Factory: extract")
handler = create_handler(app)
