"""How the process is: what the registries of models and breakers know, put into one report."""

import time
from collections.abc import Mapping
from typing import Any

from common.breaker import Breaker
from common.lazy import LazyModel
from functions.health.schemas import HealthResponse, ModelHealth, UpstreamHealth

STARTED_AT = time.monotonic()


def report(
    models: Mapping[str, LazyModel[Any]], breakers: Mapping[str, Breaker], loop_lag_ms: float | None
) -> HealthResponse:
    statuses = {name: model.status for name, model in models.items()}
    ready = {name for name, status in statuses.items() if status.state == "ready"}
    upstreams = {name: breaker.status for name, breaker in breakers.items()}
    failed = any(status.state == "failed" for status in statuses.values())
    failed = failed or any(status.state != "closed" for status in upstreams.values())
    return HealthResponse(
        status="degraded" if failed else "healthy",
        models_loaded=bool(statuses) and len(ready) == len(statuses),
        uptime_seconds=int(time.monotonic() - STARTED_AT),
        loop_lag_ms=loop_lag_ms,
        llama_loaded="llama" in ready,
        gliner_loaded="gliner" in ready,
        models={
            name: ModelHealth(state=status.state, progress=status.progress, detail=status.detail)
            for name, status in statuses.items()
        },
        upstreams={
            name: UpstreamHealth(
                state=status.state, failures=status.failures, retry_in_seconds=round(status.retry_in_seconds, 1)
            )
            for name, status in upstreams.items()
        },
    )


def is_ready(models: Mapping[str, LazyModel[Any]]) -> bool:
    """Whether every model that was warmed is loaded; a process that warms none is ready at once."""
    return all(model.status.state == "ready" for model in models.values() if model.warmed)
