"""POST /extract."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from common.errors import FieldError, InvalidInput
from common.http.deadlines import deadline
from common.http.disconnects import cancelled_on_disconnect
from common.quotas import charge_characters, metered
from common.settings import get_settings
from functions.extract import service
from functions.extract.schemas import ExtractRequest, ExtractResponse, TextsResponse

router = APIRouter(tags=["extract"])
metered("extract", "/extract", limits=lambda: get_settings().extract)


@router.post(
    "/extract",
    summary="Entities of a text, or of several, for any labels",
    response_class=Response,
    responses={200: {"model": ExtractResponse | TextsResponse}},
)
async def extract(body: ExtractRequest, request: Request) -> Response:
    if (body.text is None) == (body.texts is None):
        raise InvalidInput([FieldError("text", "one of `text` and `texts` is required, and only one")])
    if body.text is not None:
        charge_characters("extract", len(body.text), "text")
    else:
        charge_characters("extract", sum(map(len, body.texts or ())), "texts")
    until = deadline(request, None, get_settings().extract.max_wait_seconds)
    async with cancelled_on_disconnect(request):
        answer = await service.respond(body, until)
    return Response(answer, media_type="application/json")
