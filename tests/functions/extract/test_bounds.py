"""What one request to POST /extract may cost: over a bound it is refused, with the field or with what helps."""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import NFKC

from functions.extract import service
from functions.extract.engine import model
from functions.extract.gliner import MAX_WINDOW_TOKENS, GlinerEngine
from functions.extract.handler import app
from functions.extract.reader import EncodedWindow, Prompt, Reader
from functions.extract.schemas import MAX_TEXT_CHARACTERS, ExtractRequest
from tests.conftest import SettingsEnv, problem

NAMES = ("Tim Cook", "Angela Merkel", "Boris Wyman", "Ada Lovelace")
SENTENCES = "Tim Cook of Apple met Angela Merkel in Berlin. "


def post(prefer: str | None = None, **body: Any) -> httpx.Response:
    async def request() -> httpx.Response:
        headers = {"Prefer": prefer} if prefer else {}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.post("/extract", json=body, headers=headers, timeout=60)

    return asyncio.run(request())


def fields(response: httpx.Response) -> list[str]:
    assert response.status_code == 422
    return [error["field"] for error in problem(response)["errors"]]


def test_texts_that_are_too_long_together_are_refused(settings_env: SettingsEnv) -> None:
    settings_env(EXTRACT__MAX_CHARACTERS=200_000)
    half = "word " * 21_000
    assert fields(post(texts=[half, half])) == ["texts"]


@pytest.mark.parametrize("label", ["a rather long description of a thing", "eine höchst ausführliche Beschreibung"])
def test_labels_with_too_many_tokens_are_refused(settings_env: SettingsEnv, label: str) -> None:
    settings_env(EXTRACT__MAX_LABEL_TOKENS=16)
    assert post(text="Tim Cook.", labels=["Person"]).status_code == 200
    assert fields(post(text="Tim Cook.", labels=[f"{label} {number}" for number in range(12)])) == ["labels"]


