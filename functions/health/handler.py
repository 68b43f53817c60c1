"""GET and HEAD /health, GET /health/ready."""

from fastapi import APIRouter, Response

from common.app import create_app, create_handler
from common.breaker import breakers
from common.lazy import models
from common.loop_lag import loop_lag
from functions.health import service
from functions.health.schemas import HealthResponse

router = APIRouter(tags=["health"])


@router.get("/health", summary="How the process is; 200 while it lives")
async def health() -> HealthResponse:
    return service.report(models(), breakers(), loop_lag.milliseconds)


@router.get(
    "/health/ready",
    summary="200 when every warmed model is loaded, else 503",
    responses={503: {"model": HealthResponse}},
)
async def health_ready(response: Response) -> HealthResponse:
    if not service.is_ready(models()):
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return service.report(models(), breakers(), loop_lag.milliseconds)


app = create_app(router, title="The Factory: health")
handler = create_handler(app)
