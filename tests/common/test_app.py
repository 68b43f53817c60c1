"""What every endpoint does with requests that are not as they should be, over real HTTP."""

import asyncio
import json
import socket
from typing import Any

import httpx
import pytest

from functions.health import handler, service
from tests.conftest import Runner, problem, wait_until


def assert_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    return problem(response)


@pytest.mark.parametrize("path", ["/summarize", "/extract", "/audio"])
@pytest.mark.parametrize(
    ("body", "status", "names"),
    [
        (b"", 422, "body"),
        (b"{", 400, "body"),
        (b"[1, 2]", 422, "body"),
        (b'"text"', 422, "body"),
        (b"{}", 422, "text"),
        (b'{"text": 5}', 422, "text"),
        (b'{"text": null}', 422, "text"),
        (b'{"text": ["a"]}', 422, "text"),
        (b'{"text": ""}', 422, "text"),
        (b'{"text": " \\n\\t "}', 422, "text"),
        (b'{"text": "a\\u0000b"}', 422, "text"),
        (b'{"text": "half a pair \\ud800"}', 422, "text"),
        (b'{"text": "hello", "colour": 1}', 422, "colour"),
        (b'{"text": "hello", "\\ud800": 1}', 422, "body"),
        (b"[" * 100_000, 400, "body"),
        (b'{"text": ' + b"9" * 5000 + b"}", 400, "body"),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, bytes) else str(value).encode("ascii", "replace").decode(),
)
def test_bad_body_is_a_problem_that_names_the_field(
    runner: Runner, path: str, body: bytes, status: int, names: str
) -> None:
    response = httpx.post(runner.url + path, content=body, headers={"Content-Type": "application/json"})
    details = assert_problem(response, status)
    named = [error["field"] for error in details.get("errors", [])] or [details["detail"]]
    assert any(names in field for field in named), named


@pytest.mark.parametrize("path", ["/summarize", "/extract", "/audio"])
def test_body_that_is_not_declared_as_json_is_told_which_header_to_send(runner: Runner, path: str) -> None:
    details = assert_problem(httpx.post(runner.url + path, data={"text": "hello"}), 415)
    assert "Content-Type: application/json" in details["detail"]


@pytest.mark.parametrize("path", ["/summarize", "/extract", "/audio"])
def test_text_that_is_too_long_for_its_field_is_refused(runner: Runner, path: str) -> None:
    details = assert_problem(httpx.post(runner.url + path, json={"text": "word " * 60_000}), 422)
    assert [error["field"] for error in details["errors"]] == ["text"]


@pytest.mark.parametrize(
    "send", [lambda body: body, lambda body: iter([body[:1000], body[1000:]])], ids=["with length", "chunked"]
)
def test_body_over_the_limit_is_answered_413(runner: Runner, send: Any) -> None:
    body = json.dumps({"text": "x" * 3_000_000}).encode()
    response = httpx.post(f"{runner.url}/summarize", content=send(body), headers={"Content-Type": "application/json"})
    assert "2621440 bytes" in assert_problem(response, 413)["detail"]


def test_body_over_the_limit_is_cut_off_before_it_has_all_arrived(runner: Runner) -> None:
    url = httpx.URL(runner.url)
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        connection.sendall(b"POST /extract HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n" + b"x" * 1000)
        assert connection.recv(64).startswith(b"HTTP/1.1 413 ")


def test_client_that_leaves_within_its_body_does_no_harm(runner: Runner) -> None:
    url = httpx.URL(runner.url)
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        connection.sendall(b'POST /extract HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"text": ')
    assert httpx.get(f"{runner.url}/health").status_code == 200


def test_unknown_path_is_a_problem(runner: Runner) -> None:
    assert_problem(httpx.get(f"{runner.url}/nothing"), 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "BREW"])
def test_wrong_method_is_a_problem_that_says_what_is_allowed(runner: Runner, method: str) -> None:
    response = httpx.request(method, f"{runner.url}/summarize")
    assert_problem(response, 405)
    assert response.headers["allow"] == "POST"


def request_id(runner: Runner, sent: str) -> str:
    return httpx.get(f"{runner.url}/health", headers={"X-Request-ID": sent}).headers["x-request-id"]


def test_a_sane_request_id_is_kept(runner: Runner) -> None:
    assert request_id(runner, "abc-123") == "abc-123"


@pytest.mark.parametrize("sent", ["x" * 500, "a b", ""], ids=["long", "space", "empty"])
def test_an_odd_request_id_is_replaced(runner: Runner, sent: str) -> None:
    assert request_id(runner, sent) not in ("", sent)


def test_unexpected_failure_is_a_problem_without_a_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("secret of the inside")

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(handler.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/health")

    monkeypatch.setattr(service, "report", broken)
    response = asyncio.run(call())
    assert_problem(response, 500)
    assert "secret" not in response.text


def test_log_has_one_line_per_request_and_never_the_article(runner: Runner) -> None:
    article = "Zanzibarquux opened a bakery. It sells bread."
    for path in ("/extract", "/summarize"):
        request_id = f"log-test{path.replace('/', '-')}"
        response = httpx.post(runner.url + path, json={"text": article}, headers={"X-Request-ID": request_id})
        assert response.status_code == 200, response.text

        # It is written once the answer is out.
        def is_logged(line: str = f'"id": "{request_id}"') -> bool:
            return line in runner.log_text()

        wait_until(is_logged, "the log line is there")
        lines = [json.loads(line) for line in runner.log_text().splitlines() if request_id in line]
        assert len(lines) == 1
        assert (lines[0]["route"], lines[0]["status"], lines[0]["method"]) == (path, 200, "POST")
        assert {"queue_ms", "total_ms"} <= set(lines[0])
        assert "queue;dur=" in response.headers["server-timing"]
    assert "Zanzibarquux" not in runner.log_text()


def test_the_page_and_the_openapi_document_are_served_without_a_cdn(runner: Runner) -> None:
    page = httpx.get(f"{runner.url}/docs")
    assert page.status_code == 200
    assert page.text == httpx.get(runner.url).text
    assert "http://" not in page.text
    assert "https://" not in page.text
    paths = httpx.get(f"{runner.url}/openapi.json").json()["paths"]
    own = {"/summarize", "/extract", "/audio", "/audio/recordings/{recording}", "/audio/voices"}
    own |= {"/health", "/health/ready", "/metrics"}
    foreign = {"/v1/audio/speech", "/v1/audio/voices", "/v1/audio/models", "/v1/models", "/v1/models/{model}"}
    assert own | foreign == set(paths)
