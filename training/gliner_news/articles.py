"""The articles: read with their entities, cut to pieces, and varied."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from training.gliner_news.kinds import CLASS, COARSE
from training.news.split import order as shuffled

WORDS = re.compile(r"\w+(?:[-_]\w+)*|\S")
MARKED = re.compile(r"\{([^{}|]*)\|([^{}|]*)\}")
SENTENCE_ENDS = frozenset(".!?\"”'’)")

# Where a mention begins and ends in its text, and its kind.
Mark = tuple[int, int, str]

NEWS = Path(__file__).parent.parent / "news"


@dataclass(frozen=True)
class Article:
    """`spans` are (first word, last word, kind); `fine`: kinds below and beside the seven classes are marked as well.

    `starts`: the words that begin a sentence or a paragraph.
    """

    name: str
    words: tuple[str, ...]
    starts: tuple[int, ...]
    spans: tuple[tuple[int, int, str], ...]
    fine: bool


def records(path: Path = NEWS / "news.jsonl") -> list[dict[str, Any]]:
    """Articles with `id`, `text`, and as `entities` every distinct written form with its label."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def of_news() -> list[Article]:
    """Those that list their entities; each mention is found again."""
    found = []
    for record in records():
        text: str = record["text"]
        taken = bytearray(len(text))
        marks: list[Mark] = []
        # A form inside of a longer one is no mention of its own.
        for form, label in sorted(record["entities"], key=lambda entity: -len(entity[0])):
            for match in re.finditer(rf"(?<!\w){re.escape(form)}(?!\w)", text):
                start, end = match.span()
                if not any(taken[start:end]):
                    taken[start:end] = bytes([1]) * (end - start)
                    marks.append((start, end, label.lower()))
        found.append(_article(record["id"], text, marks, fine=False))
    return found


def of_marked(folder: Path = NEWS / "marked") -> list[Article]:
    """Articles in which every mention is marked, with kinds below and beside the seven classes."""
    return [
        _article(f"{path.stem}-{number:03}", *unmarked(part), fine=True)
        for path in sorted(folder.glob("*.txt"))
        for number, part in enumerate(parts(path), 1)
    ]


def parts(path: Path) -> list[str]:
    """The texts of a file, which stand apart by a line `---`; lines that begin with `#` are remarks."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [part for part in re.split(r"^---\s*$", text, flags=re.MULTILINE) if part.strip()]


def unmarked(part: str) -> tuple[str, list[Mark]]:
    """The text, and its mentions, of one in which they are marked as `{written form|kind}`."""
    text, marks, at = "", [], 0
    for match in MARKED.finditer(part):
        text += part[at : match.start()]
        if match[2] not in CLASS:
            raise ValueError(f"no kind {match[2]!r}, as in {match[0]}")
        marks.append((len(text), len(text) + len(match[1]), match[2]))
        text += match[1]
        at = match.end()
    return text + part[at:], marks


def _article(name: str, text: str, marks: list[Mark], *, fine: bool) -> Article:
    matches = list(WORDS.finditer(text))
    first_at = {match.start(): number for number, match in enumerate(matches)}
    last_at = {match.end(): number for number, match in enumerate(matches)}
    spans = []
    for start, end, kind in sorted(marks):
        first, last = first_at.get(start), last_at.get(end)
        if first is not None and last is not None:
            spans.append((first, last, kind))
    inside = {word for first, last, _ in spans for word in range(first + 1, last + 1)}
    starts = [0]
    for number, (before, match) in enumerate(pairwise(matches), 1):
        between = text[before.end() : match.start()]
        ends = between and before[0] in SENTENCE_ENDS and match[0][0].isupper()
        if number not in inside and ("\n" in between or ends):
            starts.append(number)
    return Article(name, tuple(match[0] for match in matches), tuple(starts), tuple(spans), fine)


def pieces(article: Article, most: int, rng: random.Random | None = None) -> Iterator[Article]:
    """The article from sentence to sentence, in pieces of at most `most` words; with `rng` of any size up to that."""
    bounds = [*article.starts, len(article.words)]
    at = 0
    while at < len(article.words):
        limit = at + (most if rng is None else rng.randint(most // 5, most))
        end = max((bound for bound in bounds if at < bound <= limit), default=0)
        if not end:
            end = min(next(bound for bound in bounds if bound > at), at + most)
        spans = tuple((f - at, last - at, kind) for f, last, kind in article.spans if at <= f and last < end)
        yield Article(article.name, article.words[at:end], (0,), spans, article.fine)
        at = end


def split(articles: list[Article], held_back: int, seed: int) -> tuple[list[Article], list[Article]]:
    """Those to train on, and `held_back` to choose by."""
    by_name = {article.name: article for article in articles}
    order = [by_name[name] for name in shuffled(by_name, seed)]
    return order[held_back:], order[:held_back]


class Exchange:
    """Puts names of one kind in the places of others: what is learned is how a name stands, not the name."""

    def __init__(self, articles: list[Article]) -> None:
        self._forms: dict[tuple[str, bool, int], list[tuple[str, ...]]] = {}
        for article in articles:
            for form, kind in sorted({(article.words[f : last + 1], kind) for f, last, kind in article.spans}):
                self._forms.setdefault(self._group(form, kind, article.fine), []).append(form)

    @staticmethod
    def _group(form: tuple[str, ...], kind: str, fine: bool) -> tuple[str, bool, int]:
        return kind, fine, min(len(form), 4)

    def vary(self, article: Article, rng: random.Random, share: float) -> Article:
        """`article` with about `share` of its distinct names exchanged, each the same way wherever it stands."""
        chosen: dict[tuple[tuple[str, ...], str], tuple[str, ...]] = {}
        words: list[str] = []
        spans = []
        at = 0
        for first, last, kind in article.spans:
            form = article.words[first : last + 1]
            if (form, kind) not in chosen:
                others = self._forms.get(self._group(form, kind, article.fine), [form])
                chosen[form, kind] = rng.choice(others) if kind != "title" and rng.random() < share else form
            words += article.words[at:first]
            spans.append((len(words), len(words) + len(chosen[form, kind]) - 1, kind))
            words += chosen[form, kind]
            at = last + 1
        words += article.words[at:]
        return Article(article.name, tuple(words), (0,), tuple(spans), article.fine)


def coarse(kind: str) -> str:
    """The class of the seven, or ""."""
    return kind if kind in COARSE else CLASS[kind]
