"""What a word of an article and the sentences around it tell of its chance to be in a summary, as figures.

`weights.csv` has one line for each name here. No figure needs English: where a list of English words is asked and the
text is in another language, the figure is the same for all its words.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from common.sentences import CLOSING, STOPS, STOPS_WITHOUT_SPACE
from functions.summarize.terms import Terms

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORD_FEATURES = (
    "log of the times it stands in the article",
    "log of the sentences with it",
    "share of the sentences with it",
    "is in two sentences",
    "is in three sentences",
    "log of the sentences before it",
    "share of the article before it",
    "is in the first sentence",
    "is in the second sentence",
    "is in the third sentence",
    "log of the words before it in its sentence",
    "is in the title",
    "is in the title and the text",
    "has a capital inside sentences",
    "has a capital and is in two sentences",
    "opens sentences only",
    "share in capitals",
    "has a digit",
    "is a year",
    "is an amount of money",
    "letters, up to 12",
    "has at most 3 letters",
    "carries grammar",
    "share of the article up to its last sentence",
    "log of 1000 by the sentences of the article",
)
SENTENCE_FEATURES = (
    "log of the sentences before",
    "share of the article before",
    "is the first",
    "is the second",
    "is the third",
    "words, up to 40",
    "has under 6 words",
    "has quotation marks",
    "opens with a quotation",
    "opens with a pronoun or connective",
    "centrality (LexRank)",
    "opens a paragraph",
    "has a digit",
    "share of words with a digit",
    "share of words with a capital",
    "ends without a stop",
    "is a paragraph",
    "is a question",
)
# Each sentence feature counts twice: of the first sentence with the word, and the largest of all sentences with it.
NAMES = (
    *(f"word: {name}" for name in WORD_FEATURES),
    *(f"first sentence: {name}" for name in SENTENCE_FEATURES),
    *(f"any sentence: {name}" for name in SENTENCE_FEATURES),
)

_OPENERS = (
    "he she it they this that these those his her its their we i you but and however meanwhile still so then also there"
)
_CONNECTIVES = frozenset(_OPENERS.split())
_QUOTES = re.compile('["“”„«»「」『』]')
_YEAR = re.compile(r"(?:19|20)\d\d")
_ENDS_WITH_STOP = re.compile(rf"[{STOPS}{STOPS_WITHOUT_SPACE}][{re.escape(CLOSING)}“‘«]*\s*$")
# A character of a script without spaces, as a share of a word.
_WORD_OF_PAIRS = 0.5


def ends_with_stop(sentence: str) -> bool:
    # Only the end is looked at: a sentence may be as long as a book.
    return _ENDS_WITH_STOP.search(sentence[-12:]) is not None


def of_sentences(
    sentences: Sequence[str], paragraphs: "NDArray[np.intp]", terms: Terms, centrality: "NDArray[np.float64]"
) -> "NDArray[np.float64]":
    """A row for each sentence and a column for each of SENTENCE_FEATURES.

    `paragraphs`: which one each sentence is in. `centrality`: LexRank's, with a mean of 1.
    """
    n = len(sentences)
    index = np.arange(n)

    def total(marks: "NDArray[np.generic]") -> "NDArray[np.float64]":
        return np.asarray(np.bincount(terms.sentence, weights=marks, minlength=n), np.float64)

    size = total(np.where(terms.is_pair[terms.term], _WORD_OF_PAIRS, 1.0))
    words = np.maximum(size, 1)
    numbers = total(terms.is_number)
    opening = _opens(terms, n)
    quotes = [_QUOTES.search(sentence) for sentence in sentences]
    same = np.bincount(paragraphs, minlength=1)[paragraphs]
    return np.column_stack(
        [
            np.log1p(index),
            index / n,
            index == 0,
            index == 1,
            index == 2,
            np.minimum(size, 40) / 20,
            size < 6,
            [found is not None for found in quotes],
            [found is not None and found.start() == 0 for found in quotes],
            opening,
            np.minimum(centrality, 3),
            np.diff(paragraphs, prepend=-1) > 0,
            numbers > 0,
            numbers / words,
            total(terms.is_capital & (terms.place > 0)) / words,
            [not ends_with_stop(sentence) for sentence in sentences],
            same == 1,
            [sentence.endswith(("?", "？", "؟")) for sentence in sentences],
        ]
    ).astype(np.float64)


def of_words(terms: Terms, of_sentences: "NDArray[np.float64]", has_title: bool) -> "NDArray[np.float64]":
    """A row for each term and a column for each of NAMES; `has_title`: the first sentence is one."""
    n, count = max(1, terms.sentences), terms.number
    sentence, term = terms.pairs
    times = np.bincount(terms.term, minlength=count)
    with_it = terms.frequency
    # `pairs` is sorted by sentence: written in turn from behind, the first one stays.
    first = np.zeros(count, np.intp)
    first[term[::-1]] = sentence[::-1]
    last = np.zeros(count, np.intp)
    last[term] = sentence
    place = np.zeros(count, np.intp)
    place[terms.term[::-1]] = terms.place[::-1]

    def total(marks: "NDArray[np.generic]") -> "NDArray[np.float64]":
        return np.asarray(np.bincount(terms.term, weights=marks, minlength=count), np.float64)

    inside = total(terms.place > 0)
    capital = total(terms.is_capital & (terms.place > 0)) > 0.5 * np.maximum(inside, 1)
    repeated = with_it > 1
    in_title = (first == 0) & has_title
    years = np.array([_YEAR.fullmatch(name) is not None for name in terms.indexes], bool)
    of_word = [
        np.log(times),
        np.log(with_it),
        with_it / n,
        repeated,
        with_it > 2,
        np.log1p(first),
        first / n,
        first == 0,
        first == 1,
        first == 2,
        np.log1p(place),
        in_title,
        in_title & repeated,
        capital,
        capital & repeated,
        inside == 0,
        total(terms.is_upper) / times,
        total(terms.is_number) > 0,
        years,
        total(terms.is_money) > 0,
        # A pair of characters is a word of common length.
        np.where(terms.is_pair, 6, np.minimum(terms.lengths, 12)) / 6,
        (terms.lengths <= 3) & ~terms.is_pair,
        terms.of_grammar,
        last / n,
        np.full(count, np.log1p(1000 / n)),
    ]
    by_term = np.argsort(term, kind="stable")
    starts = np.searchsorted(term[by_term], np.arange(count))
    largest = np.maximum.reduceat(of_sentences[sentence[by_term]], starts, axis=0)
    return np.hstack([np.column_stack(of_word).astype(np.float64), of_sentences[first], largest])


def _opens(terms: Terms, sentences: int) -> "NDArray[np.bool_]":
    """Of each sentence whether its first word is a pronoun or connective."""
    connective = np.array([name in _CONNECTIVES for name in terms.indexes], bool)
    opening = np.zeros(sentences, bool)
    at = terms.place == 0
    opening[terms.sentence[at]] = connective[terms.term[at]]
    return opening
