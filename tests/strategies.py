"""Strategies and settings for the properties of more than one module."""

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st


def joined(pieces: Sequence[str], most: int) -> st.SearchStrategy[str]:
    """A text of up to `most` of these pieces. A list is mostly a short one: half of these are told to be long."""
    piece = st.sampled_from(pieces)
    lists = [st.lists(piece, min_size=least, max_size=most) for least in (0, 0, most // 4, most // 2)]
    return st.one_of(lists).map("".join)


def examples(times: int) -> settings:
    """So many times as many examples as the profile has: for a property whose examples cost little."""
    return settings(max_examples=times * settings.default.max_examples)
