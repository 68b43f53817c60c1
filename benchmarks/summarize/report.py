"""Percentiles, a GitHub-markdown table with ratios to ours, and the raw figures as JSON."""

import json
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.summarize.sides import ROOT

RESULTS = ROOT / "benchmarks/.cache/results"

Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Row:
    """One line of the table: the figure's key, what to call it, its unit and how many digits it has."""

    key: str
    label: str
    unit: str
    digits: int = 1
    scale: float = 1.0
    ratio: bool = True


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
    keys = {key: None for figures in rounds for key in figures}
    known = {key: [value for figures in rounds if (value := figures.get(key)) is not None] for key in keys}
    return {key: statistics.median(values) if values else None for key, values in known.items()}


def table(rows: Sequence[Row], columns: Mapping[str, Figures], ours: str) -> str:
    """A cell has the figure and in brackets how many times ours it is."""
    lines = [["", *columns], ["---", *("---:" for _ in columns)]]
    for row in rows:
        base = columns[ours].get(row.key) if ours in columns and row.ratio else None
        cells = [_cell(row, figures.get(row.key), base if name != ours else None) for name, figures in columns.items()]
        lines.append([f"{row.label}, {row.unit}" if row.unit else row.label, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: Row, value: float | None, base: float | None) -> str:
    if value is None:
        return "–"
    text = f"{value * row.scale:,.{row.digits}f}"
    return f"{text} ({value / base:.2f}x)" if base else text


def save(name: str, content: Any) -> Path:
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    return path
