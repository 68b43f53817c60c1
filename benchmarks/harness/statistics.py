"""Percentiles, medians over rounds, and whose turn it is."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

Figures = Mapping[str, float | None]
Side = TypeVar("Side")


def percentile(values: Iterable[float], share: float) -> float | None:
    """With linear interpolation between the nearest ranks; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def medians(rounds: Sequence[Figures]) -> dict[str, float | None]:
    """Of each figure the median over the rounds that have it."""
    known: dict[str, list[float]] = {}
    for figures in rounds:
        for key, value in figures.items():
            known.setdefault(key, []).extend([] if value is None else [value])
    return {key: percentile(values, 0.5) for key, values in known.items()}


def in_turns(sides: Iterable[Side], number: int) -> list[Side]:
    """There and back: the sides in order in even rounds, in reverse in odd ones, so that all meet the same weather."""
    return list(sides)[:: -1 if number % 2 else 1]
