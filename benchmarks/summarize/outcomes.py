"""What came of a part: which answers were in time, and who wrote them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness.statistics import percentile
from benchmarks.summarize.client import Answer, Client
from benchmarks.summarize.sides import Side

WAIT, IN_TIME, PATIENCE = 28.0, 28.5, 30.0


@dataclass
class Outcome:
    """Figures for the table and all there is for the file; `chains`: what each client of several sent, in order."""

    figures: dict[str, float | None]
    raw: Any
    chains: Sequence[Sequence[Answer]] = ()


async def ask(client: Client, side: Side, text: str, tokens: int) -> Answer:
    """Ours are told how long the client waits; from the others it goes away."""
    if side.is_ours:
        return await client.whole(text, tokens, wait=WAIT)
    return await client.whole(text, tokens, give_up=PATIENCE)


def in_time(side: Side, answers: Iterable[Answer]) -> list[Answer]:
    limit = IN_TIME if side.is_ours else PATIENCE
    return [answer for answer in answers if answer.error is None and answer.latency <= limit]


def outcomes_of(side: Side, answers: Sequence[Answer]) -> dict[str, float | None]:
    """What became of the requests, and how long it took."""
    answered = [answer.latency for answer in answers if answer.error is None]
    refusals = [answer for answer in answers if answer.status == 503]
    good = len(in_time(side, answers))
    return {
        "in_time": good,
        "late": len(answered) - good,
        "refused": len(refusals),
        "lost": len(answers) - len(answered) - len(refusals),
        "p50": percentile(answered, 0.5),
        "max": max(answered, default=None),
        "refusal_max": max((answer.latency for answer in refusals), default=None),
    }


def by_stand_in(answers: Iterable[Answer], main: str) -> int:
    """How many another model than the `main` one has written."""
    return sum(answer.writer not in (None, main) for answer in answers)


def per_client(chains: Iterable[Sequence[Answer]]) -> dict[str, float | None]:
    """The answers of the client that got fewest, and of the one that got most; a chain is what one client sent."""
    counts = [sum(answer.error is None for answer in chain) for chain in chains]
    return {"least": min(counts, default=None), "most": max(counts, default=None)}


def ends(answers: Iterable[Answer]) -> Counter[str]:
    """How the answers ended, and what went wrong with the others."""
    return Counter(answer.finish_reason or (answer.error or "nothing")[:80] for answer in answers)


def writers(answers: Iterable[Answer]) -> Counter[str]:
    return Counter(answer.writer for answer in answers if answer.error is None and answer.writer is not None)
