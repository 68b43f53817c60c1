"""Articles with their summaries, as the tokens that the service would send and those that it should get."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tokenizers import Tokenizer

from functions.summarize.prompt import INSTRUCTION, LENGTH
from training.gliner_news import articles
from training.news import split

SUMMARISED = Path(__file__).parent.parent / "news" / "summarised"

OPENING = f"<|im_start|>system\n{INSTRUCTION}<|im_end|>\n<|im_start|>user\n"
CLOSING = "<|im_end|>\n<|im_start|>assistant\n"
END = "<|im_end|>"
# The wish that stands behind an article when a request has a deadline: for the default of 150 tokens, and for others.
USUAL_WORDS = 97
MOST_WORDS = 130


@dataclass(frozen=True)
class Article:
    name: str
    text: str
    summary: str


def of_news() -> list[Article]:
    return [Article(record["id"], record["text"], record["summary"]) for record in articles.records()]


def of_summarised(folder: Path = SUMMARISED) -> list[Article]:
    """The articles of files in which each is followed by `===` and its summary, and they stand apart by `---`."""
    found = []
    for path in sorted(folder.glob("*.txt")):
        for number, part in enumerate(articles.parts(path), 1):
            text, summary = re.split(r"^===\s*$", part, flags=re.MULTILINE)
            found.append(Article(f"{path.stem}-{number:03}", text.strip(), " ".join(summary.split())))
    return found


def held_back() -> tuple[list[Article], list[Article]]:
    """What is learned from in `news.jsonl`, and what nothing is learned from."""
    names, news = set(split.of_news()), of_news()
    return [article for article in news if article.name not in names], [a for a in news if a.name in names]


def round_of(number: int, draw: random.Random) -> list[Article]:
    """The articles of a round, in their order: first those that were in none before."""
    news, _ = held_back()
    added = of_summarised()
    fresh = [article for article in added if article.name.startswith("later")]
    known = news + [article for article in added if not article.name.startswith("later")]
    known = draw.sample(known, len(known))
    return known if number == 0 else draw.sample(fresh, len(fresh)) + known


class Encoder:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._controls = re.compile(r"<\|\w+\|>")

    def plain(self, text: str) -> list[int]:
        assert not self._controls.search(text)
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def framed(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def prompt(self, text: str, words: int | None) -> list[int]:
        """Each part is tokenised by itself, as the service does it."""
        wish = "" if words is None else LENGTH.format(words=words)
        return [*self.framed(OPENING), *self.plain(text.strip()), *self.framed(wish + CLOSING)]

    def answer(self, summary: str) -> list[int]:
        return self.plain(summary) + self.framed(END)


def examples(encoder: Encoder, seed: int, most_tokens: int) -> Iterator[tuple[list[int], list[int]]]:
    """Prompts and answers without end, each article once in every round."""
    draw = random.Random(seed)
    for number in count():
        for article in round_of(number, draw):
            answer = encoder.answer(article.summary)
            prompt = encoder.prompt(article.text, _wish(draw, len(article.summary.split())))
            if len(prompt) + len(answer) <= most_tokens:
                yield prompt, answer


def _wish(draw: random.Random, length: int) -> int | None:
    """Never fewer words than the summary has."""
    kind = draw.random()
    if kind < 0.35:
        return None
    if kind < 0.75 and length <= USUAL_WORDS:
        return USUAL_WORDS
    return draw.randint(length + 2, MOST_WORDS)
