"""Strategies and settings for the properties of more than one module."""

from collections.abc import Sequence
from string import ascii_letters

from hypothesis import settings
from hypothesis import strategies as st


@st.composite
def joined(draw: st.DrawFn, pieces: Sequence[str], most: int) -> str:
    """A text of up to `most` of these pieces. By itself it would mostly be short: half of these are told to be long."""
    # A letter stands for a piece: a string is drawn at once, a list piece by piece, which takes ten times as long.
    meant = dict(zip(ascii_letters, pieces, strict=False))
    assert len(meant) == len(pieces)
    least = draw(st.sampled_from([0, 0, most // 4, most // 2]))
    return "".join(meant[letter] for letter in draw(st.text("".join(meant), min_size=least, max_size=most)))


def examples(times: int) -> settings:
    """So many times as many examples as the profile has: for a property whose examples cost little."""
    profile = settings.default
    assert profile is not None
    return settings(max_examples=times * profile.max_examples)
