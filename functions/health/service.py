"""How the process is: what the registries of models and of services elsewhere know, put into one report."""

import time

from common import lazy
from common.admission import queues
from common.loop_lag import loop_lag
from common.upstreams import upstreams
from common.version import VERSION
from functions.health.schemas import HealthResponse, ModelHealth, QueueHealth, UpstreamHealth

STARTED_AT = time.monotonic()


def report() -> HealthResponse:
    # Once: each model is asked whether it is wanted.
    known = lazy.models()
    models = {name: model.status for name, model in known.items()}
    needed = {name: models[name] for name, model in known.items() if not model.optional}
    queued = {name: status() for name, status in queues().items()}
    services = {name: status() for name, status in upstreams().items()}
    ready = {name for name, status in models.items() if status.state == "ready"}
    failed = any(status.state == "failed" for status in needed.values())
    failed = failed or any(status.state != "closed" for status in services.values())
    return HealthResponse(
        status="degraded" if failed else "healthy",
        models_loaded=bool(needed) and needed.keys() <= ready,
        uptime_seconds=int(time.monotonic() - STARTED_AT),
        version=VERSION,
        loop_lag_ms=loop_lag.milliseconds,
        llama_loaded="llama" in ready,
        gliner_loaded="gliner" in ready,
        models={
            name: ModelHealth(
                state=status.state,
                progress=status.progress,
                detail=status.detail,
                rates=dict(known[name].rates) or None,
                **status.facts,
            )
            for name, status in models.items()
        },
        queues={name: QueueHealth(at_work=one.at_work, waiting=one.waiting) for name, one in queued.items()},
        upstreams={
            name: UpstreamHealth(
                state=status.state, failures=status.failures, retry_in_seconds=round(status.retry_in_seconds, 1)
            )
            for name, status in services.items()
        },
    )


def is_ready() -> bool:
    """Whether all that was loaded ahead can be answered with; a process that loads nothing ahead is ready at once."""
    return lazy.answerable()
