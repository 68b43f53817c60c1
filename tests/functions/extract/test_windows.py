from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from functions.extract.windows import Window, iterate_windows
from functions.extract.words import Word


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


# Words of the widest span of GLiNER's models.
MAX_WIDTH = 12


def numbered(count: int, sentence: int = 17) -> list[Word]:
    return [Word("." if index % sentence == sentence - 1 else "w", index, index + 1) for index in range(count)]


def repeated(pattern: list[int], count: int) -> list[int]:
    return (pattern * count)[:count]


def numbers_of_tokens(count: st.SearchStrategy[int], *, most: int) -> st.SearchStrategy[list[int]]:
    """Of so many words, each of which has up to `most`, and seldom more than three: a pattern again and again."""
    pattern = st.lists(st.sampled_from([1, 1, 2, 3, most]), min_size=1, max_size=40)
    return st.builds(repeated, pattern, count)


@given(
    numbers_of_tokens(st.integers(1, 300) | st.integers(1, 4400), most=40),
    st.integers(1, 100),
    st.integers(40, 200),
    st.integers(0, 500),
)
@example([1] * 24, 100, 200, 24)
@example([1] * 100, 100, 200, 24)
@example([1] * 101, 100, 200, 24)
@example([1, 2] * 2200, 100, 200, 99)
def test_windows_cover_the_text_and_their_cores_part_it(
    tokens: list[int], max_words: int, max_tokens: int, overlap: int
) -> None:
    words = numbered(len(tokens))
    windows = split_windows(words, tokens, max_words=max_words, max_tokens=max_tokens, overlap=overlap)
    assert (windows[0].start, windows[-1].stop) == (0, len(words))
    assert [window.core_start for window in windows] == [0, *(window.core_stop for window in windows[:-1])]
    assert windows[-1].core_stop == len(words)
    for window in windows:
        assert window.start <= window.core_start < window.core_stop <= window.stop
        assert window.stop - window.start <= max_words
        assert sum(tokens[window.start : window.stop]) <= max_tokens
    assert all(right.start <= left.stop for left, right in pairwise(windows))


def test_text_that_fits_is_one_window() -> None:
    assert len(split_windows(numbered(100), [1] * 100, max_words=100, max_tokens=100, overlap=24)) == 1


def test_a_window_ends_with_a_sentence_where_it_can() -> None:
    words = numbered(300)
    windows = split_windows(words, [1] * 300, max_words=100, max_tokens=1000, overlap=24)
    assert [words[window.stop - 1].text for window in windows[:-1]] == ["."] * (len(windows) - 1)


def test_a_word_with_more_tokens_than_a_window_still_gets_one() -> None:
    windows = split_windows(numbered(3), [1, 5000, 1], max_words=100, max_tokens=100, overlap=24)
    assert [(window.start, window.stop) for window in windows] == [(0, 1), (1, 2), (2, 3)]


@given(
    numbers_of_tokens(st.integers(1, 900), most=12),
    st.sampled_from([3, 17, 1000]),
    st.sampled_from([2 * MAX_WIDTH, 48, 128]),
    st.sampled_from([200, 384]),
    st.sampled_from([4000, 8000]),
)
def test_every_span_is_reported_by_one_window_that_has_all_its_words(
    tokens: list[int], sentence: int, overlap: int, max_words: int, max_tokens: int
) -> None:
    count = len(tokens)
    windows = split_windows(
        numbered(count, sentence), tokens, max_words=max_words, max_tokens=max_tokens, overlap=overlap
    )
    spans = [(first, last) for first in range(count) for last in range(first, min(first + MAX_WIDTH, count))]
    reported = [
        (first, last)
        for window in windows
        for first, last in spans
        if window.start <= first and last < window.stop and window.core_start <= first < window.core_stop
    ]
    assert sorted(reported) == spans
