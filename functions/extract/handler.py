"""POST /extract."""

from fastapi import APIRouter, Request

from common.admission import Admission, Limits
from common.app import cancelled_on_disconnect, create_app, create_handler
from common.logs import trace
from common.settings import get_settings
from common.worker import Worker
from functions.extract import service
from functions.extract.engine import model
from functions.extract.schemas import ExtractRequest, ExtractResponse

router = APIRouter(tags=["extract"])
worker = Worker("extract")
# One at a time: onnxruntime already spreads a single run over all the threads there are.
admission = Admission("extract", lambda: Limits(1, get_settings().extract.max_waiting))


@router.post("/extract", summary="Entities of a text, for any labels")
async def extract(body: ExtractRequest, request: Request) -> ExtractResponse:
    async with cancelled_on_disconnect(request):
        engine = await model.ready(get_settings().model_wait_seconds)
        async with admission.slot() as queued_ms:
            trace().add("queue", queued_ms)
            with trace().measure("model"):
                return await worker.run(lambda cancelled: service.extract(body, engine, cancelled))


app = create_app(router, title="The Factory: extract")
handler = create_handler(app)
