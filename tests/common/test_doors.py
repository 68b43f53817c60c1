"""Requests as odd clients and proxies send them, over real HTTP."""

import gzip
import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.http.bodies import MOST_STRINGS
from tests.conftest import Runner, problem, run_service, wait_until

JSON = {"Content-Type": "application/json"}


def post(runner: Runner, path: str, body: bytes, **headers: str) -> httpx.Response:
    return httpx.post(runner.url + path, content=body, headers={**JSON, **headers}, timeout=30)


@pytest.mark.parametrize("path", ["/", "/docs", "/health", "/health/ready", "/audio/voices", "/v1/models"])
def test_head_is_answered_as_get_without_the_body(runner: Runner, path: str) -> None:
    head, get = httpx.head(runner.url + path), httpx.get(runner.url + path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


def test_where_get_is_allowed_head_is_said_to_be(runner: Runner) -> None:
    response = httpx.post(f"{runner.url}/health")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/extract/", "/extract//", "/health/", "/v1/models/"])
def test_a_slash_at_the_end_is_answered_and_no_redirect_names_the_host_that_was_sent(runner: Runner, path: str) -> None:
    method = "POST" if path.startswith("/extract") else "GET"
    body = json.dumps({"text": "Paris"}).encode() if method == "POST" else None
    response = httpx.request(method, runner.url + path, content=body, headers={**JSON, "Host": "evil.example"})
    assert response.status_code == 200, response.text
    assert "evil.example" not in str(response.headers)


@pytest.mark.parametrize("path", ["/summarize", "/extract", "/audio", "/v1/audio/speech"])
def test_a_body_in_an_encoding_is_told_so(runner: Runner, path: str) -> None:
    response = post(runner, path, gzip.compress(b'{"text": "hello"}'), **{"Content-Encoding": "gzip"})
    assert response.status_code == 415
    assert "gzip" in problem(response)["detail"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"text": "caf\xe9"}', "UTF-8 at byte 13"),
        (b'{"text": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "nested too deeply"),
        (b'{"text": "hello", "max_tokens": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"text": "hello", }', "not valid JSON at character 18"),
    ],
)
@pytest.mark.parametrize("path", ["/summarize", "/v1/audio/speech"])
def test_a_body_that_cannot_be_parsed_is_told_why(runner: Runner, path: str, body: bytes, reason: str) -> None:
    response = post(runner, path, body)
    assert response.status_code == 400
    assert reason in problem(response)["detail"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/nothing", None, 404),
        ("GET", "/v1/audio/speech", None, 405),
        ("POST", "/v1/audio/speech", b"{", 400),
        ("POST", "/v1/audio/speech", b"x" * 3_000_000, 413),
        ("POST", "/v1/audio/speech", b"{}", 422),
    ],
)
def test_every_error_on_the_openai_door_has_the_member_that_its_clients_show(
    runner: Runner, method: str, path: str, body: bytes | None, status: int
) -> None:
    response = httpx.request(method, runner.url + path, content=body, headers=JSON)
    assert response.status_code == status
    told = problem(response)
    assert told["error"]["message"] == told["detail"]
    assert "error" not in problem(httpx.get(f"{runner.url}/nothing"))


def many_fields(count: int) -> bytes:
    return json.dumps({"text": "hello", **{f"field {number}": 1 for number in range(count)}}).encode()


@pytest.mark.parametrize("path", ["/summarize", "/extract", "/audio", "/v1/audio/speech"])
@pytest.mark.parametrize("count", [100, 4000, 52_000])
def test_many_unknown_fields_are_a_short_422(runner: Runner, path: str, count: int) -> None:
    response = post(runner, path, many_fields(count))
    assert response.status_code == 422
    assert len(response.content) < 8_000


@pytest.mark.parametrize(
    "body",
    [
        b'{"text": [' + b"1," * 400_000 + b"1]}",
        b'{"text": [' + b"[]," * 400_000 + b"1]}",
        b'{"text": [' + b'"",' * 400_000 + b"1]}",
        b'{"text": "' + b'\\"' * 100_000 + b'", "labels": [' + b'"a",' * 100_000 + b'"a"]}',
    ],
    ids=["numbers", "arrays", "strings", "labels"],
)
def test_a_large_body_of_many_small_values_is_refused_before_it_is_parsed(runner: Runner, body: bytes) -> None:
    response = post(runner, "/extract", body)
    assert response.status_code == 422
    assert [error["field"] for error in problem(response)["errors"]] == ["body"]
    assert str(MOST_STRINGS) in response.text


@pytest.mark.parametrize("character", ["a", '"', "\\", "д", "\U0001f600"], ids=ascii)
@pytest.mark.parametrize("escaped", [True, False])
def test_a_text_of_all_the_characters_that_are_allowed_is_no_too_large_body(
    runner: Runner, character: str, escaped: bool
) -> None:
    # One label too many: so it is refused for what it says, at once.
    fields: dict[str, Any] = {"text": character * 200_000, "labels": ["same", "same"]}
    response = post(runner, "/extract", json.dumps(fields, ensure_ascii=escaped).encode())
    assert response.status_code == 422
    assert [error["field"] for error in problem(response)["errors"]] == ["labels"]


def test_large_bodies_of_one_caller_leave_room_for_anothers(tmp_path: Path) -> None:
    body = json.dumps({"text": "x" * 120_000, "labels": ["same", "same"]}).encode()

    def ask(address: str) -> int:
        with httpx.Client(transport=httpx.HTTPTransport(local_address=address), timeout=10) as client:
            return client.post(f"{service.url}/extract", content=body, headers=JSON).status_code

    with run_service(tmp_path / "log.txt", MAX_BODIES_BYTES=300_000, WARM_UP=False) as service:
        url = httpx.URL(service.url)
        with socket.create_connection((url.host, url.port), source_address=("127.0.0.2", 0)) as unfinished:
            unfinished.sendall(b"POST /extract HTTP/1.1\r\nHost: x\r\nContent-Length: 130000\r\n\r\n" + b"x" * 120_000)
            wait_until(lambda: ask("127.0.0.2") == 503, "the first body is held")
            assert ask("127.0.0.3") == 422
        wait_until(lambda: ask("127.0.0.2") == 422, "the first body is let go")


def test_operations_are_told_apart_in_openapi(runner: Runner) -> None:
    paths = httpx.get(f"{runner.url}/openapi.json").json()["paths"]
    ids = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(ids) == len(set(ids))
