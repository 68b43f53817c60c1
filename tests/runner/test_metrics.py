"""GET /metrics of a service that lives: what each request adds to it, and that it agrees with the answers."""

import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

import local_runner
from functions.audio.handler import app as audio_app
from functions.audio.pieces import BYTES_PER_SECOND
from functions.extract.handler import app as extract_app
from functions.health.handler import app as health_app
from functions.summarize.handler import app as summarize_app
from tests.conftest import Runner, SettingsEnv, call, run_service, wait_until
from tests.doubles import lead_model
from tests.doubles.edge_server import Fault, SpeechCloud
from tests.runner.exposition import PART, Samples, known, scrape

ARTICLE = "The town opened a bridge on Monday. It took years to build. Many came to see it. It rained all day."
PLAIN, OPENMETRICS = (
    "text/plain; version=0.0.4; charset=utf-8",
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
)

KEY = {"X-API-Key": "a-key-of-the-night-desk"}


class Change:
    """What was added to a service's metrics since this was made, once what is asked for is there."""

    def __init__(self, url: str) -> None:
        self._url, self._before = url, scrape(url)

    def of(self, name: str, **labels: str) -> float:
        return scrape(self._url).sum(name, **labels) - self._before.sum(name, **labels)

    def requests(self, **labels: str) -> float:
        return self.of("factory_requests_total", **labels)

    def comes(self, number: float, name: str, **labels: str) -> None:
        """A request is counted when its answer is out: its client may be quicker."""
        wait_until(lambda: self.of(name, **labels) == number, f"{name} {labels} is {number} more")


def post(runner: Runner, path: str, **fields: object) -> httpx.Response:
    return httpx.post(runner.url + path, json=fields, timeout=60)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, PLAIN),
        ("*/*", PLAIN),
        ("text/plain;version=0.0.4", PLAIN),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", OPENMETRICS),
        ("application/openmetrics-text;q=0.1, text/plain", PLAIN),
        ("application/openmetrics-text;q=0", PLAIN),
        ('application/openmetrics-text; version="9;x"; escaping=nonsense', OPENMETRICS),
        ("application/openmetrics-text; version=a.b", OPENMETRICS),
    ],
)
def test_the_format_is_the_one_that_is_accepted(runner: Runner, accept: str | None, content_type: str) -> None:
    answered = httpx.get(f"{runner.url}/metrics", headers={"Accept": accept} if accept else {})
    assert answered.status_code == 200
    assert answered.headers["content-type"] == content_type
    if content_type is OPENMETRICS:
        assert answered.text.endswith("# EOF\n")
        assert list(openmetrics(answered.text))  # type: ignore[no-untyped-call]
    else:
        assert Samples(answered.text).families


def test_head_tells_the_length_and_sends_nothing(runner: Runner) -> None:
    answered = httpx.head(f"{runner.url}/metrics")
    assert answered.status_code == 200
    assert int(answered.headers["content-length"]) > 1000
    assert answered.content == b""


def test_nothing_but_reading_is_allowed(runner: Runner) -> None:
    answered = httpx.post(f"{runner.url}/metrics")
    assert (answered.status_code, answered.headers["allow"]) == (405, "GET, HEAD")


def test_the_live_service_exposes_what_is_documented_with_the_same_labels(runner: Runner) -> None:
    post(runner, "/summarize", text=ARTICLE)
    post(runner, "/extract", text=ARTICLE, labels=["place"])
    post(runner, "/audio", text=ARTICLE)
    httpx.get(f"{runner.url}/nowhere")
    text = httpx.get(f"{runner.url}/metrics").text
    expected = known()
    shown = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert shown == {name for name in expected if not PART.search(name)}
    for name, series in Samples(text).series().items():
        assert {frozenset(label for label, _ in labels) for labels in series} == {expected[name].labels}, name
    assert "_created" not in text


def test_a_summary_counts_once_with_the_tokens_that_its_answer_tells(runner: Runner) -> None:
    change = Change(runner.url)
    article = f"{ARTICLE} It is counted once."
    usage = post(runner, "/summarize", text=article, temperature=0).json()["usage"]
    change.comes(1, "factory_requests_total", route="/summarize", method="POST", status="200", caller="")
    made = {"model": lead_model.NAME, "writer": "main"}
    for kind in ("prompt", "cached", "completion"):
        assert change.of(f"factory_summarize_{kind}_tokens_total", **made) == usage[f"{kind}_tokens"]
    assert change.of("factory_summarize_summaries_total", writer="main", why="") == 1
    for phase in ("queue", "prefill", "decode"):
        assert change.of(f"factory_request_{phase}_seconds_count", route="/summarize") == 1
    assert change.of("factory_request_duration_seconds_count", route="/summarize") == 1
    assert change.of("factory_cache_misses_total", function="summarize") == 1
    # It is given again: nothing more is made.
    again = post(runner, "/summarize", text=article, temperature=0).json()["usage"]
    assert again["cached_answer"]
    change.comes(2, "factory_requests_total", route="/summarize", status="200")
    assert change.of("factory_summarize_summaries_total") == 1
    assert change.of("factory_summarize_completion_tokens_total") == usage["completion_tokens"]
    assert change.of("factory_cache_hits_total", function="summarize") == 1
    assert change.of("factory_cache_misses_total", function="summarize") == 1
    assert change.of("factory_cache_answers", function="summarize") == 1


