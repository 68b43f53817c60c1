"""FACTORY_SUMMARIZE__CHECK_FACTS: the answer names what its article does not have."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from common.settings import get_settings
from functions.summarize import service
from functions.summarize.context import Sampling
from functions.summarize.engine import LlamaEngine
from functions.summarize.outputs import Answer
from functions.summarize.schemas import SummarizeRequest, SummarizeResponse
from functions.summarize.tickets import Completion
from functions.summarize.writers import Writers
from tests.conftest import Runner, SettingsEnv, run_service

OPENING = "The town of Lindholm opened a bridge on Monday. It took four years to build."
ARTICLE = f"{OPENING} Cars may use it from next week. The old bridge will be torn down in spring. Many came."
INVENTED = "Lindholm opened 12 bridges in Geneva on Monday."


@pytest.fixture(scope="module")
def checking_runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    with run_service(tmp_path_factory.mktemp("checking") / "log.txt", SUMMARIZE__CHECK_FACTS=True) as runner:
        yield runner


def post(runner: Runner, **body: object) -> httpx.Response:
    return httpx.post(f"{runner.url}/summarize", json={"text": ARTICLE, **body}, timeout=60)


def done(stream: str) -> dict[str, Any]:
    *_, last = filter(None, stream.split("\n\n"))
    name, data = last.split("\n", 1)
    assert name == "event: done"
    body: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return body


def test_an_answer_without_the_check_has_no_such_field(runner: Runner) -> None:
    response = post(runner)
    assert "unsupported" not in response.json()
    assert "check;dur=" not in response.headers["server-timing"]
    assert "unsupported" not in done(post(runner, stream=True).text)


def test_a_copied_summary_has_nothing_unsupported_and_the_check_is_timed(checking_runner: Runner) -> None:
    response = post(checking_runner)
    assert response.json()["summary"] == OPENING
    assert response.json()["unsupported"] == []
    assert "check;dur=" in response.headers["server-timing"]
    assert done(post(checking_runner, stream=True).text)["unsupported"] == []


def test_a_kept_answer_has_the_field_as_well(checking_runner: Runner) -> None:
    post(checking_runner, temperature=0, seed=5)
    body = post(checking_runner, temperature=0, seed=5).json()
    assert body["usage"]["cached_answer"] is True
    assert body["unsupported"] == []


def test_the_schema_speaks_of_a_list_that_may_be_missing(runner: Runner) -> None:
    schema = httpx.get(f"{runner.url}/openapi.json").json()["components"]["schemas"]["SummarizeResponse"]
    assert schema["properties"]["unsupported"]["type"] == "array"
    assert "unsupported" not in schema["required"]


@dataclass
class Inventing:
    """The engine, but for what it writes."""

    engine: LlamaEngine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    async def generate(self, ticket: Any, tokens: Any, sampling: Sampling) -> Any:
        async for piece in self.engine.generate(ticket, tokens, sampling):
            if isinstance(piece, Completion):
                yield INVENTED
                yield piece


def answer(llama: LlamaEngine, text: str) -> SummarizeResponse:
    async def last() -> Answer:
        request = SummarizeRequest(text=text, temperature=0)
        *_, whole = [
            output
            async for output in service.summarize(request, Writers(Inventing(llama)), get_settings().summarize)  # type: ignore[arg-type]
        ]
        assert isinstance(whole, Answer)
        return whole

    return asyncio.run(last()).response


def test_what_the_model_invented_is_named(llama: LlamaEngine, settings_env: SettingsEnv) -> None:
    settings_env(SUMMARIZE__CHECK_FACTS=True)
    assert answer(llama, ARTICLE).unsupported == ["12", "Geneva"]


def test_a_condensed_article_is_asked_as_it_was_sent(llama: LlamaEngine, settings_env: SettingsEnv) -> None:
    settings_env(SUMMARIZE__CHECK_FACTS=True)
    response = answer(llama, ARTICLE + " More was said about it later." * 2000 + " In Geneva there are 12 bridges.")
    assert response.condensed
    assert response.unsupported == []
