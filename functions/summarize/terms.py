"""The words of an article as arrays: which stands where, and how it is written."""

import re
from collections.abc import Sequence
from functools import cached_property
from string import punctuation
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Scripts that put no spaces between words: Thai and Lao, Burmese, Khmer, kana, Han.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
PUNCTUATION = punctuation + "“”‘’„‚«»‹›…–—•·¿¡、，；：？！。．「」『』（）【】《》〈〉。।॥؟،؛۔"
CURRENCIES = "$€£¥₹₺₩₦₽"

# English words that carry grammar, and those that every report uses: what a text is about is said by the others.
_FUNCTION_WORDS = """
    a an the and or but nor so yet if then than that this these those there here of in on at by for from to with
    without within into onto over under after before during since until between among against about above below
    through across per as is are was were be been being am has have had having do does did done doing will would
    shall should can could may might must not no i you he she it we they me him her us them my your his its our
    their mine yours who whom whose which what when where why how all any both each few more most other some
    such only own same too very just also said says say told up down out off again further once because while
    although though
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
# A text with a smaller share of them is not in English.
ENGLISH_SHARE = 0.2
# In other languages a word counts as one of grammar that is as short or that stands in as many of the sentences.
SHORT_LETTERS, COMMON_SHARE = 3, 0.3
# Words of one sentence that are looked at; only a list without stops has more.
MOST_WORDS = 2000

_TOKEN = re.compile(rf"(?P<unspaced>[{UNSPACED}]+)|[^\s{UNSPACED}]+")


def forms(sentence: str) -> list[str]:
    """The words as they are written; pairs of characters in scripts without spaces."""
    written: list[str] = []
    for found in _TOKEN.finditer(sentence):
        if run := found["unspaced"]:
            written += [run[i : i + 2] for i in range(max(1, len(run) - 1))]
        else:
            written.append(found[0])
        if len(written) >= MOST_WORDS:
            break
    return written


def term(form: str) -> str:
    """A word in lower case without the punctuation around it and without 's, or "" if nothing is left."""
    return form.strip(PUNCTUATION).lower().removesuffix("'s").removesuffix("’s")


class Terms:
    """The distinct terms of some sentences; sentences and terms are named by their index.

    `sentence`, `term`, `place`: of every word its sentence, its term and how many words stand before it.
    """

    def __init__(self, written: Sequence[Sequence[str]], terms: Sequence[Sequence[str]]) -> None:
        self.sentences = len(written)
        self.indexes: dict[str, int] = {}
        self.is_function_word: NDArray[np.bool_]
        sentence, ids, place = [], [], []
        writing: dict[str, tuple[bool, bool, bool, bool]] = {}
        marks = []
        for i, (line, line_terms) in enumerate(zip(written, terms, strict=True)):
            for k, (form, name) in enumerate(zip(line, line_terms, strict=True)):
                if name:
                    sentence.append(i)
                    place.append(k)
                    ids.append(self.indexes.setdefault(name, len(self.indexes)))
                    if form not in writing:
                        writing[form] = _writing(form)
                    marks.append(writing[form])
        self.sentence, self.term = np.array(sentence, np.intp), np.array(ids, np.intp)
        self.place = np.array(place, np.intp)
        self.is_capital, self.is_upper, self.is_number, self.is_money = np.array(marks, bool).reshape(-1, 4).T
        self.number = len(self.indexes)

    @cached_property
    def pairs(self) -> "tuple[NDArray[np.intp], NDArray[np.intp]]":
        """Every (sentence, term) once, by sentence."""
        keys = np.unique(self.sentence * max(1, self.number) + self.term)
        return keys // max(1, self.number), keys % max(1, self.number)

    @cached_property
    def frequency(self) -> "NDArray[np.intp]":
        """Of each term the number of sentences with it."""
        return np.bincount(self.pairs[1], minlength=self.number)

    @cached_property
    def lengths(self) -> "NDArray[np.intp]":
        """Of each term its characters."""
        return np.array([len(name) for name in self.indexes], np.intp)

    @cached_property
    def is_pair(self) -> "NDArray[np.bool_]":
        """Of each term whether it is of a script without spaces."""
        return np.array([_is_unspaced(name) for name in self.indexes], bool)

    @cached_property
    def is_english(self) -> bool:
        return bool(self.of_grammar_in_english[self.term].mean() >= ENGLISH_SHARE) if len(self.term) else False

    @cached_property
    def of_grammar_in_english(self) -> "NDArray[np.bool_]":
        return np.array([name in FUNCTION_WORDS for name in self.indexes], bool)

    @cached_property
    def of_grammar(self) -> "NDArray[np.bool_]":
        """Of each term whether it carries grammar: by a list in English, by its length and frequency elsewhere."""
        if self.is_english:
            return self.of_grammar_in_english
        common = (self.frequency >= COMMON_SHARE * self.sentences) & (self.frequency > 2)
        numbers = np.zeros(self.number, bool)
        numbers[self.term] |= self.is_number | self.is_capital & (self.place > 0)
        return ((self.lengths <= SHORT_LETTERS) & ~self.is_pair | common) & ~numbers


def _is_unspaced(name: str) -> bool:
    found = _TOKEN.match(name)
    return found is not None and found["unspaced"] is not None


def _writing(form: str) -> tuple[bool, bool, bool, bool]:
    """Whether a word opens with a capital, is all capitals, has a digit, has a digit and a currency."""
    bare = form.strip(PUNCTUATION)
    number = any(character.isdigit() for character in bare)
    return bare[:1].isupper(), len(bare) > 1 and bare.isupper(), number, number and any(c in CURRENCIES for c in form)
