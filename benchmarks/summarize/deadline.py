"""An 8B on two cores and clients that do not wait: what is answered in time.

    python -m benchmarks.summarize.deadline [--articles 20] [--peer-articles 4] [--crowd-seconds 120] [--rounds 3]
        [--parts one,crowd,desk,fair,start,prefill] [--sides a,b] [--model PATH] [--stand-in PATH] [--threads 2]

- `one`: articles of 900 tokens, 150 tokens of summary, one client. The service is told `Prefer: wait=28` and has 28.5
  seconds; the peers know no such thing: their client goes away after 30 seconds, and sends the next article.
- `crowd`: eight clients at once for two minutes, the same way. Where it is refused with 503, a client sleeps
  `Retry-After` and tries again; on an answer, and after 30 seconds without one, it takes the next article. Each client
  of ours keeps its connection. `--picture FILE` draws the first minute of our last side.
- `desk`: 12 articles a minute of 300 to 900 tokens, arriving evenly for three minutes.
- `fair`: the crowd for five minutes, ours only: who got how many answers.
- `start`: ours only, with nothing on the disk and a hub on the loopback that sends 40 MB/s: when is the first answer?
- `prefill`: the service and `Llama()` in turns, `--rounds` times: start, and the time to the first token of an article
  of 256 tokens.

A side is started anew for each part.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from benchmarks.harness.folders import MODELS, save
from benchmarks.harness.machine import cpu
from benchmarks.harness.service import stop_cleanly
from benchmarks.harness.statistics import in_turns, medians, percentile
from benchmarks.harness.table import Row, comparison
from benchmarks.summarize import crowds, desk, picture, start
from benchmarks.summarize.articles import Article, Writer
from benchmarks.summarize.outcomes import Outcome, ask, by_stand_in, ends, in_time, writers
from benchmarks.summarize.reading import frames_of, mean_read, tiny
from benchmarks.summarize.server import running
from benchmarks.summarize.sides import BARE, DEFAULT_THREADS, OURS, Side, choose

MODEL, STAND_IN = MODELS / "llama-8b.gguf", MODELS / "llama-1b.gguf"
SEED = 8
CONTEXT_TOKENS = 4096
ARTICLE_TOKENS, OUTPUT_TOKENS = 900, 150
PREFILL_TOKENS = 256
SENTENCE_ENDS = tuple(".!?\"”’'»")

ONE = [
    Row("asked", "articles", "", 0, ratio=False),
    Row("in_time", "answered in time", "%", 0, 100, ratio=False),
    Row("finished", "in time and ending with a finished sentence", "%", 0, 100, ratio=False),
    Row("p50", "time to the answer, p50", "s", ratio=False),
    Row("max", "time to the answer, longest", "s", ratio=False),
    Row("condensed", "condensed, of those in time", "%", 0, 100, ratio=False),
    Row("read", "share of the article's tokens that the writer read, mean", "%", 0, 100, ratio=False),
    Row("stand_in", "answers by the stand-in", "", 0, ratio=False),
    Row("tokens_p50", "tokens of the answers, p50", "", 0, ratio=False),
    Row("rss", "peak memory", "GB", 2, 1e-9),
]
PREFILL = [
    Row("rate", "prefill of 256 tokens", "tokens/s"),
    Row("load", "start until the model is loaded", "s"),
    Row("rss", "peak memory", "GB", 2, 1e-9),
]


async def one_client(side: Side, model: Path, articles: list[Article]) -> Outcome:
    async with running(side, model) as server:
        small = await tiny(server, side, OUTPUT_TOKENS)
        answers = [await ask(server.client, side, article.text, OUTPUT_TOKENS) for article in articles]
        rss = server.service.peak_rss()
    good = in_time(side, answers)
    answered = [answer.latency for answer in answers if answer.error is None]
    finished = [answer for answer in good if answer.text.rstrip().endswith(SENTENCE_ENDS)]
    print(f"one, {side.name}: {dict(ends(answers))}, {dict(writers(answers))}", flush=True)
    figures = {
        "asked": len(answers),
        "in_time": len(good) / len(answers),
        "finished": len(finished) / len(answers),
        "p50": percentile(answered, 0.5),
        "max": max(answered, default=None),
        "condensed": sum(answer.condensed for answer in good) / len(good) if good else None,
        "read": mean_read(good, frames_of(small, answers)),
        "stand_in": by_stand_in(answers, model.stem),
        "tokens_p50": percentile([answer.tokens or 0 for answer in good], 0.5),
        "rss": rss,
    }
    return Outcome(figures, {"finish_reasons": ends(answers), "answers": [answer.raw() for answer in answers]})


async def prefill(side: Side, model: Path, article: Article) -> Outcome:
    async with running(side, model) as server:
        answer = await server.client.stream(article.text, 1)
        figures: dict[str, float | None] = {"load": server.service.load_seconds, "rss": server.service.peak_rss()}
        # Both have read the opening of the prompt with the first request; a few tokens behind the article are left out.
        figures["rate"] = article.tokens / answer.first if answer.first else None
    return Outcome(figures, answer.raw())


class Run:
    """All parts of one run, with a table for each and everything in one file."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.model = options.model.resolve()
        self.stand_in = None if options.stand_in.name == "none" else options.stand_in.resolve()
        self.sides = choose(options.sides, options.threads, CONTEXT_TOKENS, self.stand_in)
        self.ours = [side for side in self.sides if side.is_ours]
        self.writer = Writer(self.model, SEED)
        self.raw: dict[str, Any] = {"model": self.model.name, "cpu": cpu()}
        self.parts: dict[str, Callable[[], Awaitable[None]]] = {
            "one": self.one,
            "crowd": self.crowd,
            "desk": self.desk,
            "fair": self.fair,
            "start": self.start,
            "prefill": self.prefill,
        }

    async def run(self) -> None:
        print(cpu(), flush=True)
        for part in self.options.parts.split(",") if self.options.parts else self.parts:
            await self.parts[part]()

    async def one(self) -> None:
        articles = [self.writer.article(ARTICLE_TOKENS) for _ in range(self.options.articles)]
        outcomes = {}
        for side in self.sides:
            few = articles if side.is_ours else articles[: self.options.peer_articles]
            outcomes[side.name] = [await self.guarded(one_client(side, self.model, few))]
        self.report("one", "One client", ONE, outcomes)

    async def crowd(self) -> None:
        seconds = self.options.crowd_seconds
        outcomes = await self.crowds(self.sides, seconds, self.options.picture)
        self.report("crowd", f"{crowds.CLIENTS} clients for {seconds:.0f} s", crowds.ROWS, outcomes)

    async def fair(self) -> None:
        seconds = self.options.fair_seconds
        outcomes = await self.crowds(self.ours, seconds)
        title = f"{crowds.CLIENTS} clients that come back when they are told, for {seconds:.0f} s"
        self.report("fair", title, crowds.ANSWERS, outcomes)

    async def crowds(self, sides: list[Side], seconds: float, drawn: Path | None = None) -> dict[str, list[Outcome]]:
        articles = [self.writer.article(ARTICLE_TOKENS) for _ in range(crowds.ARTICLES)]
        outcomes: dict[str, list[Outcome]] = {}
        for side in sides:
            work = crowds.crowd(side, self.model, articles, OUTPUT_TOKENS, seconds)
            outcomes[side.name] = [outcome := await self.guarded(work)]
            if drawn and side is self.ours[-1] and outcome.chains:
                drawn.write_text(picture.crowd(outcome.chains, self.model.stem), encoding="utf-8")
        return outcomes

    async def desk(self) -> None:
        schedule = desk.arrivals(self.options.desk_seconds, SEED)
        articles = [self.writer.article(arrival.tokens) for arrival in schedule]
        outcomes = {
            side.name: [await self.guarded(desk.desk(side, self.model, schedule, articles, OUTPUT_TOKENS))]
            for side in self.sides
        }
        title = f"{desk.A_MINUTE} articles a minute for {self.options.desk_seconds:.0f} s"
        self.report("desk", title, desk.ROWS, outcomes)

    async def start(self) -> None:
        files = [self.model] if self.stand_in is None else [self.model, self.stand_in]
        article = self.writer.article(desk.SHORTEST)
        with start.hub(files, self.options.pace) as endpoint:
            outcomes = {
                side.name: [await self.guarded(start.empty(side, self.model, self.stand_in, endpoint, article.text))]
                for side in self.ours
            }
        title = f"An empty start, with a hub that sends {self.options.pace / 1e6:.0f} MB/s"
        self.report("start", title, start.rows(), outcomes)

    async def prefill(self) -> None:
        pair = [side for side in self.sides if side.name in (OURS, BARE)]
        outcomes: dict[str, list[Outcome]] = {side.name: [] for side in pair}
        for number in range(self.options.rounds):
            article = self.writer.article(PREFILL_TOKENS)
            for side in in_turns(pair, number):
                outcomes[side.name].append(await self.guarded(prefill(side, self.model, article)))
        self.report("prefill", f"Reading, {self.options.rounds} rounds", PREFILL, outcomes)

    async def guarded(self, work: Awaitable[Outcome]) -> Outcome:
        """A side that cannot be started, or breaks, is an empty column, with the reason printed and kept."""
        try:
            return await work
        except (RuntimeError, httpx.HTTPError) as error:
            print(f"    {error!r}", flush=True)
            return Outcome({}, repr(error))

    def report(self, part: str, title: str, rows: list[Row], outcomes: dict[str, list[Outcome]]) -> None:
        columns = {name: medians([outcome.figures for outcome in rounds]) for name, rounds in outcomes.items()}
        print(f"\n{title}\n\n{comparison(rows, columns, OURS)}\n", flush=True)
        self.raw[part] = {
            name: [{"figures": outcome.figures, "raw": outcome.raw} for outcome in rounds]
            for name, rounds in outcomes.items()
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="What an 8B on few cores answers in time.")
    parser.add_argument("--articles", type=int, default=20)
    parser.add_argument("--peer-articles", type=int, default=4)
    parser.add_argument("--crowd-seconds", type=float, default=120.0)
    parser.add_argument("--desk-seconds", type=float, default=desk.SECONDS)
    parser.add_argument("--fair-seconds", type=float, default=300.0)
    parser.add_argument("--pace", type=float, default=40e6, help="bytes a second of the hub")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", help="comma-separated; all of them without it")
    parser.add_argument("--sides", help="comma-separated; all of them without it")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--stand-in", type=Path, default=STAND_IN, help="none: only the service by itself")
    parser.add_argument("--picture", type=Path, help="of a minute of the crowd, as SVG")
    parser.add_argument("--threads", type=int, default=DEFAULT_THREADS)
    stop_cleanly()
    run = Run(parser.parse_args())
    asyncio.run(run.run())
    print(f"raw figures: {save('deadline', run.raw)}")


if __name__ == "__main__":
    main()
