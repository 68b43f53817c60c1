"""Splits a text into sentences by rules, in time linear in its length.

A stop ends a sentence when white space follows and then anything but a lower-case letter; East Asian, Indic and
Ethiopic stops need no white space. After an abbreviation, an initial or the number of a list the sentence goes on. In
doubt it goes on: two sentences in one piece do less harm than half a sentence.
"""

import re
from collections.abc import Iterator

STOPS = ".!?…‼⁇⁈⁉‽؟۔։៕។"
STOPS_WITHOUT_SPACE = "。！？｡．।॥፧።။"
CLOSING = "'\"”’»›)]}」』）】》〉］｝*_"
OPENING = "'\"“‘„‚«‹([{「『（【《¿¡*_–—•-"
# A line of a hard-wrapped text is shorter than this.
WRAPPED_LINE = 120
# How far is looked back for the word in front of a stop. Longer words are no abbreviations.
LONGEST_WORD = 24

# Some languages close with what others open with, French puts a space before it, footnotes come as [1]. The repeats are
# possessive, so that nothing is tried twice.
_BREAK = re.compile(
    rf"(?P<stop>[{STOPS}{STOPS_WITHOUT_SPACE}]++)"
    rf"(?P<close>(?:[{re.escape(CLOSING)}]|[“‘«‹](?!\S)|[ \xa0\u202f][»›](?!\S)|\[\d{{1,3}}\])*+)(?P<space>\s*+)"
    r"|(?P<line>[\n\u2029]\s*+)"
)
_OPENING = re.compile(rf"[{re.escape(OPENING)}\s]{{0,8}}")
_LIST_ITEM = re.compile(r"(?:[-*•‣▪●·]|\d{1,2}[.)]|[a-z][.)])[ \t]")
_NUMBER = re.compile(r"\d+(?:\.\d+)*")
# U.S, a.m, e.g, Ph.D: the last stop is the one that is judged.
_DOTTED = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,2}")
_AFTER_ORDINAL = re.compile(
    r"(?:Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember|Jahrhundert)\b"
)
# Words that open a sentence and are seldom part of a name: "the U.S. The" is two sentences, "the U.S. Army" one.
_TYPICAL_OPENER = re.compile(
    r"(?:A|An|And|After|Although|Another|As|At|Because|Before|But|By|During|For|From|He|Her|Here|His|How|However|I|If|In"
    r"|Instead|It|Its|Last|Many|Meanwhile|My|No|Now|On|Our|She|Since|So|That|The|Their|Then|There|These|They|This"
    r"|Those|Though|Under|Until|We|What|When|Where|While|Who|Why|With|Yet|You|Your)(?=[\s,]|['’][a-z])"
)

_TITLES = re.compile(
    r"Adm|Brig|Capt|Cmdr|Col|Det|Dr|Dra|Drs|Fr|Gen|Gov|Hon|Hr|Insp|Lt|Maj|Messrs|Mlle|Mme|Mr|Mrs|Ms|Mt|Mx|Pres"
    r"|Prof|Rep|Reps|Rev|Sen|Sens|Sgt|Sig|Sra|Srta|Supt|mr|mrs|ms|dr|prof|e\.g|i\.e|z\.B|d\.h|डॉ"
)
_BEFORE_A_NUMBER = re.compile(r"No|Nos|no|nos|Nr|Art|art|Ch|ch|Fig|Figs|fig|figs|Sec|sec|Vol|vol|p|pp|Abs|Op|op")
_MAY_END = re.compile(
    r"Inc|Ltd|ltd|Corp|Co|Cos|Bros|Plc|Pty|St|Ste|Ave|Blvd|Rd|Sq|Bldg|Dept|Univ|Assn|Jr|Sr|Esq|etc|vs|v|cf|al"
    r"|approx|ca|est|ft|lb|lbs|oz|hr|hrs|ext|tel|ed|eds|bzw|usw|Mio|Mrd|Str|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept"
    r"|Oct|Nov|Dec|Mon|Tue|Tues|Wed|Thu|Thur|Thurs|Fri|Sat|Sun|Ala|Ariz|Ark|Calif|Colo|Conn|Del|Fla|Ga|Ill|Ind|Kan"
    r"|Ky|La|Mass|Md|Mich|Minn|Miss|Mo|Mont|Neb|Nev|Okla|Ont|Ore|Pa|Que|Tenn|Tex|Va|Vt|Wash|Wis|Wyo"
)


def sentences(text: str) -> list[str]:
    """The sentences of `text`, each with the white space behind it: joined, they are the text.

    A blank line ends a sentence, with a stop or without (a headline), and so does an item of a list. A single new line
    does so only in a text with a paragraph per line, not in a hard-wrapped one.
    """
    pieces, start = [], 0
    for end, _ in _ends(text):
        pieces.append(text[start:end])
        start = end
    return pieces


