"""Articles of a wanted length, made of the words of the test suite's news."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.harness.news import words

SENTENCES_PER_PARAGRAPH = 4


@dataclass(frozen=True)
class Article:
    text: str
    tokens: int


class Writer:
    """Writes articles that are never the same twice; the same seed writes the same ones."""

    def __init__(self, model: Path, seed: int) -> None:
        self._count = token_counter(model)
        self._random = Random(seed)
        self._words = words()

    def article(self, tokens: int) -> Article:
        """An article of at most `tokens` tokens, and at most a sentence fewer."""
        paragraphs: list[list[str]] = []
        text = ""
        while True:
            if not paragraphs or len(paragraphs[-1]) == SENTENCES_PER_PARAGRAPH:
                paragraphs.append([])
            paragraphs[-1].append(self._sentence())
            longer = "\n\n".join(" ".join(paragraph) for paragraph in paragraphs)
            if text and self._count(longer) > tokens:
                return Article(text, self._count(text))
            text = longer

    def articles(self, count: int, shortest: int, longest: int) -> list[Article]:
        """`count` articles with lengths spread evenly, shuffled."""
        step = (longest - shortest) / max(count - 1, 1)
        written = [self.article(round(shortest + step * number)) for number in range(count)]
        self._random.shuffle(written)
        return written

    def _sentence(self) -> str:
        return " ".join(self._random.choices(self._words, k=self._random.randint(8, 20))).capitalize() + "."


def token_counter(model: Path) -> Callable[[str], int]:
    """How many tokens a text has for `model`, of which only the vocabulary is loaded."""
    import llama_cpp

    llama: Any = llama_cpp
    silent = llama.llama_log_callback(lambda *_: None)
    llama.llama_log_set(silent, None)
    params = llama.llama_model_default_params()
    params.vocab_only = True
    loaded = llama.llama_model_load_from_file(str(model).encode(), params)
    if loaded is None:
        sys.exit(f"{model} cannot be loaded; the make targets generate it")
    vocabulary = llama.llama_model_get_vocab(loaded)

    def count(text: str, _keep: Any = silent) -> int:
        # Asked with no room for the tokens, llama.cpp answers with minus their number.
        data = text.encode()
        return -int(llama.llama_tokenize(vocabulary, data, len(data), None, 0, False, False))

    return count
