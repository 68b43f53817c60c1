"""Traces of requests by OpenTelemetry, where its packages are installed and a variable says whereto.

Nothing of it is imported otherwise. The `OTEL_` variables are OpenTelemetry's own; see docs/operations.md.
"""

import importlib.util
import logging
import os
from typing import TYPE_CHECKING

from starlette.types import Scope

from common.logs import Trace

if TYPE_CHECKING:
    from common.http.spans import Spans

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

logger = logging.getLogger(__name__)

_spans: "Spans | None" = None


def start() -> None:
    """Trace from here on, if it is set up. To be called once; says in the log what stands in the way."""
    global _spans
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return
    if not all(map(_is_installed, PACKAGES)):
        logger.warning("no traces: %s is set, but requirements/traces.txt is not installed", ENDPOINTS[1])
        return
    from common.http.spans import Spans

    try:
        _spans = Spans()
    except Exception as error:
        # A variable has a value that OpenTelemetry does not take. The service works without traces.
        logger.warning("no traces: %s", error)
        return
    logger.info("requests are traced by OpenTelemetry")


def record(trace: Trace, scope: Scope, *, method: str, route: str, status: int, begun: float, ended: float) -> None:
    """Hand over a request that has ended; `begun` and `ended` are times of `time.monotonic`. Never waits or raises."""
    if _spans is None:
        return
    try:
        _spans.record(trace, scope, method=method, route=route, status=status, begun=begun, ended=ended)
    except Exception:
        logger.exception("request %s could not be traced", trace.request_id)


def flush(seconds: float) -> None:
    """Send what there is now. Waits for so long at most, and not at all while an earlier flush is still at it."""
    if _spans is not None:
        _spans.flush(seconds)


def stop(seconds: float) -> None:
    """Send what is left, for so long at most, and trace no more."""
    global _spans
    if _spans is not None:
        ending, _spans = _spans, None
        ending.stop(seconds)


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False
