"""Greedy decoding against the plain definition: compare every pair, best first.

The definition is the `gliner` package's, and quadratic; the service's own decoder looks at neighbours only. So the
definition is written out here, short enough to be read against the package.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.extract.decoding import Span
from tests.functions.extract.conftest import decode
from tests.strategies import examples


def span(first: int, width: int, label: int, score: float) -> Span:
    return Span(first, first + width, label, score)


SPANS = st.builds(span, st.integers(0, 20), st.integers(0, 6), st.integers(0, 3), st.floats(0, 1))


def conflicts(a: Span, b: Span, flat: bool, multi_label: bool) -> bool:
    if (a.first, a.last) == (b.first, b.last):
        return not multi_label
    if a.first > b.last or b.first > a.last:
        return False
    nested = (a.first <= b.first and a.last >= b.last) or (b.first <= a.first and b.last >= a.last)
    return flat or not nested


def decode_by_definition(candidates: list[Span], flat: bool, multi_label: bool) -> list[Span]:
    kept: list[Span] = []
    for span in sorted(candidates, key=lambda span: -span.score):
        if not any(conflicts(span, other, flat, multi_label) for other in kept):
            kept.append(span)
    return sorted(kept, key=lambda span: span.first)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("multi_label", [True, False])
@examples(2)
@given(st.lists(SPANS, max_size=40) | st.lists(SPANS, min_size=15, max_size=40))
def test_decoding_is_what_comparing_every_pair_gives(flat: bool, multi_label: bool, candidates: list[Span]) -> None:
    assert decode(candidates, flat=flat, multi_label=multi_label) == decode_by_definition(candidates, flat, multi_label)


WHOLE, INSIDE, CROSSING, AGAIN, BEHIND = (
    Span(2, 5, 0, 0.9),
    Span(3, 4, 0, 0.8),
    Span(4, 7, 0, 0.7),
    Span(2, 5, 1, 0.6),
    Span(6, 6, 0, 0.5),
)


@pytest.mark.parametrize(
    ("flat", "multi_label", "kept"),
    [
        (True, False, [WHOLE, BEHIND]),
        (True, True, [WHOLE, AGAIN, BEHIND]),
        (False, False, [WHOLE, INSIDE, BEHIND]),
        (False, True, [WHOLE, AGAIN, INSIDE, BEHIND]),
    ],
)
def test_what_overlaps_the_best_is_kept_only_where_the_mode_allows_it(
    flat: bool, multi_label: bool, kept: list[Span]
) -> None:
    assert decode([BEHIND, AGAIN, CROSSING, INSIDE, WHOLE], flat=flat, multi_label=multi_label) == kept