def test_a_streamed_summary_counts_once(runner: Runner) -> None:
    change = Change(runner.url)
    sent = post(runner, "/summarize", text=f"{ARTICLE} It is streamed.", stream=True).text
    usage = json.loads(sent.rpartition("data: ")[2])["usage"]
    change.comes(1, "factory_requests_total", route="/summarize", status="200")
    assert change.requests(route="/summarize") == 1
    assert change.of("factory_summarize_completion_tokens_total") == usage["completion_tokens"]
    assert change.of("factory_request_decode_seconds_count", route="/summarize") == 1


def test_a_condensed_article_counts_as_one(runner: Runner) -> None:
    change = Change(runner.url)
    answer = post(runner, "/summarize", text=f"{ARTICLE} " * 40).json()
    assert answer["condensed"]
    change.comes(1, "factory_summarize_condensed_total", writer="main")


def test_texts_words_and_windows_are_those_of_the_answers(runner: Runner) -> None:
    change = Change(runner.url)
    texts = [f"{ARTICLE} Number {number}." for number in range(3)] + [f"{ARTICLE} " * 60]
    results = post(runner, "/extract", texts=[*texts, texts[0]], labels=["place"]).json()["results"]
    change.comes(1, "factory_requests_total", route="/extract", status="200")
    assert change.of("factory_extract_texts_total") == 4
    for kind in ("words", "windows"):
        assert change.of(f"factory_extract_{kind}_total") == sum(result[kind] for result in results[:4])
    joined = change.of("factory_runs_joined_total", function="extract")
    assert joined + change.of("factory_cache_hits_total", function="extract") == 1
    assert change.of("factory_request_model_seconds_count", route="/extract") == 1


@pytest.mark.parametrize(
    ("method", "path", "content", "route", "status", "reason"),
    [
        ("POST", "/summarize", b'{"text": ""}', "/summarize", 422, "invalid-input"),
        ("POST", "/extract", b"{", "/extract", 400, "malformed-request"),
        ("POST", "/audio", b" " * 2_700_000, "/audio", 413, "payload-too-large"),
        ("POST", "/audio/", b" " * 2_700_000, "/audio", 413, "payload-too-large"),
        ("GET", "/audio/recordings/0123", b"", "/audio/recordings/{recording}", 404, "not-found"),
        ("GET", "/wp-login.php", b"", "unmatched", 404, "not-found"),
        ("PUT", "/summarize", b"", "/summarize", 405, "method-not-allowed"),
        ("BREW", "/summarize", b"", "/summarize", 405, "method-not-allowed"),
    ],
)
def test_an_error_counts_once_by_its_reason(
    runner: Runner, method: str, path: str, content: bytes, route: str, status: int, reason: str
) -> None:
    change = Change(runner.url)
    headers = {"Content-Type": "application/json"}
    answered = httpx.request(method, runner.url + path, content=content, headers=headers)
    assert answered.status_code == status
    shown = "other" if method == "BREW" else method
    change.comes(1, "factory_requests_total", route=route, method=shown, status=str(status))
    assert change.of("factory_problems_total", route=route, problem=reason) == 1
    assert change.of("factory_problems_total") == 1
    assert change.of("factory_request_duration_seconds_count", route=route) == 0


