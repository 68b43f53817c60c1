"""A news desk's morning: 24 articles of 120 to 1,200 tokens, 96 tokens of summary each, from four clients and from one.

    python -m benchmarks.summarize.newsdesk [--rounds 3] [--sides a,b] [--articles N] [--model PATH] [--threads 2]
                                            [--desk whole|stream]

Rounds are outermost and the order of the sides rotates. Every side is started anew for every round, answers one short
request that does not count, and then goes through:

- `desk`: four clients take the articles from one queue, in an order that is the same for all. They ask for whole
  answers, as the product's client does, or for streams (`--desk stream`: then also with times to the first token).
- `alone`: one client that streams, a third of the articles (written afresh, so that no cached answer helps).
- `disturbed`: a stream of 256 tokens flows when an article of 2,000 tokens comes: the longest time between two tokens
  of the stream until the newcomer's first token, and how long the newcomer waits for it.

Of the service also: `GET /health` during `desk`, and, with one sequence, how long the queue keeps a request that comes
right after another client's long article was given up in the middle.

Every answer must have exactly the tokens that were asked for, of the whole article; what has not is counted as bad.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from benchmarks.harness.folders import MODELS, save
from benchmarks.harness.service import stop_cleanly
from benchmarks.harness.statistics import medians, percentile
from benchmarks.harness.table import Row, comparison
from benchmarks.summarize.articles import Article, Writer
from benchmarks.summarize.client import Answer, Client
from benchmarks.summarize.server import running
from benchmarks.summarize.sides import DEFAULT_THREADS, OURS, Side, choose

MODEL = MODELS / "llama-1b.gguf"
SEED = 20
CLIENTS = 4
OUTPUT_TOKENS = 96
SHORTEST, LONGEST = 120, 1200
STREAM_TOKENS, FLOWING_PIECES, NEWCOMER_TOKENS = 256, 16, 8
LONG_ARTICLE = 2000
HEALTH_SECONDS = 0.1
GIVE_UP_SECONDS, GIVE_UPS = 1.5, 5

ROWS = [
    Row("per_minute", "articles per minute, 4 clients", ""),
    Row("desk_p50", "time to the answer, 4 clients, p50", "s"),
    Row("desk_p95", "time to the answer, 4 clients, p95", "s"),
    Row("desk_first_p50", "time to the first token, 4 clients, p50", "s"),
    Row("desk_first_p95", "time to the first token, 4 clients, p95", "s"),
    Row("alone_p50", "time to the answer, alone, p50", "s"),
    Row("alone_p95", "time to the answer, alone, p95", "s"),
    Row("alone_first_p50", "time to the first token, alone, p50", "s", 2),
    Row("alone_first_p95", "time to the first token, alone, p95", "s", 2),
    Row("gap", "longest pause of a stream beside a 2,000-token article", "s", 2),
    Row("newcomer_first", "that article's time to the first token", "s"),
    Row("rss", "peak memory", "GB", 2, 1e-9),
    Row("load", "start until the model is loaded", "s"),
    Row("bad", "bad answers, all rounds", "", 0, ratio=False),
    Row("health_p99", "GET /health during the 4 clients, p99", "ms", 1, 1e3, ratio=False),
    Row("freed", "a given-up article's sequence is free, worst of 5", "ms", 0, ratio=False),
]


@dataclass(frozen=True)
class Work:
    desk: list[Article]
    alone: list[Article]
    flowing: Article
    long: list[Article]


@dataclass
class Outcome:
    """What one side did in one round."""

    figures: dict[str, float | None]
    problems: list[str]
    raw: dict[str, Any]


async def take(client: Client, articles: list[Article], clients: int, streams: bool) -> list[Answer]:
    """All articles' answers; each client takes the next article when it has its answer."""
    queue = list(reversed(articles))
    answers: list[Answer] = []

    async def one() -> None:
        while queue:
            ask = client.stream if streams else client.whole
            answers.append(await ask(queue.pop().text, OUTPUT_TOKENS))

    await asyncio.gather(*(one() for _ in range(clients)))
    return answers


async def disturb(client: Client, flowing: Article, long: Article) -> tuple[Answer, Answer]:
    """The stream that flows, and the newcomer."""
    flows = asyncio.Event()

    def on_piece(count: int) -> None:
        if count >= FLOWING_PIECES:
            flows.set()

    stream = asyncio.create_task(client.stream(flowing.text, STREAM_TOKENS, on_piece))
    stream.add_done_callback(lambda _: flows.set())
    await flows.wait()
    newcomer = await client.stream(long.text, NEWCOMER_TOKENS)
    return await stream, newcomer


def longest_gap(stream: Answer, newcomer: Answer) -> float | None:
    """The stream's longest pause while the newcomer waited for its first token."""
    if not newcomer.pieces:
        return None
    begin, end = newcomer.sent, newcomer.pieces[0]
    return max(
        (after - before for before, after in pairwise(stream.pieces) if after > begin and before < end), default=0
    )


async def watch_health(http: httpx.AsyncClient, until: asyncio.Event) -> list[float]:
    seconds = []
    while not until.is_set():
        began = time.perf_counter()
        response = await http.get("/health")
        response.raise_for_status()
        seconds.append(time.perf_counter() - began)
        await asyncio.sleep(HEALTH_SECONDS)
    return seconds


