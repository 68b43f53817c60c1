"""When words are heard: from how long phonemes last, though a text and its phonemes do not have the same words."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.audio.pieces import Word
from functions.audio.piper_phonemes import Phonemized, Sentence
from functions.audio.piper_words import SILENT, Spoken, length, timed, words

# As voices have it: a pad behind each id, one id or more for a phoneme.
ID_MAP = {
    "_": [0],
    "^": [1],
    "$": [2],
    **{letter: [3 + at] for at, letter in enumerate(" .,:;!?abcdefgh")},
    "x": [7, 8],
}
ID_SECONDS = 0.05


def spoken(phonemes: str) -> Spoken:
    """Each id lasts 0.05 s, so a phoneme with its pad a tenth of a second, behind a tenth for the beginning."""
    ids = 2 + sum(len(ID_MAP.get(phoneme, ())) + 1 for phoneme in phonemes if phoneme in ID_MAP) + 1
    return Spoken(list(phonemes), [ID_SECONDS] * ids, ID_MAP)


def times(said: list[tuple[str, int]], phonemes: str) -> list[tuple[str, float, float]]:
    return [(word.text, round(word.start, 3), round(word.end, 3)) for word in timed(said, spoken(phonemes))]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The cat sat.", ["The", "cat", "sat"]),
        ("  \u201cWait\u201d, (she said) \u2026 don't!  ", ["Wait", "she", "said", "don't"]),
        ("1,234 euros \u2014 50% of it", ["1,234", "euros", "50", "of", "it"]),
        ("... --- ?!", []),
        ("", []),
        (
            "\u05e9\u05dc\u05d5\u05dd, \u05e2\u05d5\u05dc\u05dd!",
            ["\u05e9\u05dc\u05d5\u05dd", "\u05e2\u05d5\u05dc\u05dd"],
        ),
        ("\u0646\u0635\u0651 \u200f\u0639\u0631\u0628\u064a\u061f", ["\u0646\u0635\u0651", "\u0639\u0631\u0628\u064a"]),
        (
            "e\u0301te\u0301 \u0928\u092e\u0938\u094d\u0924\u0947",
            ["e\u0301te\u0301", "\u0928\u092e\u0938\u094d\u0924\u0947"],
        ),
    ],
    ids=["plain", "signs", "numbers", "signs only", "empty", "Hebrew", "Arabic", "marks"],
)
def test_words_of_a_text(text: str, found: list[str]) -> None:
    assert words(text) == found


@pytest.mark.parametrize(
    ("said", "phonemes", "expected"),
    [
        # A gap between two words of the phonemes is silence of neither.
        ([("a", 2), ("b", 3)], "ab cde.", [("a", 0.1, 0.3), ("b", 0.4, 0.7)]),
        # Alone they have other lengths than together: it is the gap that counts.
        ([("a", 3), ("b", 3)], "ab cde", [("a", 0.1, 0.3), ("b", 0.4, 0.7)]),
        # "for the" is one word of the phonemes: each has its share of it.
        ([("for", 2), ("the", 2), ("end", 4)], "abcd efgh", [("for", 0.1, 0.3), ("the", 0.3, 0.5), ("end", 0.6, 1.0)]),
        # A number is several.
        ([("21", 8), ("c", 2)], "abcd efgh ab", [("21", 0.1, 1.0), ("c", 1.1, 1.3)]),
        # A comma's pause.
        ([("a", 2), ("b", 2)], "ab, cd", [("a", 0.1, 0.3), ("b", 0.5, 0.7)]),
        # A phoneme of two ids, and one that the voice does not have.
        ([("a", 2), ("b", 2)], "xz cd", [("a", 0.1, 0.25), ("b", 0.35, 0.55)]),
        # A word that is not heard, between others and at the end.
        (
            [("a", 2), ("-", 0), ("b", 2), ("-", 0)],
            "ab cd",
            [("a", 0.1, 0.3), ("-", 0.4, 0.4), ("b", 0.4, 0.6), ("-", 0.6, 0.6)],
        ),
        ([], "ab", []),
        ([("a", 2)], ".,!", []),
        ([("a", 2)], "", []),
    ],
    ids=["gap", "gap beside", "merged", "number", "comma", "two ids", "not heard", "no words", "no sound", "nothing"],
)
def test_times_of_words(said: list[tuple[str, int]], phonemes: str, expected: list[tuple[str, float, float]]) -> None:
    assert times(said, phonemes) == expected


def test_words_that_have_no_sound_alone_have_their_share_of_what_is_heard() -> None:
    assert times([("a", 0), ("b", 0)], "ab cd") == [("a", 0.1, 0.3), ("b", 0.4, 0.6)]


PHONEMES = st.text("abcdxz .,!?", max_size=60)
SAID = st.lists(st.integers(0, 12), max_size=12).map(lambda many: [(f"w{at}", long) for at, long in enumerate(many)])


@given(SAID, PHONEMES)
def test_times_never_go_back_and_each_word_is_named_once(said: list[tuple[str, int]], phonemes: str) -> None:
    what = spoken(phonemes)
    found = list(timed(said, what))
    assert [word.text for word in found] == ([word for word, _ in said] if length(phonemes) else [])
    assert_in_order(found, sum(what.seconds))


@given(st.lists(PHONEMES, max_size=6), SAID)
def test_each_word_is_in_one_sentence(sentences: list[str], said: list[tuple[str, int]]) -> None:
    text = Phonemized([Sentence(list(phonemes), []) for phonemes in sentences], said)
    given_out = [(sentence, list(of_it)) for sentence, of_it in text.by_sentence()]
    assert ["".join(sentence.phonemes) for sentence, _ in given_out] == [one for one in sentences if length(one)]
    if given_out:
        assert [word for _, of_it in given_out for word in of_it] == said


@given(SAID, st.lists(st.floats(0, 2), max_size=40), PHONEMES)
def test_a_voice_whose_ids_are_others_than_the_map_says_harms_nobody(
    said: list[tuple[str, int]], seconds: list[float], phonemes: str
) -> None:
    assert_in_order(list(timed(said, Spoken(list(phonemes), seconds, ID_MAP))), sum(seconds))


def assert_in_order(found: list[Word], whole: float) -> None:
    assert all(earlier.start <= later.start for earlier, later in pairwise(found))
    assert all(earlier.end <= later.end for earlier, later in pairwise(found))
    assert all(0 <= word.start <= word.end <= whole + 1e-9 for word in found)


def test_the_silent_are_no_sounds() -> None:
    assert length("a, b.") == 2
    assert length("".join(SILENT)) == 0
