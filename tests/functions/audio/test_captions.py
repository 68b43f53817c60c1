"""Captions out of word times: that they hold the text, in order, within the recording."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.audio.captions import MAX_COLUMNS, Caption, captions, srt, vtt, vtt_by_word
from functions.audio.pieces import Word
from tests.strategies import joined

TEXT = 'He said: "Go home, now." Nobody went; it was 12 o\'clock.\n\nThe next day (a Tuesday) was worse & longer.'


def spoken(text: str, seconds: float = 0.3) -> list[Word]:
    """The words of a text without the signs around them, as an engine names them."""
    return [
        Word(found[0], at * seconds, (at + 1) * seconds) for at, found in enumerate(re.finditer(r"\w+(?:'\w+)*", text))
    ]


def check(found: list[Caption], text: str, seconds: float) -> None:
    assert "".join("".join(caption.text for caption in found).split()) == "".join(text.split())
    assert all(caption.start < caption.end for caption in found)
    for left, right in pairwise(found):
        assert left.end <= right.start
    assert found[0].start >= 0
    assert found[-1].end <= round(seconds * 1000)


def test_captions_end_with_sentences_and_hold_the_signs() -> None:
    found = captions(TEXT, spoken(TEXT), 6.0)
    assert [caption.text for caption in found] == [
        'He said: "Go home, now."',
        "Nobody went; it was 12 o'clock.",
        "The next day (a Tuesday) was worse & longer.",
    ]
    assert [caption.start for caption in found] == [0, 1500, 3300]
    check(found, TEXT, 6.0)


def test_long_sentences_are_parted() -> None:
    text = "and so it went on " * 40
    found = captions(text, spoken(text), 60.0)
    assert max(len(caption.text) for caption in found) <= MAX_COLUMNS
    check(found, text, 60.0)


def test_a_wide_character_takes_two_columns() -> None:
    text = "这是一句很长的话" * 20
    words = [Word("这是", at * 1.0, at + 1.0) for at in range(20)]
    found = captions(text, words, 20.0)
    assert max(len(caption.text) for caption in found) <= MAX_COLUMNS // 2 + 8
    assert "".join(caption.text for caption in found) == text


def test_slow_speech_is_parted_by_time() -> None:
    text = "one two three four"
    assert len(captions(text, spoken(text, 4.0), 16.0)) == 4


def test_a_quotation_begins_with_its_mark() -> None:
    text = 'It was late. "Come," he said. (He left.)'
    assert [caption.text for caption in captions(text, spoken(text), 5.0)] == [
        "It was late.",
        '"Come," he said.',
        "(He left.)",
    ]


def test_words_that_are_written_otherwise_are_passed_over() -> None:
    words = [Word("twelve", 0.0, 0.5), Word("euros", 0.5, 1.0), Word("", 1.0, 1.1), Word("each", 1.1, 1.5)]
    found = captions("12 euros. Each one of them", [*words[:3], Word("Each", 1.1, 1.5)], 2.0)
    assert [caption.text for caption in found] == ["12 euros.", "Each one of them"]


@pytest.mark.parametrize("words", [[], [Word("nothing", 0.0, 1.0)]])
def test_a_recording_without_known_words_has_one_caption(words: list[Word]) -> None:
    assert captions(" Hello,  world ", words, 2.5) == [Caption(0, 2500, "Hello, world")]


@st.composite
def texts_with_odd_times(draw: st.DrawFn) -> tuple[str, list[Word]]:
    """A text, and its words at any times within and around a recording of 20 s, some of which end before they begin."""
    text = draw(joined(["a", "word", " ", ". ", ", ", "字", "\n\n", '"', "?"], 300)) + "end"
    words = spoken(text)
    times = st.tuples(st.floats(-1, 30), st.floats(-1, 3))
    drawn = draw(st.lists(times, min_size=len(words), max_size=len(words)))
    return text, [Word(word.text, start, start + lasts) for word, (start, lasts) in zip(words, drawn, strict=True)]


@given(texts_with_odd_times())
def test_any_times_become_increasing_ones_within_the_recording(text_and_words: tuple[str, list[Word]]) -> None:
    text, words = text_and_words
    check(captions(text, words, 20.0), text, 20.0)


def test_webvtt_escapes_what_it_reserves() -> None:
    assert vtt([Caption(0, 1500, "a < b --> c & d"), Caption(3_723_004, 3_724_000, "end")]) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\na &lt; b --&gt; c &amp; d\n\n01:02:03.004 --> 01:02:04.000\nend\n"
    )


def test_subrip_numbers_its_captions() -> None:
    assert srt([Caption(0, 1500, "a < b"), Caption(1500, 2000, "end")]) == (
        "1\n00:00:00,000 --> 00:00:01,500\na < b\n\n2\n00:00:01,500 --> 00:00:02,000\nend\n"
    )


def test_each_word_but_a_captions_first_has_its_time_before_it() -> None:
    text = 'He said: "Go  home" & left.\nIt <was> late.'
    assert vtt_by_word(captions(text, spoken(text), 3.0)) == (
        "WEBVTT\n\n"
        '00:00:00.000 --> 00:00:01.500\nHe <00:00:00.300>said: <00:00:00.600>"Go <00:00:00.900>home" &amp; '
        "<00:00:01.200>left.\n\n"
        "00:00:01.500 --> 00:00:02.400\nIt &lt;<00:00:01.800>was&gt; <00:00:02.100>late.\n"
    )


@given(st.text(max_size=200), st.floats(0, 0.5), st.floats(0.01, 90))
def test_captions_by_word_are_the_same_captions_with_times_that_increase_within_each(
    text: str, pace: float, seconds: float
) -> None:
    found = captions(text, spoken(text, pace), seconds)
    by_word = vtt_by_word(found)
    assert re.sub(r"<\d\d:\d\d:\d\d\.\d{3}>", "", by_word) == vtt(found)
    for caption in found:
        times = [caption.start, *(at for _, at in caption.words), caption.end]
        assert times == sorted(set(times)) or caption.start >= caption.end
        offsets = [offset for offset, _ in caption.words]
        assert offsets == sorted(set(offsets))
