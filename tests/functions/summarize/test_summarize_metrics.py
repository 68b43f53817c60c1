"""What is counted of a stream that breaks, and of the parts of a map-reduce."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from common.errors import FactoryError
from common.metrics import registry
from common.settings import get_settings
from functions.summarize import service
from functions.summarize.engine import LlamaEngine
from functions.summarize.handler import app
from functions.summarize.outputs import Accepted, Answer, Output
from functions.summarize.schemas import SummarizeRequest
from functions.summarize.writers import Writers
from tests.conftest import call


def value(name: str, **labels: str) -> float:
    return registry.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize("error", [FactoryError("the model failed"), RuntimeError("a fault")])
def test_a_stream_that_ends_with_an_error_counts_as_200_with_its_problem(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def outputs() -> AsyncGenerator[Output]:
        yield Accepted()
        yield "A word"
        raise error

    async def respond(*_: object) -> AsyncGenerator[Output]:
        return outputs()

    monkeypatch.setattr(service, "respond", respond)
    problem = {"route": "/summarize", "problem": "internal-error"}
    answered = {"route": "/summarize", "method": "POST", "status": "200", "caller": ""}
    before = value("factory_problems_total", **problem), value("factory_requests_total", **answered)
    sent = call(app, "POST", "/summarize", {"text": "An article.", "stream": True})
    assert "event: error" in sent.text
    after = value("factory_problems_total", **problem), value("factory_requests_total", **answered)
    assert after == (before[0] + 1, before[1] + 1)


def test_the_parts_of_a_map_reduce_are_work_as_well(llama: LlamaEngine) -> None:
    settings = get_settings().summarize.model_copy(update={"overflow": "map_reduce", "max_article_tokens": 100})
    text = " ".join(f"The town of Town{number} opened a bridge on Monday." for number in range(30))
    request = SummarizeRequest(text=text, temperature=0, max_tokens=20)
    made = {"model": llama.name, "writer": "main"}
    before = value("factory_summarize_prompt_tokens_total", **made)

    async def last() -> Output:
        *_, output = [one async for one in service.summarize(request, Writers(llama), settings)]
        return output

    answer = asyncio.run(last())
    assert isinstance(answer, Answer)
    read = value("factory_summarize_prompt_tokens_total", **made) - before
    assert read > 2 * answer.response.usage.prompt_tokens
