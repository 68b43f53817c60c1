"""The mission's load: articles that arrive evenly, whatever becomes of those before them."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.harness.table import Row
from benchmarks.summarize.articles import Article
from benchmarks.summarize.client import Answer
from benchmarks.summarize.outcomes import Outcome, ask, by_stand_in, ends, in_time, outcomes_of, writers
from benchmarks.summarize.reading import frames_of, mean_read, tiny
from benchmarks.summarize.server import running
from benchmarks.summarize.sides import Side

A_MINUTE, SECONDS = 12, 180.0
SHORTEST, LONGEST = 300, 900

ROWS = [
    Row("asked", "articles", "", 0, ratio=False),
    Row("in_time_share", "answered in time", "%", 0, 100, ratio=False),
    Row("main", "answers by the main model", "", 0, ratio=False),
    Row("stand_in", "answers by the stand-in", "", 0, ratio=False),
    Row("late", "answered late", "", 0, ratio=False),
    Row("refused", "refused with Retry-After", "", 0, ratio=False),
    Row("lost", "failed", "", 0, ratio=False),
    Row("p50", "time to an answer, p50", "s", ratio=False),
    Row("max", "time to an answer, longest", "s", ratio=False),
    Row("read", "share of the article's tokens that the writer read, mean", "%", 0, 100, ratio=False),
]


@dataclass(frozen=True)
class Arrival:
    """An article of so many tokens, so many seconds after the first."""

    at: float
    tokens: int


def arrivals(seconds: float, seed: int, a_minute: int = A_MINUTE) -> list[Arrival]:
    """Evenly spread over `seconds`, with lengths that the seed draws."""
    random = Random(seed)
    count = int(seconds * a_minute / 60)
    return [Arrival(number * 60 / a_minute, random.randint(SHORTEST, LONGEST)) for number in range(count)]


async def desk(
    side: Side, model: Path, schedule: Sequence[Arrival], articles: Sequence[Article], tokens: int
) -> Outcome:
    """An article for each arrival of the schedule; nobody comes back."""
    async with running(side, model) as server:
        small = await tiny(server, side, tokens)
        begun = time.perf_counter()

        async def one(arrival: Arrival, article: Article) -> Answer:
            await asyncio.sleep(begun + arrival.at - time.perf_counter())
            return await ask(server.client, side, article.text, tokens)

        answers = await asyncio.gather(*(one(*pair) for pair in zip(schedule, articles, strict=True)))
    good = in_time(side, answers)
    answered = sum(answer.error is None for answer in answers)
    print(f"desk, {side.name}: {dict(ends(answers))}, {dict(writers(answers))}", flush=True)
    stand_in = by_stand_in(answers, model.stem)
    figures: dict[str, float | None] = {
        "asked": len(answers),
        **outcomes_of(side, answers),
        "in_time_share": len(good) / len(answers) if answers else None,
        "main": answered - stand_in,
        "stand_in": stand_in,
        "read": mean_read(good, frames_of(small, answers)),
    }
    return Outcome(
        figures, {"schedule": [vars(arrival) for arrival in schedule], "answers": [a.raw() for a in answers]}
    )