def finished(text: str) -> str:
    """The longest opening of `text` that ends with a finished sentence, without white space behind it, or "".

    The stop of an abbreviation, an initial or a short number ("3." may become "3.5") finishes nothing at the end.
    """
    return text[: max((end for end, is_finished in _ends(text) if is_finished), default=0)].rstrip()


def _ends(text: str) -> Iterator[tuple[int, bool]]:
    """Where the pieces end, and whether a stop finished them; the last is the end of the text."""
    any_capital = not text.islower()
    line_is_paragraph = _has_long_lines(text)
    start, end = len(text) - len(text.lstrip()), 0
    for found in _BREAK.finditer(text, start):
        by_stop = found["stop"] is not None and _stop_ends(text, start, found, any_capital)
        if by_stop or found.end() == len(text) or _line_ends(text, found, line_is_paragraph):
            start = end = found.end()
            yield end, by_stop
    if end < len(text):
        yield len(text), False


def _has_long_lines(text: str) -> bool:
    lengths = [len(line) for line in text.split("\n")]
    return 2 * sum(length for length in lengths if length > WRAPPED_LINE) > len(text)


def _line_ends(text: str, found: re.Match[str], line_is_paragraph: bool) -> bool:
    space = found["line"] or found["space"] or ""
    new_lines = space.count("\n") + 2 * space.count("\u2029")
    if new_lines == 1:
        return line_is_paragraph or _LIST_ITEM.match(text, found.end()) is not None
    return new_lines > 1


def _stop_ends(text: str, start: int, found: re.Match[str], any_capital: bool) -> bool:
    """Whether a sentence that began at `start` ends with the stop that was `found`."""
    stop, following = found["stop"], text[found.end() : found.end() + 1]
    # More stops: ". . ." is one ellipsis.
    if following and following in STOPS + STOPS_WITHOUT_SPACE + ")]}":
        return False
    if stop[-1] in STOPS_WITHOUT_SPACE:
        # Japanese goes on after a quotation with と or って; a fullwidth stop is also a decimal point.
        goes_on = "とっ" if found["close"] else "0123456789０１２３４５６７８９" if stop == "．" else ""
        return not following or following not in goes_on
    if following and not found["space"]:
        return False
    opening = _OPENING.match(text, found.end())
    next_word = opening.end() if opening else found.end()
    if any_capital and _is_lower(text, next_word):
        return False
    return stop != "." or not _goes_on(text, start, found.start(), next_word)


def _is_lower(text: str, at: int) -> bool:
    """Whether a word in lower case stands there: not a name such as iPhone, and not Georgian, which has no capitals."""
    letter = text[at : at + 1]
    return letter.islower() and not "ა" <= letter <= "ჿ" and not text[at + 1 : at + 2].isupper()


def _goes_on(text: str, start: int, stop: int, next_word: int) -> bool:
    """Whether the full stop at `stop` belongs to the word in front of it; the next word is at `next_word`."""
    word = _word_before(text, start, stop)
    follower = text[next_word : next_word + 1]
    opens_piece = stop - start <= LONGEST_WORD and text[start:stop].strip(OPENING) == word
    if _NUMBER.fullmatch(word):
        may_grow = len(word) < 4 and (not follower or _AFTER_ORDINAL.match(text, next_word) is not None)
        return opens_piece or may_grow
    if len(word) == 1 and opens_piece and follower.isupper():
        return True
    if _TITLES.fullmatch(word):
        return True
    if _BEFORE_A_NUMBER.fullmatch(word):
        # "He said no." is a whole sentence.
        return follower.isdigit() or not (follower or word.islower())
    return _is_abbreviation(word) and not _TYPICAL_OPENER.match(text, next_word)


def _word_before(text: str, start: int, stop: int) -> str:
    """The word in front of a stop as the lists of abbreviations have it, or "" where it is too long for one."""
    near = text[max(start, stop - LONGEST_WORD) : stop]
    words = near.split()
    if not words or near[-1].isspace() or (len(words) == 1 and len(near) == LONGEST_WORD):
        return ""
    # "ex-Gov." and "and/or Inc." end with the abbreviation.
    word = re.split("[-–—/]", words[-1].lstrip(OPENING))[-1]
    return word.capitalize() if len(word) > 1 and word.isupper() and "." not in word else word


def _is_abbreviation(word: str) -> bool:
    initial = len(word) == 1 and word.isalpha() and not word.islower()
    return initial or (_MAY_END.fullmatch(word) or _DOTTED.fullmatch(word)) is not None
