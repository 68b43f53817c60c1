"""Traces by OpenTelemetry, as a collector gets them."""

import asyncio
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request

from common.errors import Unavailable
from common.http import spans, tracing
from common.http.app import create_app
from common.logs import MOST_SPANS, Trace, trace
from tests.conftest import ROOT, Runner, SettingsEnv, call, lambda_event, run_service, wait_until
from tests.doubles.collector import Collector, Span
from tests.doubles.edge_server import SpeechCloud
from tests.doubles.lambda_runtime import LambdaRuntime, start

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
OF_THE_EXTRAS = ("opentelemetry.sdk", "opentelemetry.exporter", "google", "requests", "mcp")
ARTICLE = "The harbour board voted on Monday to close the old lighthouse. " * 4
# Ours and the SDK's.
THREADS = ("traces", "OtelBatch")
PARENT_TRACE, PARENT_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{PARENT_TRACE}-{PARENT_SPAN}-01"

router = APIRouter()


@router.post("/work/{kind}")
async def work(kind: str, request: Request) -> dict[str, str]:
    if kind == "refused":
        raise Unavailable("not now", 3)
    if kind == "broken":
        raise RuntimeError(kind)
    await request.body()
    trace().add_in_turn({"queue": 1.0, "model": 2.0})
    trace().notes["writer"] = "main"
    return {}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running
    # What hung is released with the collector; it complains, which is not to be heard in the next test.
    wait_until(lambda: not any(thread.name.startswith(THREADS) for thread in threading.enumerate()), "all is given up")


