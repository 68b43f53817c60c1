"""Through HTTP: how long a client waits, equal requests, streams that end badly, and a service that has no room."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.errors import FactoryError, Unavailable
from functions.summarize import handler, routes, service
from functions.summarize.loading import model
from functions.summarize.outputs import Accepted, Answer, Output
from tests.conftest import Runner, SettingsEnv, problem, run_service

OPENING = "The town of Lindholm opened a bridge on Monday. It took four years to build."
ARTICLE = f"{OPENING} Cars may use it from next week. The old bridge will be torn down in spring. Many came."
PROBLEM_FIELDS = {"type", "title", "status", "detail", "instance"}


def post(runner: Runner, prefer: str | None = None, **fields: Any) -> httpx.Response:
    headers = {} if prefer is None else {b"Prefer": prefer.encode()}
    body = {"text": ARTICLE, "temperature": 0, **fields}
    return httpx.post(f"{runner.url}/summarize", json=body, headers=headers, timeout=60)


def post_in_process(app: ASGIApp, **fields: object) -> httpx.Response:
    async def call() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.post("/summarize", json={"text": ARTICLE, **fields}, timeout=60)

    return asyncio.run(call())


def events(text: str) -> Iterator[tuple[str, Any]]:
    """The events of a stream; a comment has the name "" and itself as data."""
    for block in filter(None, text.split("\n\n")):
        if block.startswith(":"):
            yield "", block
        else:
            name, data = block.split("\n", 1)
            yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def done(response: httpx.Response) -> dict[str, Any]:
    """The whole answer, streamed or not."""
    assert response.status_code == 200, response.text
    if not response.headers["content-type"].startswith("text/event-stream"):
        return dict(response.json())
    *_, (name, data) = events(response.text)
    assert name == "done"
    return dict(data)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        (None, None),
        ("respond-async", None),
        ("wait=5", "wait=5"),
        # The operator's bound is the caller's.
        ("wait=86400", "wait=60"),
        ('wait="5"', "wait=5"),
        ("WAIT = 5", "wait=5"),
        ("respond-async, wait=5", "wait=5"),
        ("wait=5; x=y, wait=9", "wait=5"),
    ],
)
def test_the_wait_that_is_kept_to_is_named_in_the_answer(
    runner: Runner, prefer: str | None, applied: str | None, stream: bool
) -> None:
    response = post(runner, prefer, stream=stream)
    assert done(response)["summary"] == OPENING
    assert response.headers.get("preference-applied") == applied


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "wait", ["0", "-1", "abc", "1.5", "", '""', "1000000000", "5 6", "５"], ids=lambda value: ascii(value)
)
def test_a_malformed_wait_is_refused_by_name(runner: Runner, wait: str, stream: bool) -> None:
    response = post(runner, f"respond-async, wait={wait}", stream=stream)
    assert response.status_code == 422
    assert [error["field"] for error in problem(response)["errors"]] == ["Prefer"]
    assert "preference-applied" not in response.headers


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_waits_briefly_for_the_longest_article_is_not_kept_waiting(runner: Runner, stream: bool) -> None:
    text = f"{OPENING} " + "The river carries more water than in other years. " * 3980
    begun = time.monotonic()
    response = post(runner, "wait=2", text=text[:199_000], stream=stream)
    assert time.monotonic() - begun < 15
    if response.status_code == 200:
        assert done(response)["condensed"] is True
    else:
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("first_stream", [False, True])
def test_an_answer_is_kept_for_those_who_ask_again(runner: Runner, first_stream: bool, stream: bool) -> None:
    text = f"{ARTICLE} Kept {first_stream} for {stream}."
    first = done(post(runner, text=text, stream=first_stream))
    assert first["usage"]["cached_answer"] is False
    response = post(runner, text=text, stream=stream)
    again = done(response)
    assert again["usage"]["cached_answer"] is True
    assert again["summary"] == first["summary"]
    if stream:
        *tokens, _ = events(response.text)
        assert "".join(data["text"] for _, data in tokens) == first["summary"]


def test_an_answer_that_could_have_been_another_is_made_anew(runner: Runner) -> None:
    text = f"{ARTICLE} Never kept."
    answers = [done(post(runner, text=text, temperature=0.7, stream=True)) for _ in range(2)]
    assert [answer["usage"]["cached_answer"] for answer in answers] == [False, False]


@pytest.mark.parametrize("fields", [{"temperature": 0}, {"temperature": 1.5, "seed": 7}])
def test_eight_equal_requests_at_once_get_equal_answers(runner: Runner, fields: dict[str, Any]) -> None:
    def ask(number: int) -> dict[str, Any]:
        return done(post(runner, text=f"{ARTICLE} All at once.", stream=number % 2 == 1, **fields))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert len({answer["summary"] for answer in answers}) == 1
    assert len({answer["usage"]["completion_tokens"] for answer in answers}) == 1


Fault = Callable[..., AsyncGenerator[Output]]


def failing(error: Exception, *, accepted: bool) -> Fault:
    """A use case that fails, after it was accepted and half of its text is out, or before."""

    async def summarize(*_: object) -> AsyncGenerator[Output]:
        if accepted:
            yield Accepted()
            yield "The town of"
            yield " Lindholm"
        raise error

    return summarize


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FactoryError("the model failed on this article"), 500),
        (Unavailable("the time was over", 3), 503),
        (RuntimeError("secret of the inside"), 500),
    ],
    ids=["factory", "unavailable", "unexpected"],
)
def test_a_stream_that_fails_half_way_ends_with_the_problem_and_is_never_done(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    monkeypatch.setattr(service, "summarize", failing(error, accepted=True))
    response = post_in_process(handler.app, stream=True)
    assert response.status_code == 200
    *tokens, (name, details) = events(response.text)
    assert [data["text"] for name, data in tokens if name == "token"] == ["The town of", " Lindholm"]
    assert name == "error"
    assert set(details) >= PROBLEM_FIELDS
    assert details["status"] == status
    assert details["instance"] == response.headers["x-request-id"]
    assert "secret" not in response.text
    assert "Traceback" not in response.text


@pytest.mark.parametrize("stream", [False, True])
def test_what_fails_before_it_is_accepted_has_its_own_status(monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    monkeypatch.setattr(service, "summarize", failing(Unavailable("no time", 3), accepted=False))
    response = post_in_process(handler.app, stream=stream)
    assert problem(response)["status"] == 503
    assert response.headers["retry-after"] == "3"


def test_a_request_that_fails_half_way_without_a_reader_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "summarize", failing(RuntimeError("secret"), accepted=True))
    response = post_in_process(handler.app)
    assert problem(response)["status"] == 500
    assert "secret" not in response.text


def test_a_failure_is_not_kept_for_those_who_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"text": f"{ARTICLE} Failed before.", "temperature": 0, "stream": True}
    with monkeypatch.context() as patched:
        patched.setattr(service, "summarize", failing(FactoryError("broken"), accepted=True))
        assert "event: error" in post_in_process(handler.app, **fields).text
    assert done(post_in_process(handler.app, **fields))["summary"] == OPENING


def test_while_nothing_comes_a_comment_now_and_then_keeps_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    beats = 0
    real = service.summarize

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def count(message: Message) -> None:
            nonlocal beats
            beats += message.get("body", b"").startswith(b":")
            await send(message)

        await handler.app(scope, receive, count)

    async def slow(*arguments: Any) -> AsyncGenerator[Output]:
        async for piece in real(*arguments):
            if isinstance(piece, Answer):
                async with asyncio.timeout(10):
                    while beats < 3:
                        await asyncio.sleep(0.005)
            yield piece

    monkeypatch.setattr(service, "summarize", slow)
    monkeypatch.setattr(routes, "HEARTBEAT_SECONDS", 0.01)
    response = post_in_process(app, text=f"{ARTICLE} Slowly.", stream=True)
    assert done(response)["summary"] == OPENING
    heard = list(events(response.text))
    assert sum(name == "" for name, _ in heard) >= 3
    assert "".join(data["text"] for name, data in heard if name == "token").strip() == OPENING


@pytest.mark.usefixtures("fresh_models")
@pytest.mark.parametrize("stream", [False, True])
def test_a_full_queue_is_refused_at_once_and_open_again_when_a_place_is_free(
    settings_env: SettingsEnv, stream: bool
) -> None:
    settings_env(SUMMARIZE__PARALLEL=1, SUMMARIZE__MAX_WAITING=0, SUMMARIZE__ANSWER_CACHE_BYTES=0)
    engine = model.start().result(30)
    with engine.places.hold():
        begun = time.monotonic()
        full = post_in_process(handler.app, stream=stream)
    assert time.monotonic() - begun < 5
    assert problem(full)["type"] == "urn:problem-type:factory:queue-full"
    assert full.status_code == 503
    assert int(full.headers["retry-after"]) >= 1
    assert done(post_in_process(handler.app, stream=stream))["summary"] == OPENING


def test_a_model_that_cannot_be_loaded_is_a_reason_whatever_the_request(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\x07" * 4000)
    with run_service(tmp_path / "log.txt", SUMMARIZE__MODEL=broken) as runner:
        for prefer, stream in ((None, False), (None, True), ("wait=5", False), ("wait=5", True)):
            response = post(runner, prefer, stream=stream)
            assert response.status_code == 503
            details = problem(response)
            assert (details["model"], details["state"]) == ("llama", "failed")
            assert "broken.gguf" in details["detail"]
            assert int(response.headers["retry-after"]) >= 1
        health = httpx.get(f"{runner.url}/health").json()
        assert health["status"] == "degraded"
        assert "broken.gguf" in health["models"]["llama"]["detail"]
        # What is wrong with the request is said first: no model is needed for that.
        assert post(runner, "wait=0").status_code == 422