def test_a_text_with_too_many_tokens_is_refused_before_the_model_runs(
    settings_env: SettingsEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_env(EXTRACT__MAX_TOKENS=2000)
    monkeypatch.setattr(service.batches, "spans", lambda *_: pytest.fail("the model was asked"))
    assert fields(post(text=SENTENCES * 300)) == ["text"]


def test_labels_that_are_far_too_long_are_refused_with_the_figures() -> None:
    """All of them stand before each window: attention would take gigabytes."""
    labels = [f"{number:02}" * 50 for number in range(50)]
    response = post(text="Tim Cook met Angela Merkel in Paris.", labels=labels)
    assert fields(response) == ["labels"]
    assert "tokens together, and may have 512" in problem(response)["detail"]


# One character that normalises to eighteen.
LIGATURE = "\ufdfa"


def letters() -> Tokenizer:
    """A token for each letter of the ligature."""
    written = NFKC().normalize_str(LIGATURE)
    assert len(written) == 18
    tokenizer = Tokenizer(BPE({letter: number for number, letter in enumerate(sorted(set(written)))}, []))
    tokenizer.normalizer = NFKC()
    return tokenizer


@pytest.mark.parametrize("text", [LIGATURE * 700, f"{LIGATURE} " * 700, f"a{LIGATURE}" * 700])
@pytest.mark.parametrize("label_tokens", [3, 768])
def test_no_window_has_more_tokens_than_the_model_may_look_at(text: str, label_tokens: int) -> None:
    prompt = Prompt([0] * label_tokens, [0])
    reader = Reader(text, letters(), prompt, [], 0.5, max_words=384, max_tokens=MAX_WINDOW_TOKENS, overlap=48)
    sizes = [len(window.row.tokens) for window in iter(reader.take, None)]
    assert sum(sizes) > 700 * 18
    assert max(sizes) <= MAX_WINDOW_TOKENS
    # All but the last are as full as their words allow.
    assert min(sizes[:-1]) > MAX_WINDOW_TOKENS - 256


def test_a_text_of_few_characters_and_many_tokens_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = model.start().result()
    monkeypatch.setattr(engine, "_tokenizer", letters())
    monkeypatch.setattr(engine, "prompt", lambda labels: Prompt([0] * len(labels), [0]))
    monkeypatch.setattr(service.batches, "spans", lambda *_: pytest.fail("the model was asked"))
    # The prompt of these labels is kept, and is none for the model: nobody else asks for them.
    response = post(text=LIGATURE * 170_000, labels=["of letters only"])
    assert fields(response) == ["text"]
    assert "has more than 1000000 tokens" in problem(response)["detail"]


@pytest.mark.parametrize("letter", ["я", "🙂"])
@pytest.mark.parametrize("escaped", [True, False])
def test_a_text_as_long_as_it_may_be_is_taken_however_it_is_escaped(
    monkeypatch: pytest.MonkeyPatch, letter: str, escaped: bool
) -> None:
    """As some clients escape it a letter has six bytes, and one outside of the basic plane has twelve."""
    taken: list[str | None] = []

    async def respond(request: ExtractRequest, _: float | None) -> bytes:
        taken.append(request.text)
        return b"{}"

    async def call(content: bytes) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.post("/extract", content=content, headers={"Content-Type": "application/json"})

    monkeypatch.setattr(service, "respond", respond)
    text = letter * MAX_TEXT_CHARACTERS
    assert asyncio.run(call(json.dumps({"text": text}, ensure_ascii=escaped).encode())).status_code == 200
    assert taken == [text]


def test_an_answer_with_too_many_entities_is_refused_with_what_helps(settings_env: SettingsEnv) -> None:
    settings_env(EXTRACT__MAX_ENTITIES=2)
    response = post(text="Tim Cook met Angela Merkel and Boris Wyman.", labels=["Person"])
    assert response.status_code == 413
    assert "more than 2 entities (a higher `threshold`" in problem(response)["detail"]


def test_too_many_spans_over_the_threshold_are_refused_whatever_would_be_left_of_them(
    settings_env: SettingsEnv,
) -> None:
    settings_env(EXTRACT__MAX_ENTITIES=1)
    response = post(text=SENTENCES * 20, threshold=0.01)
    assert response.status_code == 413
    assert "more than 5 spans are over the threshold" in problem(response)["detail"]


def test_an_answer_with_too_many_bytes_is_refused(settings_env: SettingsEnv) -> None:
    settings_env(EXTRACT__MAX_ANSWER_BYTES=65_536)
    text = " ".join(f"Then {NAMES[number % 4]} met someone." for number in range(900))
    response = post(text=text, labels=["Person"])
    assert response.status_code == 413
    assert "more than 65536 bytes" in problem(response)["detail"]


def test_a_long_text_that_would_take_longer_than_the_wait_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a machine on which a token takes a second.
    monkeypatch.setattr(service.batches, "_seconds_per_token", 1.0)
    begun = time.monotonic()
    response = post("wait=2", text=SENTENCES * 100)
    assert time.monotonic() - begun < 2
    assert response.status_code == 503
    assert problem(response)["type"] == "urn:problem-type:factory:queue-full"
    assert int(response.headers["retry-after"]) > 100


def test_the_wait_ends_a_request_that_the_model_is_at(monkeypatch: pytest.MonkeyPatch) -> None:
    real = GlinerEngine.spans

    def slow(engine: GlinerEngine, windows: Sequence[EncodedWindow]) -> Any:
        time.sleep(2.0)
        return real(engine, windows)

    assert post(text="The model is loaded.").status_code == 200
    monkeypatch.setattr(GlinerEngine, "spans", slow)
    response = post("wait=1", text="Tim Cook of Apple is slow today.")
    assert response.status_code == 503
    assert problem(response)["type"] == "urn:problem-type:factory:queue-full"
