"""The windows of one text, made one at a time: a long text is never held in tokens as a whole."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from functions.extract.windows import Window, iterate_windows
from functions.extract.words import Splitter, seen

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from functions.extract.feeds import Text

# What is tokenised at a time: some milliseconds of work, whatever the text holds. Normalising can make eighteen
# characters of one, so the first step is short, and each further one as long as the last one tells.
CHARACTERS_AT_FIRST = 128
CHARACTERS_AT_A_TIME = 2048
TOKENS_AT_A_TIME = 1024
# A word with more tokens, or with more than this share of a window, is looked at in parts.
MAX_WORD_TOKENS, MAX_WORD_SHARE = 128, 0.25


@dataclass(frozen=True, slots=True)
class Prompt:
    """The tokens of the labels, which stand before every window, and those that close it."""

    before: Sequence[int]
    after: Sequence[int]

    @property
    def tokens(self) -> int:
        return len(self.before) + len(self.after)


@dataclass(frozen=True, slots=True)
class EncodedWindow:
    """One window of a text, ready for the model; `row` begins with the prompt of the labels."""

    window: Window
    words: Sequence[str]
    row: "Text"
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
        self._max_word_tokens = max(1, min(MAX_WORD_TOKENS, int(MAX_WORD_SHARE * max_tokens)))
        # Of the words from `_first` on: what later windows may still need.
        self._first = 0
        self._words: list[str] = []
        self._tokens: list[list[int]] = []
        self._all_read = False
        self._next_characters = CHARACTERS_AT_FIRST
        self._windows = iterate_windows(
            self, max_words=max_words, max_tokens=max_tokens - prompt.tokens, overlap=overlap
        )

    def take(self) -> EncodedWindow | None:
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
        row = Text([*ids, *self._prompt.after], [*first_tokens, *[0] * len(self._prompt.after)], number)
        self.finished = not self.has(window.stop)
        return EncodedWindow(window, self._words[:number], row, self._labels, self._threshold)

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
        words = self._splitter.take(self._next_characters)
        self._all_read = not words
        tokens = self._add([(word.text, word.start) for word in words])
        characters = self._next_characters * TOKENS_AT_A_TIME // max(1, tokens)
        self._next_characters = max(1, min(characters, CHARACTERS_AT_A_TIME))

    def _add(self, words: Sequence[tuple[str, int]]) -> int:
        """Add words, given with where they start; returns how many tokens they have."""
        total = 0
        for (text, start), ids in zip(words, self._encoded([text for text, _ in words]), strict=True):
            total += len(ids)
            if len(ids) > self._max_word_tokens and len(text) > 1:
                size = max(1, len(text) * self._max_word_tokens // len(ids))
                self._add([(text[at : at + size], start + at) for at in range(0, len(text), size)])
                continue
            self.starts.append(start)
            self.ends.append(start + len(text))
            self._words.append(text)
            # One character can be a whole phrase once it is normalised.
            self._tokens.append(ids[: self._max_word_tokens])
        return total

    def _encoded(self, words: list[str]) -> list[list[int]]:
        # A word of its own, as here, and a word among others have the same tokens: they are encoded one by one anyway.
        encodings = self._tokenizer.encode_batch(list(map(seen, words)), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _forget_before(self, index: int) -> None:
        del self._words[: index - self._first]
        del self._tokens[: index - self._first]
        self._first = index
