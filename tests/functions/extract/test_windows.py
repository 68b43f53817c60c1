import random
from itertools import pairwise
from random import Random

import pytest

from functions.extract.windows import MAX_WORD_CHARACTERS, Splitter, Window, Word, iterate_windows


class Listed:
    """Words with their numbers of tokens, all known."""

    def __init__(self, words: list[Word], counts: list[int]) -> None:
        self._words, self._counts = words, counts

    def has(self, index: int) -> bool:
        return index < len(self._words)

    def tokens(self, index: int) -> int:
        return self._counts[index]

    def text(self, index: int) -> str:
        return self._words[index].text


def split_windows(
    words: list[Word], counts: list[int], *, max_words: int, max_tokens: int, overlap: int
) -> list[Window]:
    return list(iterate_windows(Listed(words, counts), max_words=max_words, max_tokens=max_tokens, overlap=overlap))


def split_words(text: str) -> list[Word]:
    """All words, taken three at a time."""
    splitter = Splitter(text)
    return [word for words in iter(lambda: splitter.take(3), []) for word in words]


def test_words_are_cut_as_gliner_cuts_them() -> None:
    words = split_words("Jean-Luc's e-mail_box, 3.5%…")
    assert [word.text for word in words] == ["Jean-Luc", "'", "s", "e-mail_box", ",", "3", ".", "5", "%", "…"]


def test_every_character_but_white_space_is_in_a_word() -> None:
    text = "今日は" * 500 + " Tim\tCook 🙂 " + "x" * 1000
    words = split_words(text)
    assert "".join(word.text for word in words) == "".join(text.split())
    assert all(text[word.start : word.end] == word.text for word in words)
    assert max(len(word.text) for word in words) <= MAX_WORD_CHARACTERS


# Words of the widest span of GLiNER's models.
MAX_WIDTH = 12


def numbered(count: int, sentence: int = 17) -> list[Word]:
    return [Word("." if index % sentence == sentence - 1 else "w", index, index + 1) for index in range(count)]


@pytest.mark.parametrize("count", [1, 24, 100, 101, 150, 1000, 4321])
@pytest.mark.parametrize("overlap", [24, 48, 99, 500])
def test_windows_cover_the_text_and_their_cores_part_it(count: int, overlap: int) -> None:
    random.seed(count)
    words = numbered(count)
    tokens = [random.choice([1, 1, 2, 3, 40]) for _ in words]
    windows = split_windows(words, tokens, max_words=100, max_tokens=200, overlap=overlap)
    assert (windows[0].start, windows[-1].stop) == (0, count)
    assert [window.core_start for window in windows] == [0, *(window.core_stop for window in windows[:-1])]
    assert windows[-1].core_stop == count
    for window in windows:
        assert window.start <= window.core_start < window.core_stop <= window.stop
        assert window.stop - window.start <= 100
        assert sum(tokens[window.start : window.stop]) <= 200
    assert all(right.start < left.stop or right.start == left.stop for left, right in pairwise(windows))


def test_text_that_fits_is_one_window() -> None:
    assert len(split_windows(numbered(100), [1] * 100, max_words=100, max_tokens=100, overlap=24)) == 1


def test_a_window_ends_with_a_sentence_where_it_can() -> None:
    words = numbered(300)
    windows = split_windows(words, [1] * 300, max_words=100, max_tokens=1000, overlap=24)
    assert [words[window.stop - 1].text for window in windows[:-1]] == ["."] * (len(windows) - 1)


def test_a_word_with_more_tokens_than_a_window_still_gets_one() -> None:
    windows = split_windows(numbered(3), [1, 5000, 1], max_words=100, max_tokens=100, overlap=24)
    assert [(window.start, window.stop) for window in windows] == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("seed", range(60))
def test_a_text_gives_the_same_spans_wherever_the_cuts_fall(seed: int) -> None:
    """Spans that every window sees alike are reported once each, whatever the windows are."""
    random = Random(seed)
    words = numbered(random.randint(1, 900), random.choice([3, 17, 1000]))
    tokens = [random.choice([1, 1, 2, 3, 12]) for _ in words]
    planted = set()
    for _ in range(random.randint(0, 300)):
        first = random.randrange(len(words))
        planted.add((first, min(first + random.randrange(MAX_WIDTH), len(words) - 1)))
    overlap = random.choice([2 * MAX_WIDTH, 48, 128])
    windows = split_windows(
        words, tokens, max_words=random.choice([200, 384]), max_tokens=random.choice([4000, 8000]), overlap=overlap
    )
    reported = [
        span
        for window in windows
        for span in planted
        if window.start <= span[0] and span[1] < window.stop and window.core_start <= span[0] < window.core_stop
    ]
    assert sorted(reported) == sorted(planted)
