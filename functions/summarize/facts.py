"""What a summary says that its article does not have: numbers and names.

Nothing is known of the world and no model is asked: what is written is compared. A number is supported by its value
(`functions.summarize.numerals`), a name by its words as they stand together in the article. A false statement made of
the article's own numbers and names is not noticed.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from itertools import pairwise

from common.sentences import sentences
from functions.summarize.numerals import Numeral, Value, numerals

# With combining accents: a decomposed é is one letter.
_WORD = re.compile(r"[^\W\d_][^\W\d_\u0300-\u036f]*+(?:[\u0300-\u036f]++[^\W\d_]*+)*+")
# What may stand between two words of one name. Whether a stop ends the sentence is known before.
_JOINT = re.compile(r"[ \xa0]{1,2}|[-‐‑–'’.]|\. | & ")
_APOSTROPHES = ("'", "’")
# A capital behind these may be that of a sentence.
_BEFORE_SENTENCES = frozenset("\"“”„‘’'«»:•*|")
_PARTICLES = frozenset(
    "al am bin da das de del della den der des di do dos du el et ibn la las le les los of sur ter ul van von y zu zum".split()
)
_MOST_PARTICLES = 2
# A name of more words is looked at in windows of so many: a text all in capitals is no name.
_WINDOW = 6
_LONGEST_ACRONYM = 6
# Letters that Unicode does not take apart into a letter and a mark.
_PLAIN = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"})
# Kenya, Kenyan, Kenyans; Italy, Italian; China, Chinese; and Cyrillic cases.
_ENDING = re.compile(
    r"(?<=\w\w\w)(?:vians?|egians?|[ei]?ans?|ns?|eans?|inians?|ese|ish|tish|ics?|is?|ia|ea|y|ey|ay|way|a|o|e|en|al|guese|land"
    r"|ain|ers?|s|es|[аеёиоуыэюяйьмх]{1,3})$"
)
_RELATED = {
    **{"french": "france", "danish": "denmark", "dutch": "netherlands", "holland": "netherlands", "spanish": "spain"},
    **{"swiss": "switzerland", "irish": "ireland", "welsh": "wales", "greek": "greece", "polish": "poland"},
    **{"scottish": "scotland", "finnish": "finland", "british": "uk", "britain": "uk", "american": "us", "usa": "us"},
}


@dataclass(frozen=True)
class Name:
    """Capitalised words that belong together, written from `start` to `end`; `parts` are folded, without particles."""

    start: int
    end: int
    parts: tuple[str, ...]


@dataclass
class _Run:
    """A name while it is read; `opens`: its first word begins a sentence, which gives any word a capital."""

    words: list[re.Match[str]] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    opens: bool = False


@dataclass
class _Text:
    """The words of a text: all of them, those in small letters, and the runs of those with capitals."""

    words: set[str] = field(default_factory=set)
    small: set[str] = field(default_factory=set)
    # Capitalised inside of a sentence.
    proper: set[str] = field(default_factory=set)
    runs: list[_Run] = field(default_factory=list)


class Article:
    """What an article has, to look up what others say of it. Takes time linear in the length of `text`."""

    def __init__(self, text: str) -> None:
        self._text = _read(text)
        self._stems = {_stem(word) for word in self._text.words}
        self._pairs: set[tuple[str, str]] = set()
        self._first: set[str] = set()
        self._last: set[str] = set()
        self._acronyms: set[str] = set()
        for run in self._text.runs:
            self._add(run)
        self._values: set[Value] = set()
        self._neighbours: set[tuple[Value, Value]] = set()
        self._add_numbers(numerals(text))

    def _add(self, run: _Run) -> None:
        stems = [_stem(part) for part in run.parts]
        self._first |= set(stems[: 2 if run.opens else 1])
        self._last.add(stems[-1])
        for at, stem in enumerate(stems):
            self._pairs |= {(stem, other) for other in stems[at + 1 : at + _WINDOW]}
        initials = "".join(part[:1] for part in run.parts)
        for length in range(2, _LONGEST_ACRONYM + 1):
            self._acronyms |= {initials[at : at + length] for at in range(len(initials) - length + 1)}

    def _add_numbers(self, found: list[Numeral]) -> None:
        parts = [part for numeral in found for part in numeral.parts]
        self._values = {value for part in parts for value in part}
        self._neighbours = {(one, other) for before, after in pairwise(parts) for one in before for other in after}

    def has_number(self, number: Numeral) -> bool:
        """Whether it has the value; of a score or a range both halves, one after the other."""
        if any(not part & self._values for part in number.parts):
            return False
        return all(
            any((one, other) in self._neighbours for one in before for other in after)
            for before, after in pairwise(number.parts)
        )

    def has_name(self, name: Name) -> bool:
        """Whether it has every word, and the words together: a first name of one person with another's surname is none.

        Two words that the article does not have side by side may still belong together if it has both by themselves
        ("French President", where a president of France is named).
        """
        if not all(self._has_word(part) for part in name.parts):
            return False
        return all(
            (_stem(one), _stem(other)) in self._pairs or (self._ends(one) and self._begins(other))
            for one, other in pairwise(name.parts)
        )

    def _has_word(self, part: str) -> bool:
        """Also in another form, or as the initials of a name."""
        return not self._stems.isdisjoint((part, _stem(part))) or part in self._acronyms

    def _begins(self, part: str) -> bool:
        return part in self._text.small or _stem(part) in self._first or part not in self._text.words

    def _ends(self, part: str) -> bool:
        return part in self._text.small or _stem(part) in self._last or part not in self._text.words

    def names(self, text: str) -> list[Name]:
        """The names in a `text` about the article. Of a word that opens a sentence the article decides whether it is one.

        There are none in scripts without capitals; in German all nouns are among them.
        """
        read = _read(text)
        found = []
        for run in read.runs:
            words, parts = run.words, run.parts
            if run.opens and not (parts[0] in self._text.proper or parts[0] in read.proper or _is_acronym(words[0][0])):
                words, parts = words[1:], parts[1:]
            if parts and not (len(parts) == 1 and len(parts[0]) < 2):
                found.append(Name(words[0].start(), words[-1].end(), tuple(parts)))
        return found


def numbers(text: str) -> list[Numeral]:
    """The numbers of `text` that can be judged: without "one" and "first"."""
    return [number for number in numerals(text) if not number.loose]


def unsupported(summary: str, article: str) -> list[str]:
    """Numbers and names of `summary` that `article` does not have, as they are written there, each form once, in order.

    Numbers are compared by value, names without regard to case, accents and possessive endings; a nationality is
    supported by its country. Takes time linear in the length of both.
    """
    source = Article(article)
    missing: list[Name | Numeral] = [number for number in numbers(summary) if not source.has_number(number)]
    missing += [name for name in source.names(summary) if not source.has_name(name)]
    return list(dict.fromkeys(summary[fact.start : fact.end] for fact in sorted(missing, key=lambda fact: fact.start)))


def _read(text: str) -> _Text:
    read, start = _Text(), 0
    for sentence in sentences(text):
        _read_sentence(read, text, start, start + len(sentence))
        start += len(sentence)
    return read


def _read_sentence(read: _Text, text: str, start: int, stop: int) -> None:
    run, particles, end = _Run(), 0, start
    for word in _WORD.finditer(text, start, stop):
        gap, written, folded = text[end : word.start()], word[0], _fold(word[0])
        first, end = end == start, word.end()
        if gap in _APOSTROPHES and folded == "s" and not first:
            run, particles = _Run(), 0
            continue
        read.words.add(folded)
        joins = bool(run.words) and _JOINT.fullmatch(gap) is not None
        if written == written.lower():
            read.small.add(folded)
            is_particle = folded in _PARTICLES or (folded == "the" and particles > 0)
            particles = particles + 1 if joins and is_particle else _MOST_PARTICLES + 1
            if particles > _MOST_PARTICLES:
                run, particles = _Run(), 0
            continue
        particles = 0
        opens = first or _may_open(gap)
        if not opens:
            read.proper.add(folded)
        if not joins or opens:
            run = _Run(opens=opens)
            read.runs.append(run)
        elif gap == "." and len(written) == len(run.words[-1][0]) == 1:
            # U.S. is US.
            run.parts[-1] += folded
            run.words.append(word)
            read.words.add(run.parts[-1])
            continue
        run.words.append(word)
        run.parts.append(folded)


def _may_open(gap: str) -> bool:
    """Whether a sentence may begin behind what stands between two words: a quotation, an item of a list."""
    return "\n" in gap or (len(gap) > 1 and gap.rstrip()[-1:] in _BEFORE_SENTENCES and gap.strip() != "")


def _is_acronym(written: str) -> bool:
    return len(written) > 1 and written.isupper()


def _fold(word: str) -> str:
    if word.isascii():
        return word.lower()
    letters = unicodedata.normalize("NFKD", word.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).translate(_PLAIN)


def _stem(word: str) -> str:
    word = _RELATED.get(word, word)
    return _RELATED.get(stem := _ENDING.sub("", word), stem)
