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
    [
        *(
            "al",
            "am",
            "bin",
            "da",
            "das",
            "de",
            "del",
            "della",
            "den",
            "der",
            "des",
            "di",
            "do",
            "dos",
            "du",
            "el",
            "et",
        ),
        *("ibn", "la", "las", "le", "les", "los", "of", "sur", "ter", "ul", "van", "von", "y", "zu", "zum"),
    ]
)
_MOST_PARTICLES = 2
# A name of more words is looked at in windows of so many: a text all in capitals is no name.
_WINDOW = 6
_LONGEST_ACRONYM = 6
# Letters that Unicode does not take apart into a letter and a mark.
_PLAIN = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"})
# Kenya, Kenyan, Kenyans; Italy, Italian; China, Chinese; and Cyrillic cases.
_ENDING = re.compile(
    r"(?<=\w\w\w)(?:vians?|egians?|[ei]?ans?|ese|ish|ics?|is?|ia|ea|y|ey|ay|a|o|e|en|al|land|ain|ers?|s|es"
    r"|[аеёиоуыэюяйьмх]{1,3})$"
)
_RELATED = {
    **{"french": "france", "danish": "denmark", "dutch": "netherlands", "holland": "netherlands", "spanish": "spain"},
    **{"swiss": "switzerland", "irish": "ireland", "welsh": "wales", "greek": "greece", "polish": "poland"},
    **{"scottish": "scotland", "finnish": "finland", "british": "uk", "britain": "uk", "usa": "us"},
    **{"america": "us", "american": "us", "portuguese": "portugal"},
}


@dataclass(frozen=True)
class Name:
    """Capitalised words that belong together, written from `start` to `end`; `parts` are folded, without particles."""

    start: int
    end: int
    parts: tuple[str, ...]


@dataclass
class _Run:
    """Capitalised words one after another. `opens`: the first begins a sentence, which gives any word a capital.

    `after_of`: the numbers of the words behind an "of".
    """

    opens: bool
    places: list[tuple[int, int]] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    after_of: list[int] = field(default_factory=list)


@dataclass
class _Text:
    """The words of a text: all of them, those in small letters, and the runs of those with capitals."""

    words: set[str] = field(default_factory=set)
    small: set[str] = field(default_factory=set)
    # Capitalised inside of a sentence.
    proper: set[str] = field(default_factory=set)
    runs: list[_Run] = field(default_factory=list)
    # The run that may go on, and the particles since its last word.
    _run: _Run | None = None
    _particles: list[str] = field(default_factory=list)

    def end_run(self) -> None:
        self._run, self._particles = None, []

    def add_small(self, word: re.Match[str], gap: str) -> None:
        """Another word with what stands between it and the one before."""
        folded = _fold(word[0])
        self.words.add(folded)
        self.small.add(folded)
        goes_on = folded in _PARTICLES or (folded == "the" and self._particles)
        if goes_on and self._run and _JOINT.fullmatch(gap) and len(self._particles) < _MOST_PARTICLES:
            self._particles.append(folded)
        else:
            self.end_run()

    def add_capital(self, word: re.Match[str], gap: str, is_first: bool) -> None:
        folded, run = _fold(word[0]), self._run
        opens = is_first or _may_open(gap)
        if not opens:
            self.proper.add(folded)
        if run is None or opens or not _JOINT.fullmatch(gap):
            run = _Run(opens)
            self.runs.append(run)
        elif gap == "." and len(folded) == 1 and run.places[-1][1] - run.places[-1][0] < 2 * _LONGEST_ACRONYM:
            if len(run.parts[-1]) == 1 or "." in word.string[slice(*run.places[-1])]:
                # U.S. is US.
                folded, (start, _) = run.parts.pop() + folded, run.places.pop()
                run.places.append((start, word.end()))
        elif "of" in self._particles:
            run.after_of.append(len(run.parts))
        if len(run.places) == len(run.parts):
            run.places.append(word.span())
        run.parts.append(folded)
        self.words.add(folded)
        self._run, self._particles = run, []


class Article:
    """What an article has, to look up what others say of it. Takes time linear in the length of `text`."""

    def __init__(self, text: str) -> None:
        self._text = _read(text)
        self._forms = self._text.words | {_stem(word) for word in self._text.words}
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
        self._first |= {*stems[: 2 if run.opens else 1], *(stems[at] for at in run.after_of)}
        self._last |= {stems[-1], *(stems[at - 1] for at in run.after_of)}
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
        parts = [part for part in name.parts if part not in _PARTICLES]
        return all(map(self._has_word, name.parts)) and all(
            (_stem(one), _stem(other)) in self._pairs
            or not self._text.words.issuperset((one, other))
            or (self._is_free(one, self._last) and self._is_free(other, self._first))
            for one, other in pairwise(parts)
        )

    def _has_word(self, part: str) -> bool:
        """Also in another form, or as the initials of a name."""
        return not self._forms.isdisjoint((part, _stem(part))) or part in self._acronyms

    def _is_free(self, part: str, outermost: set[str]) -> bool:
        """Whether the article has the word in small letters or as one of the `outermost` of a name."""
        return part in self._text.small or _stem(part) in outermost

    def names(self, text: str) -> list[Name]:
        """The names in a `text` about the article, which decides whether a word that opens a sentence is one.

        There are none in scripts without capitals; in German all nouns are among them.
        """
        read = _read(text)
        proper = self._text.proper | read.proper
        # The letters of $3m, A320 and 34 Mio. are no names.
        of_numbers = {
            at
            for number in numerals(text)
            if any(map(str.isdigit, text[number.start : number.end]))
            for at in range(number.start, number.end)
        }
        found = []
        for run in read.runs:
            skips_first = run.opens and not (run.parts[0] in proper or _is_name_anywhere(text, *run.places[0]))
            kept = [
                (place, part)
                for place, part in list(zip(run.places, run.parts, strict=True))[skips_first:]
                if place[0] not in of_numbers
            ]
            if kept and (len(kept) > 1 or len(kept[0][1]) > 1):
                found.append(Name(kept[0][0][0], kept[-1][0][1], tuple(part for _, part in kept)))
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
        before = start
        for word in _WORD.finditer(text, start, start + len(sentence)):
            gap = text[before : word.start()]
            if gap in _APOSTROPHES and word[0] in "sS":
                read.end_run()
            elif word[0] == word[0].lower():
                read.add_small(word, gap)
            else:
                read.add_capital(word, gap, before == start)
            before = word.end()
        read.end_run()
        start += len(sentence)
    return read


def _may_open(gap: str) -> bool:
    """Whether a sentence may begin behind what stands between two words: a quotation, an item of a list."""
    return "\n" in gap or (len(gap) > 1 and gap.rstrip()[-1:] in _BEFORE_SENTENCES and gap.strip() != "")


def _is_name_anywhere(text: str, start: int, end: int) -> bool:
    """Whether a word that opens a sentence is no ordinary one: it is all in capitals, or owns what follows."""
    owns = text.startswith(("'s ", "’s "), end)
    return end > start + 1 and (text[start:end].isupper() or owns)


def _fold(word: str) -> str:
    if word.isascii():
        return word.lower()
    letters = unicodedata.normalize("NFKD", word.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).translate(_PLAIN)


def _stem(word: str) -> str:
    word = _RELATED.get(word, word)
    return _RELATED.get(stem := _ENDING.sub("", word), stem)
