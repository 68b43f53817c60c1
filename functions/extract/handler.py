"""POST /extract."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request
from pydantic import TypeAdapter, ValidationError

from common.admission import Admission, Limits
from common.app import cancelled_on_disconnect, create_app, create_handler
from common.errors import FactoryError, FieldError, InvalidInput
from common.logs import trace
from common.problems import unexpected
from common.repeats import Flights, Kept, request_key
from common.settings import get_settings
from functions.extract import service
from functions.extract.batches import Batches
from functions.extract.engine import GlinerEngine, model
from functions.extract.schemas import (
    ExtractRequest,
    ExtractResponse,
    Options,
    Text,
    TextError,
    TextProblem,
    TextResult,
    TextsResponse,
)

# What a kept result takes beside its JSON: key, objects, links.
ENTRY_BYTES = 1024

router = APIRouter(tags=["extract"])
# Requests at work take turns at the model, window by window.
admission = Admission("extract", lambda: Limits(1 + get_settings().extract.max_waiting, 0))
batches = Batches()
flights: Flights[TextResult] = Flights()
kept: Kept[TextResult] = Kept(
    lambda result: ENTRY_BYTES + len(result.model_dump_json()), lambda: get_settings().extract.answer_cache_bytes
)
_text: TypeAdapter[str] = TypeAdapter(Text)


@router.post("/extract", summary="Entities of a text, or of several, for any labels")
async def extract(body: ExtractRequest, request: Request) -> ExtractResponse | TextsResponse:
    begun = time.monotonic()
    if (body.text is None) == (body.texts is None):
        raise InvalidInput([FieldError("text", "one of `text` and `texts` is required, and only one")])
    options = Options.model_validate(body.model_dump(exclude={"text", "texts"}))
    async with cancelled_on_disconnect(request):
        engine = await model.ready(get_settings().model_wait_seconds)
        service.check_labels(options.labels, engine)
        async with admission.slot():
            timing = _Timing()
            if body.text is not None:
                result = await _result(body.text, options, engine, timing)
                answer: ExtractResponse | TextsResponse = ExtractResponse(**result.model_dump(), model=engine.name)
            else:
                results = [
                    _result_or_error(f"texts[{number}]", text, options, engine, timing)
                    for number, text in enumerate(body.texts or [])
                ]
                answer = TextsResponse(
                    results=await asyncio.gather(*results), model=engine.name, inference_time_ms=_since(begun)
                )
            timing.close()
            return answer


class _Timing:
    """The request's phases: waiting for the model's first window, and from there on."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._started: float | None = None

    def started(self) -> None:
        if self._started is None:
            self._started = time.monotonic()

    def close(self) -> None:
        started = self._started or self._begun
        trace().add("queue", (started - self._begun) * 1000)
        trace().add("model", (time.monotonic() - started) * 1000)


async def _result_or_error(
    field: str, text: str, options: Options, engine: GlinerEngine, timing: _Timing
) -> TextResult | TextError:
    """What went wrong with one text is told in its place; the others have their results."""
    try:
        _text.validate_python(text)
        return await _result(text, options, engine, timing)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        problem = InvalidInput([FieldError(field, reason)]).problem("")
    except FactoryError as error:
        problem = error.problem("")
    except Exception:
        problem = unexpected().problem("")
    return TextError(error=TextProblem.model_validate(problem))


async def _result(text: str, options: Options, engine: GlinerEngine, timing: _Timing) -> TextResult:
    """A kept result, or one of a run that equal texts at the same time share."""
    begun = time.monotonic()
    key = request_key(engine.name, options, text)
    if (result := kept.get(key)) is not None:
        return result.model_copy(update={"cached_answer": True, "inference_time_ms": _since(begun)})

    async def run() -> AsyncGenerator[TextResult]:
        yield await service.extract(
            text, options, engine, lambda pieces: batches.spans(engine, pieces, timing, timing.started)
        )

    async with aclosing(flights.join(key, run)) as results:
        result = await anext(results)
    kept.keep(key, result)
    return result


def _since(begun: float) -> int:
    return round((time.monotonic() - begun) * 1000)


app = create_app(router, title="The Factory: extract")
handler = create_handler(app)
