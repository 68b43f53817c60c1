"""Several clients at once: each sends one article after the other, and comes back when it is told to."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path

from benchmarks.harness.table import Row
from benchmarks.summarize import spans
from benchmarks.summarize.articles import Article
from benchmarks.summarize.client import Answer, Client
from benchmarks.summarize.outcomes import Outcome, ask, by_stand_in, ends, in_time, outcomes_of, per_client, writers
from benchmarks.summarize.server import running
from benchmarks.summarize.sides import Side

CLIENTS, ARTICLES = 8, 64
DEFAULT_RETRY_SECONDS = 1.0

ANSWERS = [
    Row("in_time", "answered in time", "", 0, ratio=False),
    Row("stand_in", "answers by the stand-in", "", 0, ratio=False),
    Row("late", "answered late", "", 0, ratio=False),
    Row("refused", "refused with Retry-After", "", 0, ratio=False),
    Row("lost", "given up by the client, or failed", "", 0, ratio=False),
    Row("p50", "time to an answer, p50", "s", ratio=False),
    Row("max", "time to an answer, longest", "s", ratio=False),
    Row("refusal_max", "time to a refusal, longest", "s", 2, ratio=False),
    Row("least", "answers per client, least", "", 0, ratio=False),
    Row("most", "answers per client, most", "", 0, ratio=False),
]
ROWS = [
    *ANSWERS,
    Row("useful", "time that went into answers in time", "%", 0, 100, ratio=False),
    Row("retry_after_p50", "Retry-After, p50", "s", ratio=False),
    Row("retry_after_max", "Retry-After, longest", "s", ratio=False),
    Row("admission_p50", "refusal to the next admission, p50", "s", ratio=False),
    Row("retry_error_p50", "Retry-After less that time, p50", "s", ratio=False),
    Row("retry_error_p95", "the same, without its sign, p95", "s", ratio=False),
    Row("retry_admitted", "retries after it that were let in", "%", 0, 100, ratio=False),
]


async def crowd(side: Side, model: Path, articles: Sequence[Article], tokens: int, seconds: float) -> Outcome:
    """The clients of ours keep one connection each."""
    async with running(side, model) as server, AsyncExitStack() as stack:
        clients = [server.client] * CLIENTS
        if side.is_ours:
            clients = [await stack.enter_async_context(server.connected()) for _ in range(CLIENTS)]
        supply, end = cycle(articles), time.perf_counter() + seconds
        chains = await asyncio.gather(*(_one_of_many(client, side, supply, tokens, end) for client in clients))
    answers = [answer for chain in chains for answer in chain]
    good = in_time(side, answers)
    print(f"{CLIENTS} clients, {side.name}: {dict(ends(answers))}, {dict(writers(answers))}", flush=True)
    figures = {
        **outcomes_of(side, answers),
        "stand_in": by_stand_in(answers, model.stem),
        **per_client(chains),
        "useful": spans.useful_share(answers, good),
        **spans.retries(chains),
    }
    return Outcome(figures, [[answer.raw() for answer in chain] for chain in chains], chains)


async def _one_of_many(client: Client, side: Side, supply: Iterator[Article], tokens: int, end: float) -> list[Answer]:
    chain: list[Answer] = []
    article = next(supply)
    while time.perf_counter() < end:
        answer = await ask(client, side, article.text, tokens)
        chain.append(answer)
        if answer.status == 503:
            await asyncio.sleep(answer.retry_after or DEFAULT_RETRY_SECONDS)
        else:
            article = next(supply)
    return chain
