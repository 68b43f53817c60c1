"""A minute of several clients as a picture: who waited, who was written for by whom, who was refused. SVG by hand."""

from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.summarize.client import Answer

SECONDS = 60.0
LEFT, RIGHT, TOP, BOTTOM = 74, 16, 54, 40
ROW, BAR = 30, 18
WIDTH = 960
TICK_SECONDS = 10
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.ground { fill: #ffffff } .grid { stroke: #d1d9e0 }
.waiting { fill: #c4ccd4 } .refused { stroke: #d1242f; stroke-width: 2 } .failed { stroke: #1f2328; stroke-width: 2 }
.main.reading { fill: #8db8f0 } .main.writing { fill: #1f6feb }
.stand-in.reading { fill: #f5c07a } .stand-in.writing { fill: #d9760b }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .ground { fill: #0d1117 } .grid { stroke: #30363d } .waiting { fill: #4a525c }
.refused { stroke: #ff7b72 } .failed { stroke: #e6edf3 }
.main.reading { fill: #2a5594 } .main.writing { fill: #4c9aff } .stand-in.reading { fill: #8a5a1c }
.stand-in.writing { fill: #f0a033 }
}
"""


def crowd(chains: Sequence[Sequence[Answer]], main: str, seconds: float = SECONDS) -> str:
    """A row for each client, from the first request on; `main` is what answers call the main model."""
    begun = min((answer.sent for chain in chains for answer in chain), default=0.0)
    bottom = TOP + ROW * len(chains)
    height = bottom + BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="What became of the requests of {len(chains)} clients within {seconds:g} seconds">',
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
        *_legend(),
        *_grid(seconds, bottom),
    ]
    for number, chain in enumerate(chains):
        middle = TOP + ROW * number + ROW // 2
        lines.append(f'<text x="8" y="{middle + 5}">client {number + 1}</text>')
        for answer in chain:
            lines += _marks(answer, begun, main, middle, seconds)
    return "\n".join([*lines, "</svg>", ""])


def phases(answer: Answer) -> list[tuple[str, float, float]]:
    """What the client waited for, with begin and end: nothing yet, the reading, the writing."""
    written = answer.ended
    read = max(answer.sent, written - answer.phases.get("decode", 0.0) / 1000)
    begun = max(answer.sent, read - answer.phases.get("prefill", 0.0) / 1000)
    return [("waiting", answer.sent, begun), ("reading", begun, read), ("writing", read, written)]


def _marks(answer: Answer, begun: float, main: str, middle: int, seconds: float) -> Iterator[str]:
    """The bars of an answer, or the tick of a refusal, as far as they lie within the picture."""
    top = middle - BAR // 2
    if answer.error is not None:
        kind = "refused" if answer.status == 503 else "failed"
        if answer.ended - begun <= seconds:
            x = _x(answer.ended - begun, seconds)
            title = escape(f"{kind}, {answer.status}, {answer.ended - begun:.1f} s")
            yield f'<path class="{kind}" d="M{x:.1f} {top}v{BAR}"><title>{title}</title></path>'
        return
    writer = "main" if answer.writer in (None, main) else "stand-in"
    for kind, start, end in phases(answer):
        start, end = start - begun, min(end - begun, seconds)
        if start >= end:
            continue
        x, width = _x(start, seconds), _x(end, seconds) - _x(start, seconds)
        title = escape(f"{kind}, {answer.writer}, {start:.1f} to {end:.1f} s")
        yield (
            f'<rect class="{writer} {kind}" x="{x:.1f}" y="{top}" width="{width:.1f}" height="{BAR}">'
            f"<title>{title}</title></rect>"
        )


def _legend() -> Iterator[str]:
    entries = (
        ("waiting", "waits"),
        ("main reading", "main model reads"),
        ("main writing", "and writes"),
        ("stand-in reading", "stand-in reads"),
        ("stand-in writing", "and writes"),
    )
    x = LEFT
    for kind, text in entries:
        yield f'<rect class="{kind}" x="{x}" y="16" width="{BAR}" height="{BAR}"/>'
        yield f'<text x="{x + BAR + 6}" y="30">{text}</text>'
        x += BAR + 22 + 8 * len(text)
    yield f'<path class="refused" d="M{x + 4} 16v{BAR}"/><text x="{x + 12}" y="30">refused</text>'


def _grid(seconds: float, bottom: int) -> Iterator[str]:
    for number in range(int(seconds // TICK_SECONDS) + 1):
        x = _x(number * TICK_SECONDS, seconds)
        yield f'<path class="grid" d="M{x:.1f} {TOP}V{bottom}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{number * TICK_SECONDS}</text>'
    yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{bottom + 34}" text-anchor="middle">seconds</text>'


def _x(at: float, seconds: float) -> float:
    return LEFT + at / seconds * (WIDTH - LEFT - RIGHT)
