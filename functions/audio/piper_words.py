"""When each word of a sentence is heard, from how long each of its phonemes is.

A text and its phonemes do not have the same words: a number becomes several, "for the" becomes one. So each word of the
text takes as many phonemes as it has when it is spoken alone, stretched to what there is, and where that comes near a
gap between two words of the phonemes, it is that gap.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from unicodedata import category

from functions.audio.pieces import Word

# Phonemes by which a gap may be missed.
NEAR = 2.5
SILENT = frozenset(" .,:;!?")


def words(text: str) -> list[str]:
    """What is between spaces, without the signs around it."""
    return [word for token in text.split() if (word := _bare(token))]


def _bare(token: str) -> str:
    of_word = [at for at, character in enumerate(token) if category(character)[0] in "LMN"]
    return token[of_word[0] : of_word[-1] + 1] if of_word else ""


@dataclass(frozen=True)
class Spoken:
    """A sentence as it is spoken: its `phonemes`, and `seconds` for each of the voice's phoneme ids."""

    phonemes: Sequence[str]
    seconds: Sequence[float]
    id_map: Mapping[str, Sequence[int]]


def length(phonemes: Sequence[str]) -> int:
    """How many of the phonemes are sounds."""
    return sum(phoneme not in SILENT for phoneme in phonemes)


def shares(words: Sequence[tuple[str, int]]) -> list[int]:
    """How much of what is heard each word is; where none has a sound by itself, all are alike."""
    numbers = [number for _, number in words]
    return numbers if any(numbers) else [1] * len(numbers)


def timed(words: Sequence[tuple[str, int]], spoken: Spoken) -> Iterator[Word]:
    """The words with their times in the sentence; each comes with the number of phonemes that it has by itself."""
    starts, gaps = _sounds(spoken)
    sounds = len(starts) - 1
    said = list(accumulate(shares(words)))
    if not said or not sounds:
        return
    begin = 0.0
    for (word, _), place in zip(words, _snapped([place * sounds / said[-1] for place in said], gaps), strict=True):
        end = max(begin, place)
        start = _at(begin, starts)
        yield Word(word, start, max(start, _at(end, starts, at_end=True)))
        begin = end


def _snapped(places: Sequence[float], gaps: Sequence[int]) -> list[float]:
    """The places at which words end; each gap moves the one that is nearest to it, if that is near enough."""
    moved = list(places)
    for gap in gaps:
        nearest = min(range(len(places)), key=lambda at: abs(places[at] - gap))
        if abs(places[nearest] - gap) <= NEAR:
            moved[nearest] = float(gap)
    return moved


def _sounds(spoken: Spoken) -> tuple[list[tuple[float, float]], list[int]]:
    """When each sound begins and ends, with one more for the end; and before which sounds there is a gap."""
    pad = len(spoken.id_map.get("_", ()))
    clock = list(accumulate(spoken.seconds, initial=0.0))
    at = len(spoken.id_map.get("^", ())) + pad
    sounds: list[tuple[float, float]] = []
    gaps: list[int] = []
    for phoneme in spoken.phonemes:
        ids = len(spoken.id_map.get(phoneme, ()))
        after = at + ids + pad if ids else at
        if phoneme not in SILENT:
            sounds.append((clock[min(at, len(clock) - 1)], clock[min(after, len(clock) - 1)]))
        elif sounds and phoneme == " ":
            gaps.append(len(sounds))
        at = after
    last = sounds[-1][1] if sounds else 0.0
    return [*sounds, (last, last)], [*gaps, len(sounds)]


def _at(place: float, sounds: Sequence[tuple[float, float]], *, at_end: bool = False) -> float:
    """The time of a place between two sounds, or within one; at the end of a word, where the sound before it ends."""
    whole = int(place)
    if place == whole:
        return sounds[whole - 1][1] if at_end and whole else sounds[whole][0]
    begin, end = sounds[whole]
    return begin + (place - whole) * (end - begin)
