"""How the process is: what the registry of models knows, put into one report."""

import time
from collections.abc import Mapping
from typing import Any

from common.lazy import LazyModel
from functions.health.schemas import HealthResponse, ModelHealth

STARTED_AT = time.monotonic()


def report(models: Mapping[str, LazyModel[Any]]) -> HealthResponse:
    statuses = {name: model.status for name, model in models.items()}
    ready = {name for name, status in statuses.items() if status.state == "ready"}
    failed = any(status.state == "failed" for status in statuses.values())
    return HealthResponse(
        status="degraded" if failed else "healthy",
        models_loaded=bool(statuses) and len(ready) == len(statuses),
        uptime_seconds=int(time.monotonic() - STARTED_AT),
        llama_loaded="llama" in ready,
        gliner_loaded="gliner" in ready,
        models={
            name: ModelHealth(state=status.state, progress=status.progress, detail=status.detail)
            for name, status in statuses.items()
        },
    )


def is_ready(models: Mapping[str, LazyModel[Any]]) -> bool:
    """Whether every model that was warmed is loaded; a process that warms none is ready at once."""
    return all(model.status.state == "ready" for model in models.values() if model.warmed)