async def run(side: Side, model: Path, work: Work, streams: bool) -> Outcome:
    """One round of one side. A side that cannot be started, or breaks, is an outcome as well."""
    outcome = Outcome({}, [], {})
    try:
        await measure(side, model, work, outcome, streams)
        if side.name == OURS:
            await give_up(side, model, work, outcome)
    except (RuntimeError, httpx.HTTPError) as error:
        outcome.problems.append(repr(error))
    outcome.figures["bad"] = len(outcome.problems)
    return outcome


async def measure(side: Side, model: Path, work: Work, outcome: Outcome, streams: bool) -> None:
    async with running(side, model) as server:
        outcome.figures["load"] = server.service.load_seconds
        done = asyncio.Event()
        health = asyncio.create_task(watch_health(server.client.http, done)) if side.name == OURS else None
        began = time.perf_counter()
        desk = await take(server.client, work.desk, CLIENTS, streams)
        seconds = time.perf_counter() - began
        done.set()
        if health:
            outcome.figures["health_p99"] = percentile(await health, 0.99)
        good = note(outcome, "desk", desk)
        outcome.figures["per_minute"] = good / seconds * 60
        note(outcome, "alone", await take(server.client, work.alone, 1, True))
        stream, newcomer = await disturb(server.client, work.flowing, work.long[0])
        outcome.figures |= {"gap": longest_gap(stream, newcomer), "newcomer_first": newcomer.first}
        outcome.raw["disturbed"] = [stream.raw(), newcomer.raw()]
        for answer, tokens in ((stream, STREAM_TOKENS), (newcomer, NEWCOMER_TOKENS)):
            if problem := answer.problem(tokens):
                outcome.problems.append(f"disturbed: {problem}")
        outcome.figures["rss"] = server.service.peak_rss()


def note(outcome: Outcome, part: str, answers: list[Answer]) -> int:
    """Keep the figures of one part; returns how many answers were good."""
    good = [answer for answer in answers if answer.problem(OUTPUT_TOKENS) is None]
    latencies = [answer.latency for answer in good]
    firsts = [answer.first for answer in good if answer.first is not None]
    outcome.figures |= {
        f"{part}_p50": percentile(latencies, 0.5),
        f"{part}_p95": percentile(latencies, 0.95),
        f"{part}_first_p50": percentile(firsts, 0.5),
        f"{part}_first_p95": percentile(firsts, 0.95),
    }
    outcome.problems += [f"{part}: {problem}" for answer in answers if (problem := answer.problem(OUTPUT_TOKENS))]
    outcome.raw[part] = [answer.raw() for answer in answers]
    return len(good)


async def give_up(side: Side, model: Path, work: Work, outcome: Outcome) -> None:
    """How long a sequence stays taken by an article whose client has gone: the next request's time in the queue."""
    waits = []
    async with running(side, model, {"SUMMARIZE__PARALLEL": 1}) as server:
        for article in work.long:
            long = asyncio.create_task(server.client.stream(article.text, OUTPUT_TOKENS))
            await asyncio.sleep(GIVE_UP_SECONDS)
            if long.done():
                outcome.problems.append(f"give up: the long article was answered already: {long.result().error}")
            long.cancel()
            await asyncio.gather(long, return_exceptions=True)
            answer = await server.client.whole(work.flowing.text, 1)
            if problem := answer.problem(1):
                outcome.problems.append(f"give up: {problem}")
            waits.append(answer.phases.get("queue", 0.0))
    outcome.figures["freed"] = max(waits)
    outcome.raw["freed"] = waits


async def compare(
    sides: list[Side], rounds: int, one: Callable[[Side], Awaitable[Outcome]]
) -> dict[str, list[Outcome]]:
    """Every side's outcomes, the sides taking turns in a rotated order."""
    outcomes: dict[str, list[Outcome]] = {side.name: [] for side in sides}
    for number in range(rounds):
        start = number % len(sides)
        for side in sides[start:] + sides[:start]:
            began = time.perf_counter()
            outcome = await one(side)
            outcomes[side.name].append(outcome)
            print(f"round {number + 1}, {side.name}: {time.perf_counter() - began:.0f} s", flush=True)
            for problem in sorted(set(outcome.problems)):
                print(f"    {outcome.problems.count(problem)} x {problem}", flush=True)
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare /summarize with its peers on a news desk's work.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", help="comma-separated; all of them without it")
    parser.add_argument("--articles", type=int, default=24)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--threads", type=int, default=DEFAULT_THREADS)
    parser.add_argument("--desk", choices=("whole", "stream"), default="whole")
    options = parser.parse_args()
    stop_cleanly()
    model, sides = options.model.resolve(), choose(options.sides, options.threads)
    writer = Writer(model, SEED)
    work = Work(
        desk=writer.articles(options.articles, SHORTEST, LONGEST),
        alone=writer.articles(max(options.articles // 3, 1), SHORTEST, LONGEST),
        flowing=writer.article(SHORTEST),
        long=[writer.article(LONG_ARTICLE) for _ in range(GIVE_UPS)],
    )
    outcomes = asyncio.run(
        compare(sides, options.rounds, lambda side: run(side, model, work, options.desk == "stream"))
    )
    columns = {name: medians([outcome.figures for outcome in rounds]) for name, rounds in outcomes.items()}
    for name, rounds in outcomes.items():
        columns[name]["bad"] = sum(len(outcome.problems) for outcome in rounds)
    print("", comparison(ROWS, columns, OURS), sep="\n")
    raw = {name: [vars(outcome) for outcome in rounds] for name, rounds in outcomes.items()}
    print(f"\nraw figures: {save('newsdesk', {'model': model.name, 'medians': columns, 'rounds': raw})}")


if __name__ == "__main__":
    main()