@pytest.fixture
def traced(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """This process traces to the collector."""
    monkeypatch.setenv(ENDPOINT, collector.url)
    tracing.start()
    yield collector
    tracing.stop(5)


def only(found: Collector) -> Span:
    tracing.flush(10)
    (request,) = found.servers
    return request


def test_a_request_is_a_span_with_its_phases_below_it_in_their_order(traced: Collector) -> None:
    before = time.time()
    assert call(create_app(router), "POST", "/work/plain").status_code == 200
    request = only(traced)
    assert request.name == "POST /work/{kind}"
    assert request.attributes | {"factory.request_id": ""} == {
        "http.request.method": "POST",
        "http.route": "/work/{kind}",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "factory.request_id": "",
        "factory.writer": "main",
    }
    queue, model = traced.phases(request)
    assert (queue.name, model.name) == ("queue", "model")
    assert model.ended - model.begun == pytest.approx(0.002, abs=1e-4)
    assert queue.ended == pytest.approx(model.begun, abs=1e-4)
    assert before - 0.01 < request.begun <= queue.begun <= queue.ended
    assert model.begun <= model.ended <= request.ended < time.time() + 0.01
    assert {queue.trace, model.trace} == {request.trace}
    assert request.resource["service.name"] == "segmento-factory"


def test_the_callers_trace_goes_on(traced: Collector) -> None:
    send(create_app(router), {"traceparent": TRACEPARENT, "tracestate": "desk=1"})
    request = only(traced)
    assert (request.trace, request.parent) == (PARENT_TRACE, PARENT_SPAN)


@pytest.mark.parametrize("malformed", ["", "00-zz-1", f"00-{'0' * 32}-{PARENT_SPAN}-01", "x" * 5000, "00-é"])
def test_a_malformed_parent_is_none(traced: Collector, malformed: str) -> None:
    send(create_app(router), {"traceparent": malformed.encode("latin-1"), "tracestate": b"=,=;" * 100})
    assert only(traced).parent == ""


def test_a_caller_that_wants_no_trace_has_none(traced: Collector) -> None:
    app = create_app(router)
    send(app, {"traceparent": TRACEPARENT[:-1] + "0"})
    call(app, "GET", "/health")
    assert only(traced).attributes["url.path"] == "/health"


@pytest.mark.parametrize(("path", "status"), [("/work/refused", 503), ("/work/broken", 500)])
def test_an_answer_that_the_service_is_at_fault_for_is_a_failed_span(traced: Collector, path: str, status: int) -> None:
    assert call(create_app(router), "POST", path).status_code == status
    request = only(traced)
    assert request.failed
    assert request.attributes["error.type"] == str(status)


def test_an_answer_that_the_caller_is_at_fault_for_is_no_failed_span(traced: Collector) -> None:
    assert call(create_app(router), "GET", "/nothing?secret=1").status_code == 404
    request = only(traced)
    assert (request.name, request.failed) == ("GET", False)
    assert request.attributes["url.path"] == "/nothing"
    assert "http.route" not in request.attributes
    assert b"secret" not in traced.raw


def test_a_method_that_nobody_knows_does_not_become_a_name(traced: Collector) -> None:
    assert call(create_app(router), "BREW", "/work/plain").status_code == 405
    request = only(traced)
    assert request.name == "HTTP /work/{kind}"
    assert request.attributes["http.request.method_original"] == "BREW"


def send(app: Any, headers: dict[str, Any], client: str = "127.0.0.1") -> None:
    async def request() -> None:
        transport = httpx.ASGITransport(app, client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as session:
            assert (await session.post("/work/plain", headers=headers)).status_code == 200

    asyncio.run(request())


def test_a_caller_is_told_by_the_name_of_its_key(traced: Collector, settings_env: SettingsEnv) -> None:
    settings_env(API_KEYS="desk:a-key-that-nobody-guesses")
    send(create_app(router), {"X-API-Key": "a-key-that-nobody-guesses"})
    assert only(traced).attributes["factory.caller"] == "desk"
    assert b"nobody-guesses" not in traced.raw


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::1"])
def test_a_caller_is_never_told_by_its_address(traced: Collector, address: str) -> None:
    send(create_app(router), {}, client=address)
    assert "factory.caller" not in only(traced).attributes
    assert address.encode() not in traced.raw


def test_standard_variables_say_the_services_name_and_the_headers(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/elsewhere")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=abc")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pulse")
    tracing.start()
    try:
        call(create_app(router), "POST", "/work/plain")
        assert only(collector).resource["service.name"] == "pulse"
    finally:
        tracing.stop(5)
    assert collector.paths == ["/elsewhere"]
    assert collector.headers[0]["api-key"] == "abc"


def test_a_switch_of_the_sdk_turns_it_off(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, collector.url)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    tracing.start()
    call(create_app(router), "POST", "/work/plain")
    tracing.stop(5)
    assert not collector.spans


def test_a_value_that_is_none_is_told_and_the_service_works(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "zip")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    tracing.start()
    assert call(create_app(router), "POST", "/work/plain").status_code == 200
    assert "traces: Unsupported compression type: zip" in caplog.text


def test_where_the_packages_are_missing_the_log_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setattr(tracing, "PACKAGES", ("opentelemetry.nothing",))
    tracing.start()
    call(create_app(router), "POST", "/work/plain")
    assert [record.getMessage() for record in caplog.records if "traces" in record.getMessage()] == [
        "no traces: OTEL_EXPORTER_OTLP_ENDPOINT is set, but requirements/traces.txt is not installed"
    ]


def test_without_an_endpoint_nothing_of_it_is_imported() -> None:
    # FastAPI imports the API of OpenTelemetry by itself.
    code = (
        f"OF_THE_EXTRAS = {OF_THE_EXTRAS}\n"
        "import sys, asyncio, local_runner as r, functions.health.handler\n"
        "from common.http import tracing\n"
        "tracing.start()\n"
        "print(*sorted(name for name in sys.modules if name.startswith(OF_THE_EXTRAS)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


def test_of_many_phases_the_first_ones_are_spans_and_all_are_counted() -> None:
    many = Trace("-")
    for _ in range(1000):
        many.add("queue", 1.0)
    assert len(many.spans) == MOST_SPANS
    assert many.phases == {"queue": 1000.0}


def test_a_collector_that_hangs_holds_up_neither_requests_nor_the_end(traced: Collector) -> None:
    traced.hangs = True
    app = create_app(router)
    call(app, "POST", "/work/plain")
    begun = time.monotonic()
    tracing.flush(0.2)
    wait_until(lambda: bool(traced.servers), "the collector has a batch that it does not answer")
    for _ in range(50):
        # What comes while one hangs is not waited for at all.
        assert call(app, "POST", "/work/plain").status_code == 200
        tracing.flush(10)
    tracing.stop(0.2)
    assert time.monotonic() - begun < 5


def test_a_collector_that_is_away_is_complained_of_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.3")
    tracing.start()
    try:
        for _ in range(3):
            call(create_app(router), "POST", "/work/plain")
            tracing.flush(10)
    finally:
        tracing.stop(5)
    (complaint,) = (one.getMessage() for one in caplog.records if one.name == spans.logger.name)
    assert "spans" in complaint


def test_a_full_queue_loses_spans_and_nothing_else(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setenv(ENDPOINT, collector.url)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    collector.hangs = True
    tracing.start()
    app = create_app(router)
    for _ in range(20):
        assert call(app, "POST", "/work/plain").status_code == 200
    tracing.stop(0.1)
    assert sum(record.name == spans.logger.name for record in caplog.records) == 1


@pytest.fixture
def traced_runner(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, speech_cloud: SpeechCloud
) -> Iterator[Runner]:
    monkeypatch.setenv(ENDPOINT, collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with run_service(tmp_path / "log.txt", AUDIO__ENDPOINT=speech_cloud.url) as running:
        wait_until(lambda: httpx.get(f"{running.url}/health/ready").status_code == 200, "it is ready", 60)
        yield running


def of(collector: Collector, route: str) -> Span:
    wait_until(lambda: any(span.name == f"POST {route}" for span in collector.servers), f"a span of {route}")
    return next(span for span in collector.servers if span.name == f"POST {route}")


def test_the_service_tells_the_phases_of_each_function_and_no_text(traced_runner: Runner, collector: Collector) -> None:
    for path in ("/summarize", "/extract", "/audio"):
        response = httpx.post(traced_runner.url + path, json={"text": ARTICLE}, timeout=30)
        assert response.status_code == 200
    assert [span.name for span in collector.phases(of(collector, "/summarize"))] == ["queue", "prefill", "decode"]
    assert [span.name for span in collector.phases(of(collector, "/extract"))] == ["queue", "model"]
    spoken = of(collector, "/audio")
    assert {span.name for span in collector.phases(spoken)} == {"first_audio", "queue"}
    assert spoken.attributes["factory.engine"] == "edge-tts"
    for request in collector.servers:
        for phase in collector.phases(request):
            assert request.begun <= phase.begun <= phase.ended <= request.ended
    assert b"lighthouse" not in collector.raw
    assert b"127.0.0.1" not in collector.raw


def test_a_stream_is_a_span_until_its_end_and_one_that_was_left_is_a_499(
    traced_runner: Runner, collector: Collector
) -> None:
    body = {"text": ARTICLE, "stream": True}
    assert "event: done" in httpx.post(f"{traced_runner.url}/summarize", json=body, timeout=30).text
    whole = of(collector, "/summarize")
    assert [span.name for span in collector.phases(whole)] == ["queue", "prefill", "decode"]
    long = {"text": ARTICLE + "More.", "stream": True, "max_tokens": 1024, "temperature": 2}
    with httpx.stream("POST", f"{traced_runner.url}/summarize", json=long, timeout=30) as response:
        next(response.iter_raw())
    wait_until(lambda: len([span for span in collector.servers if span.name == "POST /summarize"]) == 2, "both")
    (left,) = (span for span in collector.servers if span.name == "POST /summarize" and span.id != whole.id)
    assert left.attributes["http.response.status_code"] == 499


def invoke(folder: Path, **variables: str) -> None:
    """Have a function of AWS Lambda answer once; after that it is ended, without being asked."""
    with (
        LambdaRuntime() as runtime,
        start("functions.health.handler.handler", runtime, folder, **variables) as function,
    ):
        runtime.wait_until_ready()
        answer = function.invoke(lambda_event("function_url", "GET", "/health"))
        assert answer.json["statusCode"] == 200
        assert answer.seconds < 5


def test_on_lambda_a_span_is_sent_before_the_answer(collector: Collector, tmp_path: Path) -> None:
    invoke(tmp_path, **{ENDPOINT: collector.url})
    assert [span.name for span in collector.servers] == ["GET /health"]


def test_on_lambda_a_collector_that_hangs_delays_an_answer_for_half_a_second(
    collector: Collector, tmp_path: Path
) -> None:
    collector.hangs = True
    invoke(tmp_path, **{ENDPOINT: collector.url})
    assert collector.servers


def test_what_is_left_is_sent_at_the_end(collector: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(ENDPOINT, collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    with run_service(tmp_path / "log.txt", WARM_UP="false") as running:
        httpx.get(f"{running.url}/health")
        assert not collector.spans
    assert "GET /health" in [span.name for span in collector.servers]


def test_a_collector_that_hangs_delays_the_end_for_seconds_at_most(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    collector.hangs = True
    monkeypatch.setenv(ENDPOINT, collector.url)
    with run_service(tmp_path / "log.txt", WARM_UP="false") as running:
        httpx.get(f"{running.url}/health")
        running.process.terminate()
        assert running.process.wait(10) == 0
    lines = [json.loads(line) for line in running.log_text().splitlines() if line.startswith("{")]
    assert sum("traces" in line.get("message", "") for line in lines) <= 2
