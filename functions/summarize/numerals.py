"""The numbers of a text by their values: 3.4 billion is 3.4bn, 1,200 is 1200, twelve is 12, and ٣ is 3."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Digits without zeros at either end, and the power of ten that they are times: no length of a number costs more than
# it has digits.
Value = tuple[str, int]

# Spaces, apostrophes and points that group thousands, and both decimal points. A plain space only groups up to five
# times: with no bound, a text of nothing else would be read again and again.
_SPACE = "[ \xa0\u2009\u202f]"
_TOKEN = re.compile(
    rf"(?P<number>\d{{1,3}}(?:{_SPACE}\d{{3}}){{1,5}}+(?:[.,٫]\d++)?+(?!\d)|\d++(?:[.,٫٬'’]\d++)*+)|(?P<word>[^\W\d_]++)"
)
_SEPARATOR = re.compile(r"[^\d]")
_PERCENT = re.compile(rf"{_SPACE}?(?:[%٪％]|per ?cent\b)")
# Between the two halves of a range, a score, a clock time or a date.
_JOINTS = frozenset("-–—/:×")
_MOST_PARTS = 8
# What stands in front of a number as its currency.
_LONGEST_CURRENCY = 3
# So many words make one number at most.
_MOST_WORDS = 12

_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_ONES += " seventeen eighteen nineteen"
_ORDINALS = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth"
_ORDINALS += " fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = {word: value for words in (_ONES, _ORDINALS) for value, word in enumerate(words.split())}
_WORDS |= {word: 10 * ten for ten, word in enumerate(_TENS.split(), 2)}
_WORDS |= {word.removesuffix("y") + "ieth": 10 * ten for ten, word in enumerate(_TENS.split(), 2)}
_WORDS |= {"dozen": 12}
_HUNDREDS = frozenset({"hundred", "hundredth"})
# After "a" or "an", which by themselves are no numbers.
_COUNTED = _HUNDREDS | {"dozen", "thousand", "million", "billion", "trillion"}
_SCALES = {
    **dict.fromkeys(("thousand", "thousandth", "tausend", "mille", "mil", "mila", "tys", "тыс", "тысяч"), 3),
    **dict.fromkeys(("lakh", "lakhs", "लाख"), 5),
    **dict.fromkeys(("crore", "crores", "करोड़"), 7),
    **dict.fromkeys(("million", "millions", "millionth", "mn", "mln", "mio", "millionen", "millón", "millones"), 6),
    **dict.fromkeys(("milione", "milioni", "milhão", "milhões", "miljoen", "milionów", "млн", "миллионов", "مليون"), 6),
    **dict.fromkeys(("billion", "billions", "bn", "bln", "mrd", "milliarde", "milliarden", "milliard", "milliards"), 9),
    **dict.fromkeys(("miliardo", "miliardi", "bilhão", "bilhões", "miljard", "mld", "млрд", "миллиардов", "مليار"), 9),
    **dict.fromkeys(("trillion", "trillions", "tn", "trn", "billionen"), 12),
}
# A unit or a scale: 30m is thirty metres or thirty million.
_MAYBE_SCALES = {"k": 3, "m": 6, "b": 9, "t": 12}
_EAST_ASIAN_SCALES = {"千": 3, "万": 4, "萬": 4, "亿": 8, "億": 8, "만": 4, "억": 8, "兆": 12, "조": 12}
# From two to twelve: an article may have them in words where its summary has figures.
_OTHER_LANGUAGES = [
    *(
        "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
        "deux trois quatre cinq six sept huit neuf dix onze",
    ),
    *("dos tres cuatro cinco seis siete ocho nueve diez once doce", "due tre quattro cinque sei sette otto nove dieci"),
    *("dois três quatro cinco seis sete oito nove dez onze doze", "twee drie vier vijf zes zeven acht negen tien elf"),
    *("två tre fyra fem sex sju åtta nio tio elva tolv", "два три четыре пять шесть семь восемь девять десять"),
]
_FOREIGN = {word: value for words in _OTHER_LANGUAGES for value, word in enumerate(words.split(), 2)}

_CERTAIN = {*_WORDS, "a", "an"}
# What a number in words may begin with.
_STARTS = _CERTAIN | _FOREIGN.keys()


@dataclass(frozen=True)
class Numeral:
    """A number as it is written from `start` to `end`; a score, a range or a clock time is one of several parts.

    Each part has every value that it may be read as: 1.200 is 1200 as well as 1.2. `loose`: a word that is often
    no number ("one of them", "at first"), or one of another language.
    """

    start: int
    end: int
    parts: tuple[frozenset[Value], ...]
    loose: bool = False


def numerals(text: str) -> list[Numeral]:
    """The numbers of `text` in their order. Takes time linear in its length."""
    found: list[Numeral] = []
    joint = -1
    for numeral in _read(text, list(_TOKEN.finditer(text))):
        # Only digits are joined: twenty-three is one number by itself.
        if found and joint == numeral.start - 1 and _joins(text, joint, numeral) and len(found[-1].parts) < _MOST_PARTS:
            first = found.pop()
            numeral = Numeral(first.start, numeral.end, (*first.parts, *numeral.parts))
        elif not numeral.loose:
            numeral = _with_currency(text, numeral)
        found.append(numeral)
        joint = numeral.end if text[numeral.end - 1].isdigit() else -1
    return found


def _joins(text: str, joint: int, numeral: Numeral) -> bool:
    return text[joint] in _JOINTS and text[numeral.start].isdigit()


def _read(text: str, tokens: Sequence[re.Match[str]]) -> Iterator[Numeral]:
    at = 0
    while at < len(tokens):
        if tokens[at]["number"]:
            values, end = _scaled(text, tokens, at)
        elif tokens[at][0].lower() not in _STARTS:
            values, end = None, at + 1
        else:
            number, end = _spelled(text, tokens, at)
            values = None if number is None else {number}
        if values is None:
            at = end
            continue
        first = tokens[at]
        stop = tokens[end - 1].end()
        if percent := _PERCENT.match(text, stop):
            stop = percent.end()
        loose = first["number"] is None and (values <= {("1", 0), ("", 0)} or first[0].lower() not in _CERTAIN)
        yield Numeral(first.start(), stop, (frozenset(values),), loose)
        at = end


def _scaled(text: str, tokens: Sequence[re.Match[str]], at: int) -> tuple[set[Value], int]:
    """The values of the digits at a token with the words of scale behind them, and the token after these."""
    values, end = _values(tokens[at][0]), at + 1
    while end < at + _MOST_WORDS and (word := _word(tokens, end)) and _close(text, tokens, end):
        scale = 2 if word in _HUNDREDS else _SCALES.get(word, _EAST_ASIAN_SCALES.get(word[0], 0))
        if scale:
            values = {(digits, power + scale) for digits, power in values}
        elif maybe := _MAYBE_SCALES.get(word):
            # £30m are no metres.
            plain = set() if unicodedata.category(text[tokens[at].start() - 1]) == "Sc" else values
            values = plain | {(digits, power + maybe) for digits, power in values}
        elif tokens[end].start() != tokens[end - 1].end():
            break
        end += 1
        if not scale:
            # What is attached is a unit or the ending of an ordinal.
            break
    return values, end


def _values(written: str) -> set[Value]:
    """What digits with separators may mean; of a date or a version that is nothing but itself."""
    plain = written if written.isascii() else "".join(_ascii(letter) for letter in written)
    groups, separators = _SEPARATOR.split(plain), _SEPARATOR.findall(plain)
    if not separators:
        return {_value(plain)}
    values = set()
    *leading, last = groups
    are_alike = len(set(separators[:-1])) <= 1
    if are_alike and separators[-1] in ".,٫" and (len(separators) == 1 or separators[-1] not in separators[:-1]):
        values.add(_value("".join(leading), last))
    if len(set(separators)) == 1 and len(last) == 3 and all(1 < len(group) < 4 for group in leading[1:]):
        values.add(_value("".join(groups)))
    return values or {(plain, 0)}


def _ascii(letter: str) -> str:
    return str(unicodedata.decimal(letter)) if letter.isdecimal() else letter


def _value(whole: str, fraction: str = "") -> Value:
    digits = (whole + fraction).lstrip("0")
    short = digits.rstrip("0")
    return short, len(digits) - len(short) - len(fraction) if short else 0


def _spelled(text: str, tokens: Sequence[re.Match[str]], at: int) -> tuple[Value | None, int]:
    """The value of the words from a token on, None if they are no number, and the token after them."""
    word, end = _word(tokens, at), at + 1
    if word in _FOREIGN and word not in _WORDS:
        return _value(str(_FOREIGN[word])), end
    if word in ("a", "an") and _word(tokens, end) not in _COUNTED:
        return None, end
    total, current, smallest = 0, _WORDS.get(word, 1), 13
    while end < at + _MOST_WORDS and (word := _word(tokens, end)) and _close(text, tokens, end):
        after = end + 1
        if word == "and" and not current % 100 and (word := _word(tokens, after)) in _WORDS:
            after += 1
        if word in _HUNDREDS and 0 < current < 100:
            current *= 100
        elif word == "dozen" and 0 < current < 100:
            current *= 12
        elif (scale := _SCALES.get(word, 0)) and current and scale < smallest:
            total, current, smallest = total + current * 10**scale, 0, scale
        elif word in _WORDS and _follows(_WORDS[word], current, total):
            current += _WORDS[word]
        else:
            break
        end = after
    return _value(str(total + current)), end


def _word(tokens: Sequence[re.Match[str]], at: int) -> str:
    """The word of a token in small letters, or nothing."""
    return (tokens[at]["word"] or "").lower() if at < len(tokens) else ""


def _follows(value: int, current: int, total: int) -> bool:
    """Whether a word of `value` may follow those that make `current`: three after twenty, anything after a hundred."""
    if current == 0:
        return total > 0 and value > 0
    return 0 < value < 100 and (current % 100 == 0 or (value < 10 and current % 10 == 0 and current % 100 >= 20))


def _close(text: str, tokens: Sequence[re.Match[str]], at: int) -> bool:
    """Whether the token stands with nothing but a space or a hyphen behind the one before."""
    gap = text[tokens[at - 1].end() : tokens[at].start()]
    return gap in ("", " ", "-", "\xa0", "\u2009", "\u202f", "\u2011")


def _with_currency(text: str, numeral: Numeral) -> Numeral:
    """With the currency that is written right in front of it, or the letters of A320."""
    start = numeral.start
    while start and (unicodedata.category(text[start - 1]) == "Sc" or _is_prefix(text, start, numeral.start)):
        start -= 1
        if numeral.start - start > _LONGEST_CURRENCY + 1:
            return numeral
    return Numeral(start, numeral.end, numeral.parts)


def _is_prefix(text: str, at: int, number: int) -> bool:
    return text[at - 1].isalpha() and text[number].isdigit()
