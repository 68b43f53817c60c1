"""Several texts in one call, and calls that come again."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from functions.extract import service
from functions.extract.gliner import GlinerEngine
from functions.extract.schemas import MAX_TEXTS, ExtractRequest
from tests.conftest import Runner, problem
from tests.functions.extract.test_extract import APPLE, post

OTHERS = ["Nokia shares fell in Helsinki.", "It was a quiet day.", "Maria Silva ran in Porto."]


def test_results_are_in_the_order_of_the_texts(runner: Runner) -> None:
    texts = [*OTHERS, APPLE, APPLE]
    body = post(runner, texts=texts).json()
    assert set(body) == {"results", "model", "inference_time_ms"}
    one_by_one = [post(runner, text=text).json() for text in texts]
    for together, alone in zip(body["results"], one_by_one, strict=True):
        assert together["words"] == alone["words"]
        assert [(e["text"], e["label"], e["start"], e["end"]) for e in together["entities"]] == [
            (e["text"], e["label"], e["start"], e["end"]) for e in alone["entities"]
        ]


def test_a_bad_text_has_its_own_error_and_loses_no_other(runner: Runner) -> None:
    texts = ["", APPLE, " \n", "a\0b", "x" * 200_001, OTHERS[0]]
    response = post(runner, texts=texts)
    assert response.status_code == 200
    results = response.json()["results"]
    assert ["error" in result for result in results] == [True, False, True, True, True, False]
    reasons = [result["error"]["detail"] for result in results if "error" in result]
    assert reasons[0].startswith("texts[0]: ")
    assert ["blank" in reasons[0], "blank" in reasons[1], "NUL" in reasons[2], "200000" in reasons[3]] == [True] * 4
    assert {result["error"]["status"] for result in results if "error" in result} == {422}
    assert [entity["text"] for entity in results[1]["entities"]] == ["Apple Inc.", "Tim Cook", "Paris"]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "text"),
        ({"text": APPLE, "texts": [APPLE]}, "text"),
        ({"texts": []}, "texts"),
        ({"texts": ["a"] * (MAX_TEXTS + 1)}, "texts"),
        ({"texts": "a"}, "texts"),
        ({"texts": ["a", 7]}, "texts[1]"),
    ],
    ids=str,
)
def test_one_of_text_and_texts_is_taken(runner: Runner, fields: dict[str, Any], name: str) -> None:
    response = post(runner, **fields)
    assert response.status_code == 422
    assert name in [error["field"] for error in problem(response)["errors"]]


def test_a_null_is_taken_as_if_the_field_were_not_there(runner: Runner) -> None:
    assert post(runner, text=None, texts=[APPLE]).json()["results"][0]["words"] == 11
    assert post(runner, text=APPLE, texts=None).json()["words"] == 11
    assert post(runner, text=None, texts=None).status_code == 422


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({"text": APPLE}, True),
        ({"text": APPLE, "texts": None}, True),
        ({"texts": [APPLE]}, True),
        ({"texts": [APPLE], "text": None}, True),
        ({}, False),
        ({"text": None}, False),
        ({"text": None, "texts": None}, False),
        ({"text": APPLE, "texts": [APPLE]}, False),
        ({"text": [APPLE]}, False),
        ({"texts": APPLE}, False),
    ],
    ids=str,
)
def test_openapi_json_says_which_of_text_and_texts_is_needed(
    runner: Runner, fields: dict[str, object], accepted: bool
) -> None:
    schema = httpx.get(f"{runner.url}/openapi.json").json()["components"]["schemas"]["ExtractRequest"]
    assert Draft202012Validator(schema).is_valid(fields) is accepted
    assert (post(runner, **fields).status_code == 200) is accepted


def test_a_call_that_comes_again_is_answered_from_memory(runner: Runner) -> None:
    text = "Boris Wyman of Qantas landed in Perth."
    first, again = post(runner, text=text).json(), post(runner, text=text).json()
    other = post(runner, text=text, threshold=0.6).json()
    assert [answer["cached_answer"] for answer in (first, again, other)] == [False, True, False]
    assert again["entities"] == first["entities"]
    assert post(runner, texts=[text]).json()["results"][0]["cached_answer"]


class Loaded:
    """Stands for the lazy model: this engine is there already."""

    def __init__(self, engine: GlinerEngine) -> None:
        self._engine = engine

    async def ready(self, _: float) -> GlinerEngine:
        return self._engine


def test_equal_texts_at_the_same_time_share_a_run(gliner: GlinerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    spans = gliner.spans

    def counted(pieces: Any) -> Any:
        runs.append(len(pieces))
        return spans(pieces)

    monkeypatch.setattr(gliner, "spans", counted)
    monkeypatch.setattr(service, "model", Loaded(gliner))

    async def play() -> list[Any]:
        text = "Ten equal calls of Ada Lovelace in London."
        request = ExtractRequest(text=text)
        return await asyncio.gather(*(service.respond(request, None) for _ in range(10)))

    results = [json.loads(answer) for answer in asyncio.run(play())]
    assert runs == [1]
    assert all(result["entities"] == results[0]["entities"] for result in results)


def test_many_clients_get_what_one_gets(runner: Runner) -> None:
    texts = [f"{name} of {firm} went to {place}." for name in ("Ann Lee", "Tom Hardy") for firm in ("Nokia", "Apple")
             for place in ("Paris", "Lima", "Oslo")]  # fmt: skip
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda text: post(runner, text=text).json()["entities"], texts * 2))
    assert together[: len(texts)] == together[len(texts) :]
    assert all(len(entities) >= 1 for entities in together)


def test_a_hundred_thousand_words_are_over_the_limit_of_a_text(runner: Runner) -> None:
    response = httpx.post(f"{runner.url}/extract", json={"text": "words " * 100_000}, timeout=60)
    assert response.status_code == 422
    assert [error["field"] for error in problem(response)["errors"]] == ["text"]
