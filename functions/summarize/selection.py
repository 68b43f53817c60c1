"""Which sentences of an article say most of what a summary of it would, within a budget.

A linear model gives every word its chance to be in a summary. The sentences are chosen that together have the largest
sum of chances, each word counted once (maximum coverage: Gillick & Favre 2009, "A scalable global model for
summarization"). Lines of the web page around the article are set aside first.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from functions.summarize import boilerplate, lexrank, sentence_features
from functions.summarize.terms import Terms, forms, term
from functions.summarize.weights import Weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

Count = Callable[[str], int]

# Of an article with more distinct sentences, half of these are its first ones, half are spread evenly over the rest.
MAX_RANKED = 1000
# Lines with a larger chance of being the page's are chosen only where there is nothing else.
BOILERPLATE = 0.5
# Where half of a paragraph has this chance, all of it is the page's.
SURE_BOILERPLATE = 0.9
# And so are lines of so few words without a stop.
LABEL_WORDS = 3
# Greedy choice by chances / tokens ** power: which one finds the largest sum differs from article to article.
POWERS = (0.5, 0.8, 0.3, 1.0, 0.0)
# So many sentences fill a budget in much the same way whichever is taken first.
MANY = 60
# What a sentence costs is known by its characters to within this factor; in doubt it is counted, if not too often.
DOUBT, MOST_MISSES = 1.5, 16
# Of the mean centrality: sentences below it do not fill what a better but longer one left, for they are about
# something else.
LEAST_CENTRALITY = 0.6
# Candidates in the order in which they are thought of.
CENTRAL, ASIDE, DOUBTFUL = range(3)
# A heading is one of the article if so many of its words stand in the text too.
KNOWN_WORDS = 0.5
# The gaps that may be between two sentences, the narrowest first.
GAPS = ("", " ", "\n", "\n\n")


class Article:
    """An article in sentences; they are named by their index.

    `pieces`: its sentences, each with the white space behind it. `tokens_per_character`: of the whole.
    """

    def __init__(self, pieces: Sequence[str], count: Count, tokens_per_character: float, weights: Weights) -> None:
        self._sentences = [piece.strip() for piece in pieces]
        self._gaps = [_gap(piece) for piece in pieces]
        self._starts = [0, *accumulate(map(len, pieces))]
        self._count = count
        written = [forms(sentence) for sentence in self._sentences]
        named = [[term(form) for form in line] for line in written]
        distinct = _distinct(named)
        paragraphs = np.concatenate([[0], np.cumsum(np.array(self._gaps[:-1], np.intp) > 1)]).astype(np.intp)
        self.candidates, doubtful = self._without_boilerplate(distinct, written, named, paragraphs, weights)
        self.terms = Terms([written[i] for i in self.candidates], [named[i] for i in self.candidates])
        self._cosines = lexrank.similarity([[name for name in named[i] if name] for i in self.candidates])
        self._central = lexrank.centrality(self._cosines) * len(self.candidates)
        self._tier = np.where(doubtful, DOUBTFUL, np.where(self._central < LEAST_CENTRALITY, ASIDE, CENTRAL))
        self.features = np.zeros((0, len(sentence_features.NAMES)))
        if self.terms.number:
            self.features = self._features(paragraphs[self.candidates])
        self.chances = weights.word.chances(self.features)
        self._costs = np.array([len(self._sentences[i]) + 1 for i in self.candidates]) * tokens_per_character
        self._counted = np.zeros(len(self.candidates), bool)

    @property
    def first(self) -> str:
        """The first candidate that is not doubtful."""
        return self._sentences[self._first]

    @property
    def first_start(self) -> int:
        """Where that begins in the article, in characters."""
        return self._starts[self._first]

    @property
    def _first(self) -> int:
        return self.candidates[int(np.argmax(self._tier != DOUBTFUL))]

    def joined(self, picked: Sequence[int]) -> str:
        """The picked candidates in their order, as far apart as the widest gap between them in the article."""
        if not picked:
            return ""
        ordered = [self.candidates[k] for k in sorted(picked)]
        parts = [self._sentences[ordered[0]]]
        for previous, i in pairwise(ordered):
            parts += [GAPS[max(self._gaps[previous:i])], self._sentences[i]]
        return "".join(parts)

    def spans(self, picked: Sequence[int]) -> list[tuple[int, int]]:
        """Where the picked candidates stand in the article, in characters; neighbours are one span."""
        found: list[tuple[int, int]] = []
        before = -1
        for i in sorted(self.candidates[k] for k in picked):
            start, end = self._starts[i], self._starts[i] + len(self._sentences[i])
            if found and i == before + 1:
                start, _ = found.pop()
            found.append((start, end))
            before = i
        return found

    def cost(self, k: int) -> float:
        """Tokens of a candidate behind the sentence before it."""
        if not self._counted[k]:
            i = self.candidates[k]
            self._costs[k] = self._count((GAPS[self._gaps[i - 1]] if i else "") + self._sentences[i])
            self._counted[k] = True
        return float(self._costs[k])

    def value(self, text: str) -> float:
        """The chances of the words of `text`, added up."""
        indexes = {self.terms.indexes.get(term(form), -1) for form in forms(text)} - {-1}
        return float(self.chances[list(indexes)].sum())

    def opening(self, budget: float) -> list[int]:
        """The first candidates, as many as fit."""
        picked: list[int] = []
        for k in range(len(self.candidates)):
            if self.cost(k) > budget:
                break
            budget -= self.cost(k)
            picked.append(k)
        return picked

    def pick(self, budget: int, kept: Sequence[int] = ()) -> list[int]:
        """The candidates with the largest sum of chances within the budget, the most telling first; `kept` before."""
        best, most = list(kept), -1.0
        if not self.terms.number:
            return best
        for power in POWERS:
            picked, value = self._greedy(budget, kept, power)
            if value > most:
                best, most = picked, value
            if len(picked) >= MANY:
                break
        return best

    def _greedy(self, budget: int, kept: Sequence[int], power: float) -> tuple[list[int], float]:
        sentence, of_sentence = self.terms.pairs
        starts = np.searchsorted(sentence, np.arange(len(self.candidates)))
        rest = self.chances.copy()
        is_open = np.ones(len(self.candidates), bool)
        tier = CENTRAL
        picked: list[int] = []
        left, value, misses = float(budget), 0.0, 0

        def take(k: int, gain: float) -> None:
            nonlocal left, value
            picked.append(k)
            left -= self.cost(k)
            value += gain
            rest[of_sentence[starts[k] : starts[k + 1] if k + 1 < len(starts) else None]] = 0
            is_open[self._cosines[k] >= lexrank.NEAR_DUPLICATE] = False
            is_open[k] = False

        for k in kept:
            take(k, 0)
        while misses < MOST_MISSES:
            gains = np.where(is_open & (self._tier <= tier), np.add.reduceat(rest[of_sentence], starts), 0)
            fits = self._costs <= left * np.where(self._counted, 1, DOUBT)
            scores = gains * fits / np.maximum(self._costs, 1) ** power
            k = int(np.argmax(scores))
            if scores[k] <= 0:
                if tier == DOUBTFUL:
                    break
                if gains.any():
                    is_open &= self._tier != ASIDE
                tier += 1
                continue
            if self.cost(k) <= left:
                take(k, float(gains[k]))
            else:
                misses += 1
        return picked, value

    def _without_boilerplate(
        self,
        distinct: list[int],
        written: list[list[str]],
        named: list[list[str]],
        paragraphs: "NDArray[np.intp]",
        weights: Weights,
    ) -> "tuple[list[int], NDArray[np.bool_]]":
        """The sentences that are not the page's, and of each whether that is in doubt."""
        figures = page_lines(
            [self._sentences[i] for i in distinct],
            paragraphs[distinct],
            Terms([written[i] for i in distinct], [named[i] for i in distinct]),
        )
        chances = weights.boilerplate.chances(figures)
        is_page = chances >= BOILERPLATE
        is_page |= [self._is_label(i, named[i]) for i in distinct]
        # A caption is often two sentences of which only the credit shows what it is: they go together.
        inside = paragraphs[distinct]
        sure = np.bincount(inside, weights=chances >= SURE_BOILERPLATE)
        of_sure = (2 * sure >= np.maximum(1, np.bincount(inside)))[inside] & (inside.max() > 0)
        is_page |= of_sure
        has_stop = np.array([sentence_features.ends_with_stop(self._sentences[i]) for i in distinct], bool)
        plain = boilerplate.is_plain(figures)
        known = figures[:, boilerplate.NAMES.index(boilerplate.KNOWN)] >= KNOWN_WORDS
        title = _title(is_page, has_stop)
        doubtful = is_page & plain & has_stop & ~of_sure
        doubtful |= is_page & plain & title & ((chances < BOILERPLATE) | known)
        is_page &= ~doubtful
        if is_page.all() or (is_page | doubtful).all():
            return distinct, np.zeros(len(distinct), bool)
        doubtful &= ~(title & known)
        return [i for i, is_out in zip(distinct, is_page, strict=True) if not is_out], doubtful[~is_page]

    def _is_label(self, i: int, names: list[str]) -> bool:
        """Whether a sentence is a heading or button: a few words without a stop."""
        return sum(map(bool, names)) <= LABEL_WORDS and not sentence_features.ends_with_stop(self._sentences[i])

    def _features(self, paragraphs: "NDArray[np.intp]") -> "NDArray[np.float64]":
        sentences = [self._sentences[i] for i in self.candidates]
        of_sentences = sentence_features.of_sentences(sentences, paragraphs, self.terms, self._central)
        has_title = not sentence_features.ends_with_stop(sentences[0])
        return sentence_features.of_words(self.terms, of_sentences, has_title)


