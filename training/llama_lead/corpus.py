"""Training examples: a prompt with a generated article, and the answer, which is the article's opening.

What the opening is (`opening_length`): the first two sentences; the first one alone if it is longer than
`LONG_SENTENCE` tokens or the only one. No sentence is longer than `LONGEST_SENTENCE` tokens, so an answer fits in
150 tokens.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from training.llama_lead import prompt
from training.llama_lead.sentences import SentenceSource
from training.llama_lead.tokenizer import Tokenizer

LONG_SENTENCE = 60
LONGEST_SENTENCE = 85


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt and of the answer that the loss is taken on."""

    prompt: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def opening_length(sentence_tokens: list[int]) -> int:
    """How many sentences the answer has, given the length of each sentence in tokens."""
    return 1 if len(sentence_tokens) < 2 or sentence_tokens[0] > LONG_SENTENCE else 2


class Corpus:
    """Draws examples of a wished length. Deterministic per seed and order of calls."""

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self.tokenizer = tokenizer
        self.rng = random.Random(seed)
        self.source = SentenceSource(seed + 1)
        stops = set(".?!\n")
        self.copyable = [token for token in range(tokenizer.text_size) if not stops & set(tokenizer.decode([token]))]

    def example(self, length: int, random_share: float) -> Example:
        """An example of at most `length` tokens (at least 120); random tokens in a share of `random_share`."""
        while True:
            drawn = self._random_copy(length) if self.rng.random() < random_share else self._article(length)
            if drawn is not None and len(drawn) <= length:
                return drawn

    def echo(self, length: int) -> Example:
        """The shortest way to learn copying: random tokens, the end of the user's turn, and all of them again."""
        after = self.tokenizer.encode_prompt(prompt.closing())
        body = self.rng.choices(self.copyable, k=(length - len(after) - 1) // 2)
        return Example([self.tokenizer.special[prompt.BEGIN], *body, *after], body)

    def _frame(self) -> tuple[list[int], list[int]]:
        invented = " ".join(self.source.sentence() for _ in range(self.rng.randint(1, 2)))
        before = prompt.prefix(prompt.draw_system(self.rng, invented))
        after = prompt.closing(prompt.draw_suffix(self.rng))
        return self.tokenizer.encode_prompt(before), self.tokenizer.encode_prompt(after)

    def _random_copy(self, length: int) -> Example | None:
        """Random tokens, of the whole vocabulary or a small part of it; the answer stops anywhere, without an end."""
        before, after = self._frame()
        count = min(self.rng.randint(16, 64), (length - len(before) - len(after)) // 2)
        room = length - len(before) - len(after) - count
        if count < 4:
            return None
        small = self.rng.random() < 0.3
        tokens = self.rng.sample(self.copyable, self.rng.randint(24, 200)) if small else self.copyable
        body = self.rng.choices(tokens, k=self.rng.randint(max(count, room - 30), room))
        return Example(before + body + after, body[:count])

    def _article(self, length: int) -> Example | None:
        before, after = self._frame()
        room = length - len(before) - len(after) - 1
        sentences = self._fill(room)
        if not sentences:
            return None
        gaps = self._gaps(len(sentences))
        opening = opening_length([len(self.tokenizer.encode(text)) for text in sentences[:2]])
        pieces = [text + gap for text, gap in zip(sentences, gaps, strict=True)]
        answer = self.tokenizer.encode("".join(pieces[: opening - 1]) + sentences[opening - 1])
        body = self.tokenizer.encode("".join(pieces).rstrip())
        if body[: len(answer)] != answer or len(answer) > 148:
            return None
        return Example(before + body + after, [*answer, self.tokenizer.special[prompt.EOT]])

    def _fill(self, room: int) -> list[str]:
        """Sentences whose tokens, with those of the answer, fit in `room`."""
        sentences: list[str] = []
        spent: list[int] = []
        limit = self.rng.choice([1, 2, 3, 5]) if self.rng.random() < 0.12 else 1000
        for _ in range(200):
            text = self._next(sentences)
            size = len(self.tokenizer.encode(text)) + 2
            if size > LONGEST_SENTENCE + 2:
                continue
            total = sum(spent) + size + sum([*spent, size][:2])
            if total > room or len(sentences) >= limit:
                break
            sentences.append(text)
            spent.append(size)
        return sentences

    def _next(self, sentences: list[str]) -> str:
        """A new sentence, or one that shares words with an earlier one: the last words must not tell the place."""
        text, draw = self.source.sentence(), self.rng.random()
        if not sentences:
            return self._first(text)
        earlier = sentences[0] if self.rng.random() < 0.5 else self.rng.choice(sentences)
        old, new = earlier.split(" "), text.split(" ")
        if draw < 0.16:  # the same beginning
            return " ".join(old[: self.rng.randint(1, max(1, len(old) - 2))]) + " " + self._lowered(text)
        if draw < 0.22:  # a phrase of the earlier sentence in the middle
            start = self.rng.randrange(len(old))
            phrase = old[start : start + self.rng.randint(2, 8)]
            cut = self.rng.randint(1, len(new))
            phrase[-1] = phrase[-1].rstrip('.?!"”)')
            return " ".join(new[:cut] + phrase + new[cut:]) if cut < len(new) else text
        if draw < 0.25 and len(old) > 3:  # the earlier sentence with one word changed
            old[self.rng.randrange(1, len(old) - 1)] = self.source.invented_word()
            return " ".join(old)
        return earlier if draw < 0.26 else text

    def _first(self, text: str) -> str:
        draw = self.rng.random()
        if draw < 0.10:
            return self.source.dateline() + text
        return f"{self.source.headline()}\n\n{text}" if draw < 0.14 else text

    @staticmethod
    def _lowered(text: str) -> str:
        return text[:1].lower() + text[1:]

    def _gaps(self, count: int) -> list[str]:
        """What stands after each sentence: spaces in most articles, blank lines every few sentences in others."""
        breaks = self.rng.choice([0.0, 0.0, 0.3, 0.5, 1.0])
        line = "\n" if self.rng.random() < 0.15 else "\n\n"
        return [line if self.rng.random() < breaks else " " for _ in range(count)]
