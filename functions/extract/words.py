"""Words of a text, as GLiNER's models are trained on, but for letters that are written as several characters."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

# A combining mark, and a format character that shows nothing, such as a soft hyphen: each stands for all of its kind.
MARK, FORMAT = "\u0300", "\u00ad"
ZERO_WIDTH_SPACE = "\u200b"
# They change the letters beside them, so the model is to see them.
JOINERS = "\u200c\u200d"
# GLiNER's own whitespace splitter has `\w+(?:[-_]\w+)*|\S`, whose `\w` is no mark: it ends a word within a decomposed
# letter. Here a mark belongs to the letter before it, and what shows nothing does not end a word, as in UAX #29.
_LETTERS = rf"\w(?:[\w{MARK}]|{FORMAT}++(?=[\w{MARK}]))*+"
WORD = re.compile(rf"{_LETTERS}(?:[-_]{_LETTERS})*|\S")
# Writing without spaces makes a "word" of a whole paragraph: it is looked at in pieces of this many characters.
MAX_WORD_CHARACTERS = 96


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    start: int
    end: int


class Splitter:
    """The words of a text, taken a few at a time: a long text has a hundred thousand."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words = self._split()

    def take(self, characters: int) -> list[Word]:
        """The next words, until they have so many characters together; none after the last."""
        words: list[Word] = []
        taken = 0
        for word in self._words:
            words.append(word)
            taken += word.end - word.start
            if taken >= characters:
                break
        return words

    def _split(self) -> Iterator[Word]:
        for match in WORD.finditer(_kinds(self._text)):
            start = match.start()
            while start < match.end():
                end = self._end(start, match.end())
                yield Word(self._text[start:end], start, end)
                start = end

    def _end(self, start: int, stop: int) -> int:
        """Where the piece of a word ends that begins at `start`: not between a letter and its mark, if it can."""
        end = start + MAX_WORD_CHARACTERS
        if end >= stop:
            return stop
        return next((at for at in range(end, start, -1) if not _is_mark(self._text[at])), end)


def seen(word: str) -> str:
    """What the model is shown for a word: its letters composed, without characters in it that show nothing."""
    if word.isascii():
        return word
    if len(word) > 1 and not word.isprintable():
        word = "".join(filter(lambda character: character in JOINERS or not _is_format(character), word)) or word
    composed = unicodedata.normalize("NFC", word)
    # Normalising also replaces letters by other ones, which is the tokenizer's business.
    return composed if len(composed) < len(word) else word


def _kinds(text: str) -> str:
    """`text` with one mark for all of them, and one format character."""
    if text.isascii():
        return text
    kinds = {ord(character): MARK for character in set(text) if _is_mark(character)}
    kinds |= {ord(character): FORMAT for character in set(text) if _is_format(character)}
    return text.translate(kinds) if kinds else text


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _is_format(character: str) -> bool:
    return unicodedata.category(character) == "Cf" and character != ZERO_WIDTH_SPACE
