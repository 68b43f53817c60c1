"""GET and HEAD /health, GET /health/ready."""

from fastapi import APIRouter, Response

from common.http.keys import make_public
from functions.health import service
from functions.health.schemas import HealthResponse

# Seconds until a model that is loading is worth another look.
READY_RETRY_SECONDS = 5

router = APIRouter(tags=["health"])
# Who watches the service needs no key.
make_public("/health")


@router.get("/health", summary="How the process is; 200 while it lives")
async def health() -> HealthResponse:
    return service.report()


@router.get(
    "/health/ready",
    summary="200 when every warmed model is loaded, or what stands in for it; else 503",
    responses={503: {"model": HealthResponse}},
)
async def health_ready(response: Response) -> HealthResponse:
    if not service.is_ready():
        response.status_code = 503
        response.headers["Retry-After"] = str(READY_RETRY_SECONDS)
    return service.report()
