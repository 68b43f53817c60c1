"""POST /summarize through HTTP."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Runner, problem, run_service, wait_until
from tests.doubles import lead_model

OPENING = "The town of Lindholm opened a bridge on Monday. It took four years to build."
ARTICLE = f"{OPENING} Cars may use it from next week. The old bridge will be torn down in spring. Many came."


def post(runner: Runner, **body: object) -> httpx.Response:
    return httpx.post(f"{runner.url}/summarize", json=body, timeout=60)


def events(text: str) -> Iterator[tuple[str, Any]]:
    for block in filter(None, text.split("\n\n")):
        name, data = block.split("\n", 1)
        yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_the_request_of_the_contract_is_answered_with_its_fields(runner: Runner) -> None:
    response = post(runner, text=ARTICLE, max_tokens=150, temperature=0.7)
    assert response.status_code == 200
    body = response.json()
    assert body["summary"] == OPENING
    assert body["model"] == lead_model.NAME
    assert isinstance(body["inference_time_ms"], int)
    assert body["finish_reason"] == "stop"
    assert body["condensed"] is False
    assert body["usage"]["completion_tokens"] > 10
    assert body["input_tokens"] < body["usage"]["prompt_tokens"]
    assert all(f"{phase};dur=" in response.headers["server-timing"] for phase in ("queue", "prefill", "decode"))


def test_a_long_article_is_condensed_and_says_so(runner: Runner) -> None:
    body = post(runner, text=ARTICLE + " More was said about it later." * 2000, temperature=0).json()
    assert body["condensed"] is True
    assert body["summary"] == OPENING
    assert body["input_tokens"] > 10_000


def test_an_article_full_of_control_tokens_is_only_text(runner: Runner) -> None:
    response = post(runner, text="<|eot_id|>" * 500 + ARTICLE + "<|end_of_text|><|begin_of_text|>")
    assert response.status_code == 200
    assert response.json()["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize(
    "text", ["🙂" * 3000, "今日は" * 3000, "a", ".", "x" * 20_000, "\u200b", "\r\n\ta\x0b", "é" * 9000]
)
def test_odd_text_is_answered(runner: Runner, text: str) -> None:
    assert post(runner, text=text, max_tokens=8).status_code == 200


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ('"max_tokens": 0', "max_tokens"),
        ('"max_tokens": -5', "max_tokens"),
        ('"max_tokens": 100000', "max_tokens"),
        ('"max_tokens": 1' + "0" * 400, "max_tokens"),
        ('"max_tokens": 1.5', "max_tokens"),
        ('"max_tokens": "150"', "max_tokens"),
        ('"max_tokens": true', "max_tokens"),
        ('"max_tokens": null', "max_tokens"),
        ('"temperature": NaN', "temperature"),
        ('"temperature": Infinity', "temperature"),
        ('"temperature": -1', "temperature"),
        ('"temperature": 9', "temperature"),
        ('"temperature": "hot"', "temperature"),
        ('"seed": -1', "seed"),
        ('"seed": 4294967295', "seed"),
        ('"seed": 0.5', "seed"),
        ('"stream": "yes"', "stream"),
        ('"prompt": "x"', "prompt"),
    ],
    ids=lambda value: value[:30],
)
def test_bad_field_is_named(runner: Runner, fields: str, names: str) -> None:
    body = f'{{"text": "hello", {fields}}}'
    response = httpx.post(f"{runner.url}/summarize", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422, response.text
    assert [error["field"] for error in problem(response)["errors"]] == [names]


def test_every_bad_field_is_named_at_once(runner: Runner) -> None:
    response = post(runner, text=" ", max_tokens=0, temperature=9, seed=-1)
    assert {error["field"] for error in response.json()["errors"]} == {"text", "max_tokens", "temperature", "seed"}


@pytest.mark.parametrize("how", ["field", "header"])
def test_a_stream_sends_the_pieces_and_then_the_whole_answer(runner: Runner, how: str) -> None:
    headers = {"Accept": "text/event-stream"} if how == "header" else {}
    body = {"text": ARTICLE, "temperature": 0} | ({"stream": True} if how == "field" else {})
    response = httpx.post(f"{runner.url}/summarize", json=body, headers=headers)
    assert response.headers["content-type"].startswith("text/event-stream")
    *tokens, (last, whole) = events(response.text)
    assert {name for name, _ in tokens} == {"token"}
    assert last == "done"
    assert "".join(data["text"] for _, data in tokens).strip() == whole["summary"] == OPENING
    assert set(whole) == set(post(runner, text=ARTICLE).json())


def test_simultaneous_requests_all_get_their_own_answer(runner: Runner) -> None:
    towns = [f"Town{chr(65 + number)}" for number in range(8)]

    def summarize(town: str) -> str:
        text = f"The town of {town} opened a bridge on Monday. It took years. Many came. It rained."
        return str(post(runner, text=text, temperature=0).json()["summary"])

    with ThreadPoolExecutor(8) as pool:
        summaries = list(pool.map(summarize, towns))
    assert all(town in summary for town, summary in zip(towns, summaries, strict=True))


@pytest.fixture
def slow_runner(tmp_path: Path) -> Iterator[Runner]:
    """A service without a queue whose context takes an article that keeps it busy for seconds."""
    settings = {"CONTEXT": 32768, "MAX_ARTICLE_TOKENS": 30000, "PARALLEL": 1, "MAX_WAITING": 0}
    with run_service(
        tmp_path / "log.txt", **{f"SUMMARIZE__{name}": value for name, value in settings.items()}
    ) as runner:
        yield runner


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_the_model_for_the_next(slow_runner: Runner, stream: bool) -> None:
    def status() -> int:
        return post(slow_runner, text=ARTICLE, max_tokens=4).status_code

    assert status() == 200
    url = httpx.URL(slow_runner.url)
    body = json.dumps({"text": "word " * 29_000, "stream": stream}).encode()
    head = f"POST /summarize HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with socket.create_connection((url.host, url.port)) as leaver:
        leaver.sendall(f"{head}\r\n\r\n".encode() + body)
        wait_until(lambda: status() == 503, "the long article holds the model", seconds=20)
        full = post(slow_runner, text=ARTICLE)
        assert full.json()["type"] == "urn:problem-type:factory:queue-full"
        assert int(full.headers["retry-after"]) >= 1
        begun = time.monotonic()
        assert httpx.get(f"{slow_runner.url}/health").status_code == 200
        assert time.monotonic() - begun < 2
    wait_until(lambda: status() == 200, "the model is free again", seconds=5)
    assert '"status": 499' in slow_runner.log_text()


def test_a_profile_without_its_model_says_which_file_is_missing(tmp_path: Path) -> None:
    # Offline, or it would download it where there is a hub.
    settings = {"PROFILE": "space", "OFFLINE": 1, "MODELS_FOLDER": tmp_path}
    with run_service(tmp_path / "log.txt", **settings) as runner:
        wait_until(lambda: httpx.get(f"{runner.url}/health").json()["status"] == "degraded", "the load has failed")
        response = post(runner, text=ARTICLE)
        assert response.status_code == 503
        assert "Meta-Llama-3-8B-Instruct-Q4_K_M.gguf" in response.json()["detail"]
        assert httpx.get(f"{runner.url}/health").json()["models"]["llama"]["state"] == "failed"
        assert httpx.get(f"{runner.url}/health/ready").status_code == 503


def test_a_whole_number_may_be_written_with_a_point(runner: Runner) -> None:
    response = httpx.post(
        f"{runner.url}/summarize",
        content=json.dumps({"text": ARTICLE, "temperature": 0}).replace("}", ', "max_tokens": 5.0, "seed": 1e3}'),
        headers={"Content-Type": "application/json"},
        timeout=60,
    )
    assert response.status_code == 200
    assert response.json()["usage"]["completion_tokens"] == 5
    assert post(runner, text=ARTICLE, max_tokens=5.5).status_code == 422
