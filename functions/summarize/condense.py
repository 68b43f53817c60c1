"""Shortens an article to a budget of tokens: the sentences that say most of it, as they stand in it.

`count` is always the model's own tokenizer, which costs about 1 µs per character: a text is counted two or three times
over, never once per sentence.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import hypot, log
from string import punctuation
from typing import TYPE_CHECKING

from common.sentences import sentences

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Count = Callable[[str], int]

# Of an article with more distinct sentences, half of these are its first ones, half are spread evenly over the rest.
MAX_RANKED = 1000
# The terms that most sentences share; a matrix of 1,000 by 4,096 takes 16 MB.
MAX_TERMS = 4096
LEAD_SHARE = 0.3
LEAD_SENTENCES = 2
# What the last sentence of an article weighs against the first: news tells the important things first.
LAST_WEIGHT = 0.5
# Cosine from which two sentences say the same.
NEAR_DUPLICATE = 0.7
# Of the mean: sentences below it do not fill the gap that a better but longer one left, for they are mostly adverts.
LEAST_CENTRALITY = 0.6
# LexRank's. After these steps the start counts for less than a ten-thousandth: 0.85 ** 60.
DAMPING = 0.85
STEPS = 60

# Scripts that put no spaces between words: Thai and Lao, Burmese, Khmer, kana, Han.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
PUNCTUATION = punctuation + "“”‘’„‚«»‹›…–—•·¿¡、，；：？！。．「」『』（）【】《》〈〉。।॥؟،؛۔"
WORD, CHARACTER = r"\S+\s*", r"\S\s*"
# The gaps that may be between two sentences, the narrowest first.
GAPS = ("", " ", "\n", "\n\n")

_TERM = re.compile(rf"(?P<unspaced>[{UNSPACED}]+)|[^\s{UNSPACED}]+")


def condense(text: str, budget: int, count: Count, lead_share: float = LEAD_SHARE) -> str:
    """The sentences of `text` that say most of it, in their order, with at most `budget` tokens as `count` counts them.

    A text that fits comes back whole. The opening sentences are always kept, up to about `lead_share` of the budget
    and at least two if two fit; the others are picked by centrality and position, without near-duplicates, so that a
    repetitive text may leave some of the budget unused. A first sentence over the budget is cut after a word, or
    inside one where there is no white space.

    Centrality is LexRank (Erkan & Radev 2004; TextRank, Mihalcea & Tarau 2004, is its sister): the stationary
    distribution of a random walk over the sentences, weighted by the cosine of their TF-IDF.
    """
    text = text.strip()
    if count(text) <= budget:
        return text
    pieces = sentences(text)
    if count(pieces[0].rstrip()) > budget:
        return _cut(pieces[0], budget, count)
    article = _Article(pieces, count)
    picked = article.pick(budget, lead_share)
    condensed = article.joined(picked)
    while len(picked) > 1 and (over := count(condensed) - budget) > 0:
        while len(picked) > 1 and over > 0:
            over -= max(1, article.cost(picked.pop()))
        condensed = article.joined(picked)
    return condensed


def windows(text: str, budget: int, count: Count) -> list[str]:
    """Consecutive parts of `text`, each of whole sentences and at most `budget` tokens, that leave no word out.

    A sentence over the budget is cut between words, a word over it between characters; a character is never cut.
    """
    atoms = list(_atoms(sentences(text.strip()), budget, count, (WORD, CHARACTER)))
    parts: list[str] = []
    start = 0
    while start < len(atoms):
        end, room = start + 1, budget - count(atoms[start][0].rstrip())
        while end < len(atoms) and atoms[end][1] <= room:
            room -= atoms[end][1]
            end += 1
        part = _text(atoms[start:end])
        while end - start > 1 and (over := count(part) - budget) > 0:
            while end - start > 1 and over > 0:
                end -= 1
                over -= max(1, atoms[end][1])
            part = _text(atoms[start:end])
        parts.append(part)
        start = end
    return parts


def _cut(sentence: str, budget: int, count: Count) -> str:
    """The longest opening of `sentence` within the budget that ends after a word, or inside the first one."""
    words = [match.end() for match in re.finditer(r"\S+", sentence)]
    return _longest(sentence, words, budget, count) or _longest(sentence, range(1, words[0] + 1), budget, count)


def _longest(text: str, ends: Sequence[int], budget: int, count: Count) -> str:
    """The longest of the openings that end at `ends` (rising) within the budget, or ""."""
    # Doubling first: an opening is never counted that is more than twice as long as needed.
    low, high = 0, 1
    while high <= len(ends) and count(text[: ends[high - 1]]) <= budget:
        low, high = high, 2 * high
    high = min(high - 1, len(ends))
    while low < high:
        middle = (low + high + 1) // 2
        if count(text[: ends[middle - 1]]) <= budget:
            low = middle
        else:
            high = middle - 1
    return text[: ends[low - 1]] if low else ""


def _atoms(pieces: list[str], budget: int, count: Count, finer: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """The pieces, those over the budget split as `finer` says, with the tokens of each behind the one before it."""
    space = ""
    for piece in pieces:
        bare = piece.rstrip()
        cost = count(space + bare)
        space = piece[len(bare) :]
        if cost > budget and finer and count(bare) > budget:
            yield from _atoms(re.findall(finer[0], piece), budget, count, finer[1:])
        else:
            yield piece, cost


def _text(atoms: list[tuple[str, int]]) -> str:
    return "".join(atom for atom, _ in atoms).strip()


class _Article:
    """An article in sentences; they are named by their index."""

    def __init__(self, pieces: list[str], count: Count) -> None:
        self._sentences = [piece.strip() for piece in pieces]
        self._terms = [tuple(_terms(sentence)) for sentence in self._sentences]
        self._gaps = [_gap(piece) for piece in pieces]
        self._count = count
        self._costs: dict[int, int] = {}

    def cost(self, i: int) -> int:
        """Tokens of a sentence behind the one before it."""
        if i not in self._costs:
            before = GAPS[self._gaps[i - 1]] if i else ""
            self._costs[i] = self._count(before + self._sentences[i])
        return self._costs[i]

    def joined(self, picked: list[int]) -> str:
        """The picked sentences in their order, as far apart as the widest gap between them in the article."""
        ordered = sorted(picked)
        parts = [self._sentences[ordered[0]]]
        for previous, i in pairwise(ordered):
            parts += [GAPS[max(self._gaps[previous:i])], self._sentences[i]]
        return "".join(parts)

    def pick(self, budget: int, lead_share: float) -> list[int]:
        """The sentences to keep, the most important ones first; the very first one is always kept."""
        import numpy as np

        ranked = self._ranked()
        similarity = _similarity([Counter(self._terms[i]) for i in ranked])
        centrality = _centrality(similarity)
        scores = centrality * np.interp(ranked, [0, len(self._sentences)], [1, LAST_WEIGHT])
        nearest = np.zeros(len(ranked))
        picked: list[int] = []
        left = budget

        def take(k: int, limit: int) -> bool:
            """Keeps the sentence if it says something new within `limit`; False only if it is over it."""
            nonlocal left
            if nearest[k] < NEAR_DUPLICATE:
                if self.cost(ranked[k]) > limit:
                    return False
                picked.append(ranked[k])
                left -= self.cost(ranked[k])
                np.maximum(nearest, similarity[k], out=nearest)
                nearest[k] = 1
            return True

        for k in range(len(ranked)):
            beyond_lead = 0 if len(picked) < LEAD_SENTENCES else round(budget * (1 - lead_share))
            if not take(k, left - beyond_lead):
                break
        all_better_kept = True
        for k in np.argsort(-scores, kind="stable"):
            if all_better_kept or centrality[k] >= LEAST_CENTRALITY / len(ranked):
                all_better_kept &= take(int(k), left)
        return picked

    def _ranked(self) -> list[int]:
        """At most MAX_RANKED sentences, the first one and others that have terms, none with the terms of another."""
        first: dict[tuple[str, ...], int] = {}
        for i, terms in enumerate(self._terms):
            first.setdefault(terms, i)
        first.pop((), None)
        indexes = sorted({0, *first.values()})
        if len(indexes) <= MAX_RANKED:
            return indexes
        half = MAX_RANKED // 2
        rest = len(indexes) - half
        return indexes[:half] + [indexes[half + k * rest // half] for k in range(half)]


def _gap(piece: str) -> int:
    space = piece[len(piece.rstrip()) :]
    new_lines = space.count("\n") + 2 * space.count("\u2029")
    return min(new_lines, 2) + 1 if space else 0


def _terms(sentence: str) -> list[str]:
    """Words in lower case without the punctuation around them; pairs of characters in scripts without spaces."""
    terms: list[str] = []
    for found in _TERM.finditer(sentence.lower()):
        if run := found["unspaced"]:
            terms += [run[i : i + 2] for i in range(max(1, len(run) - 1))]
        elif word := found[0].strip(PUNCTUATION).removesuffix("'s").removesuffix("’s"):
            terms.append(word)
    return terms


def _similarity(bags: list[Counter[str]]) -> "NDArray[np.float32]":
    """The cosines of the TF-IDF of every two sentences, 0 of a sentence with itself."""
    import numpy as np

    frequency = Counter(term for bag in bags for term in bag)
    idf = {term: log(1 + len(bags) / times) for term, times in frequency.items()}
    columns = {term: k for k, (term, times) in enumerate(frequency.most_common(MAX_TERMS)) if times > 1}
    matrix = np.zeros((len(bags), len(columns)), np.float32)
    for row, bag in zip(matrix, bags, strict=True):
        length = hypot(*(times * idf[term] for term, times in bag.items())) or 1
        for term in bag.keys() & columns.keys():
            row[columns[term]] = bag[term] * idf[term] / length
    similarity: NDArray[np.float32] = matrix @ matrix.T
    np.fill_diagonal(similarity, 0)
    return similarity


def _centrality(similarity: "NDArray[np.float32]") -> "NDArray[np.float64]":
    """The share of a random walk's time that it spends at each sentence; near-duplicates do not lead to each other."""
    import numpy as np

    n = len(similarity)
    weights = np.where(similarity < NEAR_DUPLICATE, similarity, 0).astype(np.float64)
    sums = weights.sum(axis=1, keepdims=True)
    steps = np.divide(weights, sums, out=np.full_like(weights, 1 / n), where=sums > 0)
    rank = np.full(n, 1 / n)
    for _ in range(STEPS):
        # Not `@`: BLAS would wake its threads for every small step, and where the cores are busy that takes ms each.
        rank = (1 - DAMPING) / n + DAMPING * np.einsum("i,ij->j", rank, steps)
    return rank