def _title(is_page: "NDArray[np.bool_]", has_stop: "NDArray[np.bool_]") -> "NDArray[np.bool_]":
    """Of each line whether it may be the article's title: the last one without a stop before the text."""
    title = np.zeros(len(is_page), bool)
    lines = np.flatnonzero(~has_stop[: int(np.argmax(has_stop & ~is_page))])
    title[lines[-1:]] = True
    return title


def page_lines(sentences: Sequence[str], paragraphs: "NDArray[np.intp]", terms: Terms) -> "NDArray[np.float64]":
    """The figures of `boilerplate.NAMES`, a row for each sentence."""
    n = len(sentences)
    words = np.maximum(1, np.bincount(terms.sentence, minlength=n))
    inside = terms.is_capital & (terms.place > 0)
    capitals = np.bincount(terms.sentence, weights=inside, minlength=n) / words
    return boilerplate.features(sentences, paragraphs, terms, capitals)


def _distinct(named: list[list[str]]) -> list[int]:
    """At most MAX_RANKED sentences that have terms, none with the terms of another; all are without: the first one."""
    first: dict[tuple[str, ...], int] = {}
    for i, names in enumerate(named):
        first.setdefault(tuple(names), i)
    indexes = [i for names, i in first.items() if any(names)] or [0]
    if len(indexes) <= MAX_RANKED:
        return indexes
    half = MAX_RANKED // 2
    rest = len(indexes) - half
    return indexes[:half] + [indexes[half + k * rest // half] for k in range(half)]


def _gap(piece: str) -> int:
    space = piece[len(piece.rstrip()) :]
    new_lines = space.count("\n") + 2 * space.count("\u2029")
    return min(new_lines, 2) + 1 if space else 0
