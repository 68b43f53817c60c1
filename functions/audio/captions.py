"""Captions out of the times of words: WebVTT and SubRip, with the text as it was written.

The engines name words without the punctuation around them, so every word is looked up in the text; a caption then holds
the text from its first word to the next caption's.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from unicodedata import east_asian_width

from functions.audio.pieces import Word

# Two lines of 42 columns, as broadcasters have them; a wide character takes two columns.
MAX_COLUMNS = 84
MAX_SECONDS = 6.0
# An engine may name a word other than it is written ("twelve"). It is not looked for beyond the next words.
SEARCHED_CHARACTERS = 120

_SENTENCE_END = re.compile(r"[.!?…。！？।؟]|\n\s*\n")
_OPENING = re.compile(r"[\"'“‘„«‹¿¡(\[「『（《〈【]*\Z")


@dataclass(frozen=True)
class Caption:
    """`start` and `end` in milliseconds from the recording's beginning.

    `words` has of each word that begins later than the caption does where it begins in `text`, and when, in
    milliseconds. Both increase, and no word begins as late as the caption ends.
    """

    start: int
    end: int
    text: str
    words: tuple[tuple[int, int], ...] = ()


def captions(text: str, words: Sequence[Word], seconds: float) -> list[Caption]:
    """Captions for a recording of that many seconds. Together they hold the whole text, white space as single spaces.

    Starts increase, no caption outlasts the recording or the beginning of the next. A recording whose words the engine
    did not name has one caption.
    """
    groups = list(_groups(text, words)) or [_Group(0, 0.0, seconds)]
    whole = round(seconds * 1000)
    starts: list[int] = []
    for left, group in zip(range(len(groups), 0, -1), groups, strict=True):
        earliest = starts[-1] + 1 if starts else 0
        starts.append(min(max(round(group.start * 1000), earliest), whole - left))
    ends = [
        min(max(round(group.end * 1000), start + 1), bound)
        for group, start, bound in zip(groups, starts, [*starts[1:], whole], strict=True)
    ]
    lasts = [*(group.first for group in groups[1:]), len(text)]
    return [
        _caption(start, end, text[:last], group)
        for start, end, last, group in zip(starts, ends, lasts, groups, strict=True)
    ]


def vtt(found: Sequence[Caption]) -> str:
    """As WebVTT, https://www.w3.org/TR/webvtt1/."""
    return _vtt(found, (_escaped(cue.text) for cue in found))


def vtt_by_word(found: Sequence[Caption]) -> str:
    """As WebVTT with a timestamp tag before each word, unless it begins with its cue, as a tag has to be later."""
    return _vtt(found, map(_tagged, found))


def srt(found: Sequence[Caption]) -> str:
    """As SubRip: numbered, with a comma before the milliseconds."""
    cues = (f"{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text}\n" for cue in found)
    return "\n".join(f"{number}\n{cue}" for number, cue in enumerate(cues, 1))


def _vtt(found: Sequence[Caption], payloads: Iterable[str]) -> str:
    cues = (
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{payload}\n"
        for cue, payload in zip(found, payloads, strict=True)
    )
    return "\n".join(["WEBVTT\n", *cues])


def _tagged(cue: Caption) -> str:
    offsets = [0, *(offset for offset, _ in cue.words), len(cue.text)]
    first, *others = [_escaped(cue.text[begin:end]) for begin, end in pairwise(offsets)]
    return first + "".join(f"<{_clock(at, '.')}>{text}" for (_, at), text in zip(cue.words, others, strict=True))


@dataclass
class _Group:
    """Words of one caption, whose text begins at `first`; of each where it begins in the text and when, in seconds."""

    first: int
    start: float
    end: float
    words: list[tuple[int, float]] = field(default_factory=list)


def _caption(start: int, end: int, text: str, group: _Group) -> Caption:
    """The caption of a group that has all of `text` from its beginning on."""
    line, words, after = "", [], start
    offsets = [group.first, *(offset for offset, _ in group.words), len(text)]
    times = [None, *(seconds for _, seconds in group.words)]
    for (begin, finish), seconds in zip(pairwise(offsets), times, strict=True):
        part = " ".join(text[begin:finish].split())
        if line and part and (text[begin].isspace() or text[begin - 1].isspace()):
            line += " "
        if seconds is not None and part and after < (at := max(round(seconds * 1000), after)) < end:
            words.append((len(line), at))
            after = at
        line += part
    return Caption(start, end, line, tuple(words))


def _placed(text: str, words: Sequence[Word]) -> Iterator[tuple[Word, int, int]]:
    """The words that are found in the text, with their offsets, in order."""
    at = 0
    for word in words:
        first = text.find(word.text, at, at + SEARCHED_CHARACTERS + len(word.text))
        if word.text and first >= 0:
            at = first + len(word.text)
            yield word, first, at


def _groups(text: str, words: Sequence[Word]) -> Iterator[_Group]:
    # Whatever stands before the first word belongs to it.
    group: _Group | None = None
    last = columns = 0
    for word, first, end in _placed(text, words):
        columns += _columns(text[last:end])
        opening = _OPENING.search(text[last:first])
        begin = first - len(opening[0] if opening else "")
        if group is not None:
            gap = text[last:first]
            is_full = columns > MAX_COLUMNS or word.end - group.start > MAX_SECONDS
            if is_full or _SENTENCE_END.search(gap):
                yield group
                group, columns = _Group(begin, word.start, word.end), _columns(text[begin:end])
            group.end = max(group.end, word.end)
        else:
            group = _Group(0, word.start, word.end)
        group.words.append((max(begin, group.first), word.start))
        last = end
    if group is not None:
        yield group


def _columns(text: str) -> int:
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(milliseconds: int, point: str) -> str:
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
