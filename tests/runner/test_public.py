"""The service as strangers and operators meet it: keys, limits and other origins, over the wire."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import AuthenticationError, OpenAI, RateLimitError

from tests.conftest import Runner, problem, run_service, wait_until
from tests.doubles.edge_server import SpeechCloud

DESK, PULSE = "desk-0123456789abcdef", "pulse-0123456789abcdef"
ORIGIN = "https://desk.example"
LABELS = {"text": "Apple Inc. announced that Tim Cook will visit Paris.", "labels": ["Person"]}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, speech_cloud: SpeechCloud) -> Iterator[Runner]:
    log = tmp_path_factory.mktemp("guarded") / "log.txt"
    settings = {
        "API_KEYS": f"desk:{DESK},pulse:{PULSE}",
        "CORS_ORIGINS": f"{ORIGIN}, http://localhost:3000",
        "AUDIO__ENDPOINT": speech_cloud.url,
        "LOG_LEVEL": "DEBUG",
        # Of pulse in one test, so that no other needs them.
        "AUDIO__REQUESTS_PER_MINUTE": 2,
    }
    with run_service(log, **settings) as running:
        yield running


@pytest.mark.parametrize("path", ["/", "/docs", "/health", "/health/ready"])
def test_the_page_and_health_need_no_key(guarded: Runner, path: str) -> None:
    assert httpx.get(guarded.url + path).status_code in (200, 503)


@pytest.mark.parametrize("path", ["/openapi.json", "/audio/voices", "/v1/models", "/nowhere", "/health/../extract"])
def test_all_else_needs_one(guarded: Runner, path: str) -> None:
    url = httpx.URL(guarded.url).copy_with(raw_path=path.encode())
    without = httpx.get(url)
    if ".." not in path:
        assert problem(without)["status"] == 401
        assert httpx.get(url, headers={"X-API-Key": DESK}).status_code != 401
    else:
        assert without.status_code in (401, 404)


def test_a_key_is_the_caller_in_the_log_and_is_not_itself_there(guarded: Runner) -> None:
    headers = {"Authorization": f"Bearer {DESK}", "X-Request-ID": "by-desk"}
    assert httpx.post(f"{guarded.url}/extract", json=LABELS, headers=headers).status_code == 200
    headers = {"X-API-Key": f"{DESK}-wrong", "X-Request-ID": "by-nobody"}
    assert httpx.post(f"{guarded.url}/extract", json=LABELS, headers=headers).status_code == 401
    # A line is written when its answer is out.
    wait_until(lambda: "by-nobody" in guarded.log_text(), "the line of the last request is there")
    lines = [json.loads(line) for line in guarded.log_text().splitlines() if line.startswith("{")]
    told = {line["id"]: (line["caller"], line["route"], line["status"]) for line in lines if "id" in line}
    assert told["by-desk"] == ("desk", "/extract", 200)
    assert told["by-nobody"] == ("127.0.0.1", "/extract", 401)
    assert "API keys: a request needs one of 2 (desk, pulse)" in guarded.log_text()
    assert DESK not in guarded.log_text()


def test_processes_that_read_strangers_texts_are_not_given_the_keys(guarded: Runner) -> None:
    answer = httpx.post(f"{guarded.url}/audio", json={"text": "Hello"}, headers={"X-API-Key": DESK})
    assert answer.status_code == 200
    own = guarded.process.pid
    assert DESK in Path(f"/proc/{own}/environ").read_text()

    def children() -> list[str]:
        found = (task.read_text() for task in Path(f"/proc/{own}/task").glob("*/children"))
        return [Path(f"/proc/{child}/environ").read_text() for child in " ".join(found).split()]

    wait_until(lambda: bool(children()), "espeak-ng has a process of its own")
    assert not any(DESK in environment for environment in children())


def test_kept_answers_are_those_of_a_key_on_any_address(guarded: Runner) -> None:
    def is_kept(key: str, address: str) -> bool:
        with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
            body = {"text": "Nokia was founded in Tampere.", "labels": ["Location"]}
            answer = client.post(f"{guarded.url}/extract", json=body, headers={"X-API-Key": key})
            return bool(answer.json()["cached_answer"])

    assert [is_kept(DESK, "127.0.0.1"), is_kept(PULSE, "127.0.0.1"), is_kept(DESK, "127.0.0.2")] == [False, False, True]


def test_who_sends_all_of_a_large_body_before_it_reads_sees_the_401(guarded: Runner) -> None:
    url = httpx.URL(guarded.url)
    with socket.create_connection((url.host, url.port), timeout=10) as client:
        size = 2_000_000
        client.sendall(f"POST /extract HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // 10_000):
            client.sendall(b" " * 10_000)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in answer.lower()


def test_after_a_401_to_a_small_body_the_connection_is_used_again(guarded: Runner) -> None:
    url = httpx.URL(guarded.url)
    with socket.create_connection((url.host, url.port), timeout=10) as client, client.makefile("rb") as lines:
        for _ in range(2):
            client.sendall(b"POST /extract HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            assert lines.readline().startswith(b"HTTP/1.1 401 ")
            headers = dict(line.strip().lower().split(b": ", 1) for line in iter(lines.readline, b"\r\n"))
            assert b"connection" not in headers
            assert json.loads(lines.read(int(headers[b"content-length"])))["status"] == 401


def test_openais_sdk_works_with_a_key_and_tells_its_own_errors(guarded: Runner) -> None:
    with OpenAI(base_url=f"{guarded.url}/v1", api_key=PULSE, max_retries=0) as client:
        for _ in range(2):
            recording = client.audio.speech.create(model="tts-1", voice="onyx", input="Hello world")
            assert recording.response.headers["ratelimit-policy"] == '"audio";q=2;w=60'
        with pytest.raises(RateLimitError) as limited:
            client.audio.speech.create(model="tts-1", voice="onyx", input="Hello world")
        assert limited.value.code == "rate_limit_exceeded"
        assert int(limited.value.response.headers["retry-after"]) >= 1
        # Lists are not limited.
        assert client.models.list().data
    with (
        OpenAI(base_url=f"{guarded.url}/v1", api_key="sk-wrong", max_retries=0) as client,
        pytest.raises(AuthenticationError) as refused,
    ):
        client.audio.speech.create(model="tts-1", voice="onyx", input="Hello world")
    assert (refused.value.code, refused.value.type) == ("invalid_api_key", "invalid_request_error")
    assert "X-API-Key" in refused.value.message


def preflight(runner: Runner, origin: str, headers: str = "x-api-key, content-type, prefer") -> httpx.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": headers}
    return httpx.options(f"{runner.url}/extract", headers=asked)


def test_a_preflight_of_an_origin_that_is_named_is_answered_without_a_key(guarded: Runner) -> None:
    answer = preflight(guarded, ORIGIN)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert {"authorization", "x-api-key", "prefer", "traceparent", "if-range"} <= {
        name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")
    }
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST"
    assert "Origin" in answer.headers["vary"]
    wait_until(lambda: answer.headers["x-request-id"] in guarded.log_text(), "a preflight has a line in the log")
    assert preflight(guarded, "http://localhost:3000").status_code == 200


def test_a_preflight_of_another_origin_is_a_problem(guarded: Runner) -> None:
    answer = preflight(guarded, "https://evil.example")
    assert problem(answer)["status"] == 400
    assert "access-control-allow-origin" not in answer.headers
    assert problem(preflight(guarded, ORIGIN, "x-other"))["detail"].startswith("Disallowed CORS headers")


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"X-API-Key": DESK}, json.dumps(LABELS), 200),
        ({}, json.dumps(LABELS), 401),
        ({"X-API-Key": DESK}, "x" * 3_000_000, 413),
        ({"X-API-Key": DESK}, "{", 400),
        ({"X-API-Key": DESK}, "{}", 422),
    ],
)
def test_every_answer_can_be_read_by_a_page_of_that_origin(
    guarded: Runner, headers: dict[str, str], body: str, status: int
) -> None:
    sent = {"Content-Type": "application/json", "Origin": ORIGIN, **headers}
    answer = httpx.post(f"{guarded.url}/extract", content=body, headers=sent)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert {"X-Request-ID", "Retry-After", "RateLimit", "X-Audio-Engine", "Content-Location", "ETag"} <= exposed
    assert "Origin" in answer.headers["vary"]
    assert "x-request-id" in answer.headers


def test_a_page_of_another_origin_can_read_nothing(guarded: Runner) -> None:
    answer = httpx.get(f"{guarded.url}/health", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert "Origin" in answer.headers["vary"]


def test_openapi_tells_of_keys_and_limits_where_they_count(runner: Runner) -> None:
    told = httpx.get(f"{runner.url}/openapi.json").json()
    schemes = told["components"]["securitySchemes"]
    assert schemes["bearer"] == {"type": "http", "scheme": "bearer"}
    assert schemes["apiKey"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    assert told["security"] == [{}, {"bearer": []}, {"apiKey": []}]
    for path, operations in told["paths"].items():
        for operation in operations.values():
            is_open = path.startswith("/health")
            assert (operation.get("security") == []) == is_open
            assert ({"401", "429"} <= set(operation["responses"])) != is_open


def test_by_default_there_are_no_keys_limits_and_other_origins(runner: Runner) -> None:
    answer = httpx.post(f"{runner.url}/extract", json=LABELS, headers={"Origin": ORIGIN})
    assert answer.status_code == 200
    assert not {"access-control-allow-origin", "ratelimit", "www-authenticate"} & set(answer.headers)
    assert runner.log_text().count("API keys: none are set") == 1
    assert preflight(runner, ORIGIN).status_code == 405
