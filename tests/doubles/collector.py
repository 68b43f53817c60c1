"""A loopback double of an OpenTelemetry collector: it takes spans by OTLP over HTTP. In a test:

with Collector() as collector:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    collector.spans  # all that have come, in the order they came
    collector.hangs = True  # from here on it takes requests and never answers
"""

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan


@dataclass(frozen=True)
class Span:
    """One span; times are seconds since 1970, ids in hexadecimal, `parent` is "" where there is none."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    begun: float
    ended: float
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector:
    """`paths` and `headers` are of the requests that came; `raw` is all that they held."""

    def __init__(self) -> None:
        self.hangs = False
        self.spans: list[Span] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.raw = b""
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def servers(self) -> list[Span]:
        """The spans of requests, without those of their phases."""
        return [span for span in list(self.spans) if span.kind == ProtoSpan.SPAN_KIND_SERVER]

    def phases(self, request: Span) -> list[Span]:
        """The phases of a request, in the order in which they began."""
        return sorted((span for span in self.spans if span.parent == request.id), key=lambda span: span.begun)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for of_resource in request.resource_spans:
            resource = _values(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                self.spans.extend(_span(span, resource) for span in of_scope.spans)
        self.paths.append(path)
        self.headers.append(headers)
        self.raw += body

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector._take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                if collector.hangs:
                    collector._released.wait()
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _span(span: ProtoSpan, resource: dict[str, Any]) -> Span:
    return Span(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=span.kind,
        begun=span.start_time_unix_nano / 1e9,
        ended=span.end_time_unix_nano / 1e9,
        failed=span.status.code == 2,
        attributes=_values(span.attributes),
        resource=resource,
    )


def _values(attributes: Any) -> dict[str, Any]:
    def value(item: KeyValue) -> Any:
        kind = item.value.WhichOneof("value")
        return getattr(item.value, kind) if kind else None

    return {item.key: value(item) for item in attributes}
