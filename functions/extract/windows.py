"""The overlapping windows in which a model of bounded length looks at all words of a text."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

SENTENCE_ENDS = frozenset(".!?。！？…")


@dataclass(frozen=True, slots=True)
class Window:
    """Words [start, stop) of the text. Spans that begin in its core [core_start, core_stop) are its own to report.

    The cores of all windows part the text, and each lies as far from its window's edges as the overlap allows.
    """

    start: int
    stop: int
    core_start: int
    core_stop: int


class Tokenised(Protocol):
    """Words with their numbers of tokens, by index from 0; they may be read as they are asked for."""

    def has(self, index: int) -> bool:
        """Whether there is such a word."""

    def tokens(self, index: int) -> int: ...

    def text(self, index: int) -> str: ...


def iterate_windows(words: Tokenised, *, max_words: int, max_tokens: int, overlap: int) -> Iterator[Window]:
    """Windows of at most `max_words` words and `max_tokens` tokens that share about `overlap` words.

    A window ends at a sentence's end where one lies in its last quarter. Text that fits is one window, as in the
    `gliner` package. Of the words nothing before the start of the latest window is asked for again.
    """
    start = core_start = 0
    while True:
        stop = _reach(words, start, max_words, max_tokens)
        if not words.has(stop):
            yield Window(start, stop, core_start, stop)
            return
        stop = _sentence_end(words, start, stop)
        # Three quarters of each window are new, however few words it may hold.
        following = max(stop - overlap, start + (3 * (stop - start) + 3) // 4)
        core_stop = (stop + following) // 2
        yield Window(start, stop, core_start, core_stop)
        start, core_start = following, core_stop


def _reach(words: Tokenised, start: int, max_words: int, max_tokens: int) -> int:
    tokens = 0
    for index in range(start, start + max_words):
        if not words.has(index):
            return index
        tokens += words.tokens(index)
        if tokens > max_tokens and index > start:
            return index
    return start + max_words


def _sentence_end(words: Tokenised, start: int, stop: int) -> int:
    for index in range(stop, stop - (stop - start) // 4, -1):
        if words.text(index - 1) in SENTENCE_ENDS:
            return index
    return stop
