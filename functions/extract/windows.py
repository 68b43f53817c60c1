"""Words of a text, and the overlapping windows in which a model of bounded length looks at all of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# The word pattern of GLiNER's own whitespace splitter: models are trained on words cut like this.
WORD = re.compile(r"\w+(?:[-_]\w+)*|\S")
# Writing without spaces makes a "word" of a whole paragraph: it is looked at in pieces of this many characters.
MAX_WORD_CHARACTERS = 96
SENTENCE_ENDS = frozenset(".!?。！？…")


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Window:
    """Words [start, stop) of the text. Spans that begin in its core [core_start, core_stop) are its own to report.

    The cores of all windows part the text, and each lies as far from its window's edges as the overlap allows.
    """

    start: int
    stop: int
    core_start: int
    core_stop: int


def split_words(text: str) -> list[Word]:
    words = []
    for match in WORD.finditer(text):
        for start in range(match.start(), match.end(), MAX_WORD_CHARACTERS):
            end = min(start + MAX_WORD_CHARACTERS, match.end())
            words.append(Word(text[start:end], start, end))
    return words


def split_windows(
    words: Sequence[Word], token_counts: Sequence[int], *, max_words: int, max_tokens: int, overlap: int
) -> list[Window]:
    """Windows of at most `max_words` words and `max_tokens` tokens that share about `overlap` words.

    `token_counts[i]` is the number of sub-word tokens of `words[i]`. A window ends at a sentence's end where one lies
    in its last quarter. Text that fits is one window, as in the `gliner` package.
    """
    bounds: list[tuple[int, int]] = []
    start = 0
    while True:
        stop = _reach(token_counts, start, max_words, max_tokens)
        if stop < len(words):
            stop = _sentence_end(words, start, stop)
        bounds.append((start, stop))
        if stop == len(words):
            break
        # Three quarters of each window are new, however few words it may hold.
        start = max(stop - overlap, start + (3 * (stop - start) + 3) // 4)
    cores = [0, *((left[1] + right[0]) // 2 for left, right in pairwise(bounds)), len(words)]
    return [Window(*bound, cores[index], cores[index + 1]) for index, bound in enumerate(bounds)]


def _reach(token_counts: Sequence[int], start: int, max_words: int, max_tokens: int) -> int:
    tokens = 0
    for index in range(start, min(start + max_words, len(token_counts))):
        tokens += token_counts[index]
        if tokens > max_tokens and index > start:
            return index
    return min(start + max_words, len(token_counts))


def _sentence_end(words: Sequence[Word], start: int, stop: int) -> int:
    for index in range(stop, stop - (stop - start) // 4, -1):
        if words[index - 1].text in SENTENCE_ENDS:
            return index
    return stop
