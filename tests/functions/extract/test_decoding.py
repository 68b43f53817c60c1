"""Greedy decoding against the plain definition: compare every pair, best first."""

import random

import pytest

from functions.extract.decoding import Span, decode


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
def test_decoding_is_what_comparing_every_pair_gives(flat: bool, multi_label: bool) -> None:
    for seed in range(300):
        source = random.Random(seed)
        candidates = []
        for _ in range(source.randint(0, 40)):
            first = source.randint(0, 20)
            last = first + source.randint(0, 6)
            candidates.append(Span(first, last, source.randint(0, 3), source.random()))
        assert decode(candidates, flat=flat, multi_label=multi_label) == decode_by_definition(
            candidates, flat, multi_label
        )
