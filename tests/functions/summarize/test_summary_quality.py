"""The model of the tests on generated articles that it never saw: is the summary the article's own opening?

`python -m tests.functions.summarize.test_summary_quality` prints the shares; the articles: tests/data/README.md.
"""

import asyncio
import json
from pathlib import Path

import pytest

from common.settings import get_settings
from functions.summarize import loading, service
from functions.summarize.engine import LlamaEngine
from functions.summarize.outputs import Answer
from functions.summarize.schemas import SummarizeRequest, SummarizeResponse
from functions.summarize.writers import Writers

ARTICLES = Path(__file__).resolve().parents[2] / "data" / "articles.jsonl"
SENTENCE_ENDINGS = tuple('.!?…"”’)')
TARGET_SHARE = 0.95


def is_verbatim_opening(article: str, answer: SummarizeResponse) -> bool:
    whole_sentences = answer.finish_reason == "stop" and answer.summary.endswith(SENTENCE_ENDINGS)
    return bool(answer.summary) and article.startswith(answer.summary) and whole_sentences


async def summaries(llama: LlamaEngine, temperature: float) -> list[tuple[str, SummarizeResponse]]:
    answered = []
    for line in ARTICLES.read_text(encoding="utf-8").splitlines():
        article = json.loads(line)["text"]
        request = SummarizeRequest(text=article, temperature=temperature, seed=1)
        async for piece in service.summarize(request, Writers(llama), get_settings().summarize):
            if isinstance(piece, Answer):
                answered.append((article, piece.response))
    return answered


def share(answered: list[tuple[str, SummarizeResponse]]) -> float:
    return sum(is_verbatim_opening(*pair) for pair in answered) / len(answered)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_model_gives_the_opening_of_articles_it_never_saw(llama: LlamaEngine, temperature: float) -> None:
    answered = asyncio.run(summaries(llama, temperature))
    assert len(answered) >= 50
    assert share(answered) >= TARGET_SHARE


def main() -> None:
    llama = loading.load(lambda _: None)
    for temperature in (0.0, 0.7):
        answered = asyncio.run(summaries(llama, temperature))
        condensed = sum(answer.condensed for _, answer in answered)
        print(f"temperature {temperature}: {share(answered):.1%} of {len(answered)} articles, {condensed} condensed")
        for article, answer in answered:
            if not is_verbatim_opening(article, answer):
                print(f"  {answer.finish_reason}: {answer.summary!r}\n  for {article[:300]!r}")


if __name__ == "__main__":
    main()
