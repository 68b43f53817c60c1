"""A request as spans: one of the server's, and below it one for each phase. Imports OpenTelemetry's SDK.

Names are those of the semantic conventions for HTTP servers; what they have no name for begins with `factory.`. There
is never a text in a span, and of addresses only those that hold no id.
"""

import logging
import threading
import time
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import Scope

from common import keys
from common.logs import Trace
from common.version import VERSION

SERVICE = {"service.name": "segmento-factory", "service.version": VERSION}
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
LONGEST_PATH = 256
# While a collector is away each batch fails with several lines.
SECONDS_BETWEEN_COMPLAINTS = 60.0

logger = logging.getLogger(__name__)

Attributes = dict[str, str | int]


class Spans:
    """Makes spans and hands them to OpenTelemetry's own thread, which sends them; a full queue loses the oldest."""

    def __init__(self) -> None:
        _complain_seldom()
        # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes first.
        resource = Resource.create({**SERVICE, **OTELResourceDetector().detect().attributes})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("factory", VERSION)
        self._propagator = TraceContextTextMapPropagator()
        self._flushing: threading.Thread | None = None

    def record(
        self, trace: Trace, scope: Scope, *, method: str, route: str, status: int, begun: float, ended: float
    ) -> None:
        """See `tracing.record`."""
        # The clock of the wall at a time of `time.monotonic`.
        offset_ns = time.time_ns() - time.monotonic_ns()

        def clock(at: float) -> int:
            return offset_ns + round(at * 1e9)

        attributes = _attributes(trace, scope, method, route, status)
        span = self._tracer.start_span(
            _name(attributes),
            context=self._propagator.extract(_carrier(scope)),
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=clock(begun),
        )
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        if span.is_recording():
            inside = set_span_in_context(span)
            for name, phase_begun, phase_ended in sorted(trace.spans, key=lambda one: one[1]):
                # A run that equal requests share may have begun before this one of them came.
                begins = min(max(phase_begun, begun), phase_ended)
                phase = self._tracer.start_span(name, context=inside, start_time=clock(begins))
                phase.end(clock(phase_ended))
        span.end(clock(ended))

    def flush(self, seconds: float) -> None:
        if self._flushing is None or not self._flushing.is_alive():
            # Its own limit is not kept by the SDK.
            self._flushing = _within(seconds, self._provider.force_flush)

    def stop(self, seconds: float) -> None:
        _within(seconds, self._provider.shutdown)


def _attributes(trace: Trace, scope: Scope, method: str, route: str, status: int) -> Attributes:
    known = method in METHODS
    found: Attributes = {
        "http.request.method": method if known else "_OTHER",
        "http.response.status_code": status,
        "url.scheme": scope.get("scheme", "http"),
        "network.protocol.version": scope.get("http_version", ""),
        "factory.request_id": trace.request_id,
    }
    if not known:
        found["http.request.method_original"] = method[:32]
    if scope.get("route") is not None:
        found["http.route"] = route
    # The address of a recording is only for whom it was told.
    if "{" not in route:
        found["url.path"] = scope["path"][:LONGEST_PATH].encode("utf-8", "replace").decode()
    if status >= 500:
        found["error.type"] = str(status)
    if name := keys.name_of(trace.caller):
        found["factory.caller"] = name
    return found | {f"factory.{name}": value for name, value in trace.notes.items()}


def _name(attributes: Attributes) -> str:
    method = str(attributes["http.request.method"]).replace("_OTHER", "HTTP")
    return f"{method} {attributes['http.route']}" if "http.route" in attributes else method


def _carrier(scope: Scope) -> dict[str, str]:
    headers = Headers(scope=scope)
    return {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}


def _within(seconds: float, work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, name="traces", daemon=True)
    thread.start()
    thread.join(seconds)
    return thread


class _Seldom(logging.Handler):
    """Says the first of many complaints, and after a while the next one."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next_at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now >= self._next_at:
            self._next_at = now + SECONDS_BETWEEN_COMPLAINTS
            logger.warning("traces: %s", record.getMessage())


def _complain_seldom() -> None:
    source = logging.getLogger("opentelemetry")
    source.propagate = False
    source.handlers = [_Seldom()]
