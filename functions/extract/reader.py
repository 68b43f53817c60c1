"""The windows of one text, made one at a time: a long text is never held in tokens as a whole."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from functions.extract.windows import Splitter, Window, iterate_windows

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from functions.extract.feeds import Text

# Words that are tokenised at a time: about a window, some milliseconds of work.
WORDS_AT_A_TIME = 256
# A word with more tokens is looked at in halves. Normalising can make eighteen characters of one.
MAX_WORD_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Prompt:
    """The tokens of the labels, which stand before every window, and those that close it."""

    before: Sequence[int]
    after: Sequence[int]

    @property
    def tokens(self) -> int:
        return len(self.before) + len(self.after)


@dataclass(frozen=True, slots=True)
class Piece:
    """One window of a text, ready for the model; `text` begins with the prompt of the labels."""

    window: Window
    words: Sequence[str]
    text: "Text"
    labels: Sequence[str]
    threshold: float


class Reader:
    """Reads one text. `starts` and `ends` are the offsets of the words so far, in code points."""

    def __init__(
        self,
        text: str,
        tokenizer: "Tokenizer",
        prompt: Prompt,
        labels: Sequence[str],
        threshold: float,
        *,
        max_words: int,
        max_tokens: int,
        overlap: int,
    ) -> None:
        """A window has `max_words` words and `max_tokens` tokens at most, the prompt's included."""
        self.starts, self.ends = array("I"), array("I")
        # The last window is out.
        self.finished = False
        self._splitter = Splitter(text)
        self._tokenizer = tokenizer
        self._prompt, self._labels, self._threshold = prompt, labels, threshold
        # Of the words from `_first` on: what later windows may still need.
        self._first = 0
        self._words: list[str] = []
        self._tokens: list[list[int]] = []
        self._all_read = False
        self._windows = iterate_windows(
            self, max_words=max_words, max_tokens=max_tokens - prompt.tokens, overlap=overlap
        )

    def take(self) -> Piece | None:
        """The next window; None after the last."""
        window = next(self._windows, None)
        if window is None:
            self.finished = True
            return None
        from functions.extract.feeds import Text

        self._forget_before(window.start)
        number = window.stop - window.start
        ids, first_tokens = [*self._prompt.before], [0] * len(self._prompt.before)
        for place, word_tokens in enumerate(self._tokens[:number], 1):
            ids += word_tokens
            # A word that leaves no token (a lone zero-width space) shifts the number of no other.
            first_tokens += [place, *[0] * (len(word_tokens) - 1)][: len(word_tokens)]
        text = Text([*ids, *self._prompt.after], [*first_tokens, *[0] * len(self._prompt.after)], number)
        self.finished = not self.has(window.stop)
        return Piece(window, self._words[:number], text, self._labels, self._threshold)

    def take_size(self) -> int | None:
        """The tokens of the next window, for who only wants to know them; None after the last."""
        window = next(self._windows, None)
        if window is None:
            return None
        self._forget_before(window.start)
        return self._prompt.tokens + sum(map(len, self._tokens[: window.stop - window.start]))

    def has(self, index: int) -> bool:
        while index >= self._first + len(self._words) and not self._all_read:
            self._read_more()
        return index < self._first + len(self._words)

    def tokens(self, index: int) -> int:
        return max(1, len(self._tokens[index - self._first]))

    def text(self, index: int) -> str:
        return self._words[index - self._first]

    def _read_more(self) -> None:
        words = self._splitter.take(WORDS_AT_A_TIME)
        self._all_read = not words
        spans = [(word.text, word.start) for word in words]
        for (text, start), ids in zip(spans, self._encoded([text for text, _ in spans]), strict=True):
            self._add(text, start, ids)

    def _add(self, text: str, start: int, ids: list[int]) -> None:
        if len(ids) > MAX_WORD_TOKENS and len(text) > 1:
            half = len(text) // 2
            for part, at in ((text[:half], start), (text[half:], start + half)):
                (part_ids,) = self._encoded([part])
                self._add(part, at, part_ids)
            return
        self.starts.append(start)
        self.ends.append(start + len(text))
        self._words.append(text)
        self._tokens.append(ids)

    def _encoded(self, words: list[str]) -> list[list[int]]:
        # A word of its own, as here, and a word among others have the same tokens: they are encoded one by one anyway.
        return [encoding.ids for encoding in self._tokenizer.encode_batch(words, add_special_tokens=False)]

    def _forget_before(self, index: int) -> None:
        del self._words[: index - self._first]
        del self._tokens[: index - self._first]
        self._first = index
