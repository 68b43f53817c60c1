"""GitHub-markdown tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.harness.statistics import Figures


def line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def head(cells: Sequence[object], texts: int = 1) -> str:
    """The first `texts` columns are words, the others figures."""
    return f"{line(cells)}\n{line([*['---'] * texts, *['---:'] * (len(cells) - texts)])}"


def table(titles: Sequence[object], rows: Iterable[Iterable[object]], texts: int = 1) -> str:
    return "\n".join([head(titles, texts), *map(line, rows)])


@dataclass(frozen=True)
class Row:
    """One line of a comparison: the figure's key, what to call it, its unit and how many digits it has."""

    key: str
    label: str
    unit: str
    digits: int = 1
    scale: float = 1.0
    ratio: bool = True


def comparison(rows: Iterable[Row], columns: Mapping[str, Figures], ours: str) -> str:
    """A column for each side; a cell has the figure and in brackets how many times ours it is."""
    lines = []
    for row in rows:
        base = columns[ours].get(row.key) if ours in columns and row.ratio else None
        cells = [_cell(row, figures.get(row.key), base if name != ours else None) for name, figures in columns.items()]
        lines.append([f"{row.label}, {row.unit}" if row.unit else row.label, *cells])
    return table(["", *columns], lines)


def _cell(row: Row, value: float | None, base: float | None) -> str:
    if value is None:
        return "–"
    text = f"{value * row.scale:,.{row.digits}f}"
    return f"{text} ({value / base:.2f}x)" if base else text
