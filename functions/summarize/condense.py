"""Shortens an article to a budget of tokens: the sentences that say most of it, as they stand in it.

`count` is always the model's own tokenizer, which costs about 1 µs per character: a text is counted two or three times
over, never once per sentence.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.sentences import sentences

if TYPE_CHECKING:
    from functions.summarize.selection import Article
    from functions.summarize.weights import Weights

Count = Callable[[str], int]

LEAD_SHARE = 0.0
# How often a sentence is sought for what the count of the whole left over.
MOST_FILLINGS = 3

WORD, CHARACTER = r"\S+\s*", r"\S\s*"


@dataclass(frozen=True)
class Condensed:
    """What is left of a text: `text`, and where that stands in the whole, as spans of characters in their order."""

    text: str
    spans: list[tuple[int, int]]


def condense(
    text: str, budget: int, count: Count, lead_share: float = LEAD_SHARE, weights: "Weights | None" = None
) -> Condensed:
    """The sentences of `text` that say most of it, in their order, with at most `budget` tokens as `count` counts them.

    A text that fits comes back whole. The opening sentences are kept up to `lead_share` of the budget; the others are
    those that most likely have the words of a summary (`selection`), without near-duplicates and without the lines of
    a web page around the article, so that a repetitive text may leave some of the budget unused. Where the first
    sentence is over the budget, and cut after a word says more than the sentences that fit, it is cut (inside a word
    where there is no white space). `weights`: others than the ones in `weights.csv`.
    """
    # numpy is imported by the first article that has to be shortened, not with the service.
    from functions.summarize.selection import Article
    from functions.summarize.weights import shipped

    before = len(text) - len(text.lstrip())
    text = text.strip()
    tokens = count(text)
    if tokens <= budget:
        return Condensed(text, [(before, before + len(text))])
    article = Article(sentences(text), count, tokens / len(text), weights or shipped())
    picked = _chosen(article, budget, count, lead_share)
    condensed, first = article.joined(picked), article.first
    if not (condensed and (condensed.startswith(first) or count(first) <= budget)):
        cut = _cut(first, budget, count)
        if lead_share == 1 or article.value(cut) >= article.value(condensed):
            start = before + article.first_start
            return Condensed(cut, [(start, start + len(cut))])
    return Condensed(condensed, [(before + start, before + end) for start, end in article.spans(picked)])


def _chosen(article: "Article", budget: int, count: Count, lead_share: float) -> list[int]:
    """Whole sentences within the budget, or none where none fits."""
    picked = article.pick(budget, article.opening(lead_share * budget))
    condensed = article.joined(picked)
    # The whole is not the sum of its parts: first as many sentences go as it takes, then others fill what is left.
    while picked and (over := count(condensed) - budget) > 0:
        while picked and over > 0:
            over -= max(1, round(article.cost(picked.pop())))
        condensed = article.joined(picked)
    for _ in range(MOST_FILLINGS):
        left = budget - count(condensed)
        more = article.pick(round(sum(map(article.cost, picked))) + left, picked)
        longer = article.joined(more)
        if len(more) == len(picked) or count(longer) > budget:
            break
        picked, condensed = more, longer
    return picked


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
