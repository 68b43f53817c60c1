"""An 8B on two cores and clients that do not wait: what is answered in time.

    python -m benchmarks.summarize.deadline [--articles 20] [--peer-articles 4] [--crowd-seconds 120] [--rounds 3]
        [--parts one,crowd,prefill] [--sides a,b] [--model PATH] [--threads 2]

- `one`: articles of 900 tokens, 150 tokens of summary, one client. The service is told `Prefer: wait=28` and has 28.5
  seconds; the peers know no such thing: their client goes away after 30 seconds, and sends the next article.
- `crowd`: eight clients at once for two minutes, the same way. Where it is refused with 503, a client sleeps
  `Retry-After` and tries again; on an answer, and after 30 seconds without one, it takes the next article.
- `prefill`: the service and `Llama()` in turns, `--rounds` times: start, and the time to the first token of an article
  of 256 tokens.

A side is started anew for each part.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

from benchmarks.harness.folders import MODELS, save
from benchmarks.harness.service import stop_cleanly
from benchmarks.harness.statistics import in_turns, medians, percentile
from benchmarks.harness.table import Row, comparison
from benchmarks.summarize import spans
from benchmarks.summarize.articles import Article, Writer
from benchmarks.summarize.client import Answer, Client
from benchmarks.summarize.server import running
from benchmarks.summarize.sides import BARE, DEFAULT_THREADS, OURS, Side, choose

MODEL = MODELS / "llama-8b.gguf"
SEED = 8
CONTEXT_TOKENS = 4096
ARTICLE_TOKENS, OUTPUT_TOKENS = 900, 150
WAIT, IN_TIME, PATIENCE = 28.0, 28.5, 30.0
CROWD, CROWD_ARTICLES = 8, 64
PREFILL_TOKENS = 256
DEFAULT_RETRY_SECONDS = 1.0
SENTENCE_ENDS = tuple(".!?\"”’'»")
PARTS = ("one", "crowd", "prefill")

ONE = [
    Row("asked", "articles", "", 0, ratio=False),
    Row("in_time", "answered in time", "%", 0, 100, ratio=False),
    Row("finished", "in time and ending with a finished sentence", "%", 0, 100, ratio=False),
    Row("p50", "time to the answer, p50", "s", ratio=False),
    Row("max", "time to the answer, longest", "s", ratio=False),
    Row("condensed", "condensed, of those in time", "%", 0, 100, ratio=False),
    Row("tokens_p50", "tokens of the answers, p50", "", 0, ratio=False),
    Row("rss", "peak memory", "GB", 2, 1e-9),
]
CROWD_ROWS = [
    Row("in_time", "answered in time", "", 0, ratio=False),
    Row("late", "answered late", "", 0, ratio=False),
    Row("refused", "refused with Retry-After", "", 0, ratio=False),
    Row("lost", "given up by the client, or failed", "", 0, ratio=False),
    Row("p50", "time to an answer, p50", "s", ratio=False),
    Row("max", "time to an answer, longest", "s", ratio=False),
    Row("refusal_max", "time to a refusal, longest", "s", 2, ratio=False),
    Row("useful", "time that went into answers in time", "%", 0, 100, ratio=False),
    Row("retry_after_p50", "Retry-After, p50", "s", ratio=False),
    Row("retry_after_max", "Retry-After, longest", "s", ratio=False),
    Row("admission_p50", "refusal to the next admission, p50", "s", ratio=False),
    Row("retry_error_p50", "Retry-After less that time, p50", "s", ratio=False),
    Row("retry_error_p95", "the same, without its sign, p95", "s", ratio=False),
    Row("retry_admitted", "retries after it that were let in", "%", 0, 100, ratio=False),
]
PREFILL = [
    Row("rate", "prefill of 256 tokens", "tokens/s"),
    Row("load", "start until the model is loaded", "s"),
    Row("rss", "peak memory", "GB", 2, 1e-9),
]


@dataclass
class Outcome:
    figures: dict[str, float | None]
    raw: Any


def is_ours(side: Side) -> bool:
    return side.name == OURS


async def ask(client: Client, side: Side, article: Article) -> Answer:
    if is_ours(side):
        return await client.whole(article.text, OUTPUT_TOKENS, wait=WAIT)
    return await client.whole(article.text, OUTPUT_TOKENS, give_up=PATIENCE)


def in_time(side: Side, answers: list[Answer]) -> list[Answer]:
    limit = IN_TIME if is_ours(side) else PATIENCE
    return [answer for answer in answers if answer.error is None and answer.latency <= limit]


async def one_client(side: Side, model: Path, articles: list[Article]) -> Outcome:
    async with running(side, model) as server:
        answers = [await ask(server.client, side, article) for article in articles]
        rss = server.service.peak_rss()
    good = in_time(side, answers)
    answered = [answer.latency for answer in answers if answer.error is None]
    finished = [answer for answer in good if answer.text.rstrip().endswith(SENTENCE_ENDS)]
    ends = Counter(answer.finish_reason or _short(answer) for answer in answers)
    print(f"one, {side.name}: {dict(ends)}", flush=True)
    figures = {
        "asked": len(answers),
        "in_time": len(good) / len(answers),
        "finished": len(finished) / len(answers),
        "p50": percentile(answered, 0.5),
        "max": max(answered, default=None),
        "condensed": sum(answer.condensed for answer in good) / len(good) if good else None,
        "tokens_p50": percentile([answer.tokens or 0 for answer in good], 0.5),
        "rss": rss,
    }
    return Outcome(figures, {"finish_reasons": ends, "answers": [answer.raw() for answer in answers]})


async def crowd(side: Side, model: Path, articles: list[Article], seconds: float) -> Outcome:
    async with running(side, model) as server:
        supply, end = cycle(articles), time.perf_counter() + seconds
        chains = await asyncio.gather(*(_one_of_many(server.client, side, supply, end) for _ in range(CROWD)))
    answers = [answer for chain in chains for answer in chain]
    good = in_time(side, answers)
    answered = [answer.latency for answer in answers if answer.error is None]
    refusals = [answer for answer in answers if answer.status == 503]
    ends = Counter(answer.finish_reason or _short(answer) for answer in answers)
    print(f"crowd, {side.name}: {dict(ends)}", flush=True)
    figures = {
        "in_time": len(good),
        "late": len(answered) - len(good),
        "refused": len(refusals),
        "lost": len(answers) - len(answered) - len(refusals),
        "p50": percentile(answered, 0.5),
        "max": max(answered, default=None),
        "refusal_max": max((answer.latency for answer in refusals), default=None),
        "useful": spans.useful_share(answers, good),
        **spans.retries(chains),
    }
    return Outcome(figures, [[answer.raw() for answer in chain] for chain in chains])


async def _one_of_many(client: Client, side: Side, supply: Iterator[Article], end: float) -> list[Answer]:
    chain: list[Answer] = []
    article = next(supply)
    while time.perf_counter() < end:
        answer = await ask(client, side, article)
        chain.append(answer)
        if answer.status == 503:
            await asyncio.sleep(answer.retry_after or DEFAULT_RETRY_SECONDS)
        else:
            article = next(supply)
    return chain


async def prefill(side: Side, model: Path, article: Article) -> Outcome:
    async with running(side, model) as server:
        answer = await server.client.stream(article.text, 1)
        figures: dict[str, float | None] = {"load": server.service.load_seconds, "rss": server.service.peak_rss()}
        # Both have read the opening of the prompt with the first request; a few tokens behind the article are left out.
        figures["rate"] = article.tokens / answer.first if answer.first else None
    return Outcome(figures, answer.raw())


def _short(answer: Answer) -> str:
    return (answer.error or "nothing")[:80]


class Run:
    """All parts of one run, with a table for each and everything in one file."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.model = options.model.resolve()
        self.sides = choose(options.sides, options.threads, CONTEXT_TOKENS)
        self.writer = Writer(self.model, SEED)
        self.raw: dict[str, Any] = {"model": self.model.name}

    async def run(self) -> None:
        for part in self.options.parts.split(","):
            await {"one": self.one, "crowd": self.crowd, "prefill": self.prefill}[part]()

    async def one(self) -> None:
        articles = [self.writer.article(ARTICLE_TOKENS) for _ in range(self.options.articles)]
        outcomes = {}
        for side in self.sides:
            few = articles if is_ours(side) else articles[: self.options.peer_articles]
            outcomes[side.name] = [await self.guarded(one_client(side, self.model, few))]
        self.report("one", "One client", ONE, outcomes)

    async def crowd(self) -> None:
        articles = [self.writer.article(ARTICLE_TOKENS) for _ in range(CROWD_ARTICLES)]
        seconds = self.options.crowd_seconds
        outcomes = {side.name: [await self.guarded(crowd(side, self.model, articles, seconds))] for side in self.sides}
        self.report("crowd", f"{CROWD} clients for {seconds:.0f} s", CROWD_ROWS, outcomes)

    async def prefill(self) -> None:
        pair = [side for side in self.sides if side.name in (OURS, BARE)]
        outcomes: dict[str, list[Outcome]] = {side.name: [] for side in pair}
        for number in range(self.options.rounds):
            article = self.writer.article(PREFILL_TOKENS)
            for side in in_turns(pair, number):
                outcomes[side.name].append(await self.guarded(prefill(side, self.model, article)))
        self.report("prefill", f"Reading, {self.options.rounds} rounds", PREFILL, outcomes)

    async def guarded(self, work: Any) -> Outcome:
        """A side that cannot be started, or breaks, is an empty column, with the reason printed and kept."""
        try:
            outcome: Outcome = await work
        except (RuntimeError, httpx.HTTPError) as error:
            print(f"    {error!r}", flush=True)
            return Outcome({}, repr(error))
        return outcome

    def report(self, part: str, title: str, rows: list[Row], outcomes: dict[str, list[Outcome]]) -> None:
        columns = {name: medians([outcome.figures for outcome in rounds]) for name, rounds in outcomes.items()}
        print(f"\n{title}\n\n{comparison(rows, columns, OURS)}\n", flush=True)
        self.raw[part] = {name: [vars(outcome) for outcome in rounds] for name, rounds in outcomes.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="What an 8B on few cores answers in time.")
    parser.add_argument("--articles", type=int, default=20)
    parser.add_argument("--peer-articles", type=int, default=4)
    parser.add_argument("--crowd-seconds", type=float, default=120.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--sides", help="comma-separated; all of them without it")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--threads", type=int, default=DEFAULT_THREADS)
    stop_cleanly()
    run = Run(parser.parse_args())
    asyncio.run(run.run())
    print(f"raw figures: {save('deadline', run.raw)}")


if __name__ == "__main__":
    main()