def test_a_client_that_leaves_within_its_body_counts_as_499(runner: Runner) -> None:
    change, url = Change(runner.url), httpx.URL(runner.url)
    with socket.create_connection((url.host, url.port)) as leaver:
        leaver.sendall(b"POST /extract HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        wait_until(lambda: scrape(runner.url).sum("factory_requests_in_progress") == 2, "it is at work")
    change.comes(1, "factory_requests_total", route="/extract", status="499")
    assert change.of("factory_problems_total", route="/extract", problem="client-disconnected") == 1
    assert scrape(runner.url).sum("factory_requests_in_progress") == 1


def test_what_is_no_http_counts_as_a_connection_that_was_closed(runner: Runner) -> None:
    change, url = Change(runner.url), httpx.URL(runner.url)
    with socket.create_connection((url.host, url.port)) as stranger:
        stranger.sendall(b"\x16\x03\x01\r\n\r\n")
        stranger.recv(4096)
    change.comes(1, "factory_connections_closed_total", reason="malformed request")
    assert scrape(runner.url).sum("factory_connections", state="at_work") == 1


def test_the_state_of_the_house_is_shown(as_it_starts: Runner) -> None:
    health, found = httpx.get(f"{as_it_starts.url}/health").json(), scrape(as_it_starts.url)
    for name, model in health["models"].items():
        assert found.sum("factory_model_state", model=name, state=model["state"]) == 1
        assert found.sum("factory_model_state", model=name) == 1
        assert found.sum("factory_model_progress_ratio", model=name) == model["progress"]
    assert found.sum("factory_model_tokens_per_second", model="llama", work="writing") > 0
    assert found.sum("factory_build_info", version=health["version"], profile="embedded") == 1
    assert found.sum("factory_upstream_state", upstream="speech cloud", state="closed") == 1
    for name, queue in health["queues"].items():
        for state, number in queue.items():
            assert found.sum("factory_queue_requests", function=name, state=state) == number
    assert found.sum("process_resident_memory_bytes") == pytest.approx(as_it_starts.rss(), rel=0.3)
    assert found.sum("process_open_fds") > 5
    assert found.sum("factory_event_loop_lag_seconds") < 60


def test_refusals_and_leavers_count_once_and_no_scrape_waits_for_the_model(tmp_path: Path) -> None:
    settings = {"CONTEXT": 32768, "MAX_ARTICLE_TOKENS": 30000, "PARALLEL": 1, "MAX_WAITING": 0}
    variables = {f"SUMMARIZE__{name}": value for name, value in settings.items()}
    with run_service(tmp_path / "log.txt", **variables) as runner:
        assert post(runner, "/summarize", text=ARTICLE, max_tokens=4).status_code == 200
        change, url = Change(runner.url), httpx.URL(runner.url)
        body = json.dumps({"text": "word " * 29_000, "stream": True}).encode()
        head = f"POST /summarize HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        with socket.create_connection((url.host, url.port)) as leaver:
            leaver.sendall(f"{head}\r\n\r\n".encode() + body)
            wait_until(
                lambda: scrape(runner.url).sum("factory_queue_requests", function="summarize", state="at_work") == 1,
                "the long article holds the model",
                seconds=20,
            )
            assert post(runner, "/summarize", text=ARTICLE).status_code == 503
            assert httpx.get(f"{runner.url}/metrics", timeout=2).elapsed.total_seconds() < 2
            change.comes(1, "factory_problems_total", route="/summarize", problem="queue-full")
        change.comes(1, "factory_requests_total", route="/summarize", status="499")
        assert change.requests(route="/summarize", status="503") == 1
        assert change.requests(route="/summarize") == 2
        assert change.of("factory_problems_total", route="/summarize", problem="client-disconnected") == 1
        assert change.of("factory_summarize_summaries_total") == 0


def test_a_recording_of_another_voice_counts_for_its_engine(tmp_path: Path) -> None:
    with SpeechCloud() as cloud, run_service(tmp_path / "log.txt", AUDIO__ENDPOINT=cloud.url) as runner:
        cloud.fault = Fault.FORBIDDEN
        change = Change(runner.url)
        answered = post(runner, "/audio", text=ARTICLE)
        engine = answered.headers["x-audio-engine"]
        assert engine != "edge-tts"
        change.comes(1, "factory_requests_total", route="/audio", status="200")
        assert change.of("factory_audio_recordings_total", engine=engine, outcome="whole") == 1
        assert change.of("factory_audio_recordings_total") == 1
        seconds = change.of("factory_audio_sound_seconds_total", engine=engine)
        assert seconds == pytest.approx(len(answered.content) / BYTES_PER_SECOND)
        assert change.of("factory_audio_cloud_turns_total", outcome="refused") == 1
        assert change.of("factory_request_first_audio_seconds_count", route="/audio") == 1
        assert scrape(runner.url).sum("factory_upstream_failures") == 1


@pytest.mark.parametrize("app", [summarize_app, extract_app, audio_app, health_app])
def test_a_function_by_itself_serves_no_metrics(app: Any) -> None:
    assert call(app, "GET", "/metrics").status_code == 404


@pytest.mark.parametrize("opened", [False, True])
def test_where_keys_are_set_the_metrics_need_one_unless_a_setting_opens_them(
    settings_env: SettingsEnv, opened: bool
) -> None:
    settings_env(API_KEYS=f"desk:{KEY['X-API-Key']}", METRICS_OPEN=opened)
    assert call(local_runner.app, "GET", "/metrics").status_code == (200 if opened else 401)
    assert call(local_runner.app, "GET", "/metrics", headers=KEY).status_code == 200


def test_the_caller_of_a_request_is_the_name_of_its_key_and_never_an_address(settings_env: SettingsEnv) -> None:
    settings_env(API_KEYS=f"night-desk:{KEY['X-API-Key']}")
    for headers in (KEY, {"X-API-Key": "wrong"}):
        call(local_runner.app, "GET", "/v1/models", headers=headers)
    text = call(local_runner.app, "GET", "/metrics", headers=KEY).text
    callers = {
        dict(labels).get("caller")
        for labels in Samples(text).series()["factory_requests_total"]
        if ("route", "/v1/models") in labels
    }
    assert callers >= {"night-desk", ""}
    assert not any("127.0.0.1" in str(caller) for caller in callers)
