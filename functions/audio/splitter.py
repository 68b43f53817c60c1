"""Cuts a text into parts that the speech cloud says in one turn each.

The cloud's limit counts the bytes of the text as it stands in the SSML: UTF-8, with `&`, `<` and `>` escaped. A part
ends with a sentence if it can, else with a clause, else with a word; a word over the limit is cut between graphemes
(what a reader sees as one character: an emoji with its skin colour, a letter with its accents), and only a grapheme
that is over the limit by itself between code points.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from math import ceil

from common.sentences import sentences
from common.worker import Worker

# edge-tts cuts a text with more than these many bytes by itself.
MAX_BYTES = 4096
# A longer text is said in parts of about this size, about 90 s of speech: two of them are fetched at the same time, and
# each seam costs a short pause.
PART_BYTES = 1500

# Possessive, and begun only at the start of a run: nothing is tried twice, so the time is linear in the text.
_CLAUSE_END = re.compile(r"(?<![,;:،؛፣፤፥])[,;:،؛፣፤፥]++[\"'”’»)\]]*+\s++|[、，；：﹐﹔﹕]++|(?<!\s)\s++[-–—]++\s++|—++")
_WORD = re.compile(r"\s*\S+\s*|\s+")
_ESCAPED_BYTES = {"&": len("&amp;"), "<": len("&lt;"), ">": len("&gt;")}

# Code points; a longer one is cut. Families of emoji have a dozen, stacked accents as many as somebody likes.
LONGEST_GRAPHEME = 64
SECONDS_PER_CHARACTER = 2e-6
# Cut at once: another thread would take longer to begin.
FEW_CHARACTERS = 1000

Split = Callable[[str], Iterable[str]]
_worker = Worker("audio-text")


def split(text: str, part_bytes: int = PART_BYTES, max_bytes: int = MAX_BYTES) -> list[str]:
    """Parts of about equal size; joined they are the text, none is over `max_bytes` as escaped UTF-8.

    A sentence is cut only when it is over `max_bytes` by itself.
    """
    whole = size(text)
    if whole <= part_bytes:
        return [text]
    aim = ceil(whole / ceil(whole / part_bytes))
    levels = [_whole(sentences), _whole(_clauses), _whole(_words), _graphemes, list]
    return list(_joined(_fitting(text, max_bytes, levels), aim, max_bytes))


async def cut(text: str, prepare: Callable[[], str], part_bytes: int, max_bytes: int) -> list[str]:
    """The parts of what `prepare` makes of `text`, but for blank ones; of a long text on another thread."""

    def parts() -> list[str]:
        return [part for part in split(prepare(), part_bytes, max_bytes) if part.strip()]

    return (
        parts()
        if len(text) < FEW_CHARACTERS
        else await _worker.run(lambda _: parts(), SECONDS_PER_CHARACTER * len(text))
    )


def size(text: str) -> int:
    """Bytes of the text within the SSML."""
    return len(text.encode()) + sum(text.count(sign) * (escaped - 1) for sign, escaped in _ESCAPED_BYTES.items())


def _fitting(text: str, max_bytes: int, finer: list[Split]) -> Iterator[str]:
    """Pieces of at most `max_bytes`, as coarse as they may be."""
    for piece in finer[0](text):
        if size(piece) <= max_bytes:
            yield piece
        else:
            # Joined at once: what ends up beside other sentences is half a sentence, not its last word.
            yield from _joined(_fitting(piece, max_bytes, finer[1:]), max_bytes, max_bytes)


def _joined(pieces: Iterable[str], aim: int, max_bytes: int) -> Iterator[str]:
    """Neighbours joined to parts that come as near to `aim` bytes as whole pieces allow."""
    part: list[str] = []
    filled = 0
    for piece in pieces:
        added = size(piece)
        # Over the aim by less than without it under it.
        if part and (filled + added > max_bytes or filled + added - aim > aim - filled):
            yield "".join(part)
            part, filled = [], 0
        part.append(piece)
        filled += added
    if part:
        yield "".join(part)


def _whole(cut: Split) -> Split:
    """`cut`, but never inside a grapheme: a combining mark may follow on a stop or on a space."""
    import regex

    def split_whole(text: str) -> Iterator[str]:
        before = ""
        for piece in cut(text):
            if before and (_surely_apart(before[-1], piece[0]) or not regex.fullmatch(r"\X", before[-1] + piece[0])):
                yield before
                before = ""
            before += piece
        if before:
            yield before

    return split_whole


def _surely_apart(last: str, first: str) -> bool:
    """Whether two characters are two graphemes without a look at the tables: all of ASCII are, but CR and LF."""
    return last.isascii() and first.isascii() and first != "\n"


def _clauses(text: str) -> Iterator[str]:
    ends = [0, *(found.end() for found in _CLAUSE_END.finditer(text)), len(text)]
    return (text[start:end] for start, end in pairwise(ends) if start < end)


def _words(text: str) -> Iterator[str]:
    return (found[0] for found in _WORD.finditer(text))


def _graphemes(text: str) -> Iterator[str]:
    # Extended grapheme clusters (Unicode Standard Annex 29), which the standard library does not know.
    import regex

    if text.isascii():
        yield from text
        return
    at = 0
    while at < len(text):
        # Of a slice, as the library looks back over all that is there, to know how flags pair up.
        found = regex.match(r"\X", text[at : at + LONGEST_GRAPHEME])
        assert found is not None
        yield found[0]
        at += len(found[0])
