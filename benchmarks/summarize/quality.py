"""How faithful summaries are, and how much of what matters they have: any model, any `Prefer: wait`.

    python -m benchmarks.summarize.quality [--model PATH_OR_PRESET] [--adapter PATH] [--wait 2] [--instruction "..."]
    python -m benchmarks.summarize.quality --url http://127.0.0.1:7860
    python -m benchmarks.summarize.quality --held-back --side "bare: adapter=none" --side "wait 2 s: wait=2"
    python -m benchmarks.summarize.quality --take 60 --wordings benchmarks/summarize/wordings.txt

A side is a name and, behind a colon, what differs from the options: model, adapter, wait, instruction, url, or a
setting by its name (SUMMARIZE__LEAD_SHARE=0.5). Each is a service of its own. The articles, with a reference summary
each, are those of training/news/news.jsonl, asked one after another at temperature 0. `support` is the share of what
the summaries say that the articles have; the opening beside a side has, article by article, as many words as the
side's summary.
"""

import argparse
import asyncio
import json
import shlex
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from benchmarks.harness.folders import CACHE, save
from benchmarks.harness.service import factory, stop_cleanly
from benchmarks.harness.table import Row, comparison
from benchmarks.summarize import scores
from benchmarks.summarize.client import Answer, Client
from benchmarks.summarize.scores import Score
from benchmarks.summarize.server import running
from benchmarks.summarize.sides import Side
from training.news import split

OPENING = "opening"
WORST_SHOWN = 3
ROWS = [
    Row("answers", "answers", "", 0),
    Row("errors", "errors", "", 0),
    Row("numbers", "support: numbers", "%", 1, 100),
    Row("names", "support: names", "%", 1, 100),
    Row("content", "support: content words", "%", 1, 100),
    Row("recall", "recall of the reference's content words", "", 3),
    Row("opening", "the same of an opening as long", "", 3),
    Row("words", "words, p50", "", 0),
    Row("finished", "ends with a finished sentence", "%", 1, 100),
    Row("length", "25 to 90 words", "%", 1, 100),
    Row("repeated", "repeated 4-grams", "%", 2, 100),
    Row("condensed", "condensed", "%", 0, 100),
    Row("first", "first token p50", "s", 2),
    Row("answer", "answer p50", "s", 2),
]


@dataclass(frozen=True)
class Configuration:
    """A service and how it is asked. Without `url` it is started with `settings`."""

    name: str
    wait: float | None = None
    url: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict)


def changed(base: Configuration, name: str, changes: Sequence[str]) -> Configuration:
    """`base` with each `key=value`; an empty value takes an option's away. Ends the run at what is none."""
    side = replace(base, name=name)
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            sys.exit(f"--side {name}: {change!r} is not key=value")
        if key == "wait":
            side = replace(side, wait=_seconds(name, value) if value else None)
        elif key == "url":
            side = replace(side, url=value or None)
        elif key in ("model", "adapter", "instruction"):
            side = replace(side, settings=_with(side.settings, f"SUMMARIZE__{key.upper()}", value))
        elif key.isupper():
            side = replace(side, settings=_with(side.settings, key, value))
        else:
            sys.exit(f"--side {name}: there is no {key!r}")
    return side


def _seconds(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        sys.exit(f"--side {name}: wait={value} is no number of seconds")


def _with(settings: Mapping[str, object], name: str, value: str) -> dict[str, object]:
    others = {key: other for key, other in settings.items() if key != name}
    return {**others, name: Path(value).resolve() if Path(value).is_file() else value} if value else others


def configurations(options: argparse.Namespace) -> list[Configuration]:
    given = {name: getattr(options, name) for name in ("model", "adapter", "instruction", "wait", "url")}
    changes = [f"{name}={value}" for name, value in given.items() if value is not None]
    base = changed(Configuration("summary"), "summary", changes)
    if options.wordings:
        wordings = options.wordings.read_text(encoding="utf-8").splitlines()
        return [
            changed(base, f"wording {number}", [f"instruction={wording}"]) for number, wording in enumerate(wordings, 1)
        ]
    parted = [side.partition(":") for side in options.side]
    return [changed(base, name.strip(), shlex.split(changes)) for name, _, changes in parted] or [base]


@asynccontextmanager
async def served(side: Configuration) -> AsyncIterator[Client]:
    if side.url:
        async with httpx.AsyncClient(base_url=side.url, timeout=None) as http:
            yield Client(http, "factory")
        return
    always = {
        "PROFILE": "embedded",
        "WARM_UP": True,
        "LOG_LEVEL": "WARNING",
        "SUMMARIZE__ANSWER_CACHE_BYTES": 0,
        "SUMMARIZE__DEADLINE_SECONDS": "none",
        "SUMMARIZE__CACHE_FOLDER": CACHE / "factory",
    }
    program = factory({**always, **side.settings})
    async with running(Side(f"quality {side.name}", "factory", lambda *_: program), Path()) as service:
        yield service.client


async def ask(
    side: Configuration, articles: Sequence[Mapping[str, Any]], options: argparse.Namespace
) -> list[tuple[Mapping[str, Any], Answer]]:
    answered = []
    async with served(side) as client:
        for number, article in enumerate(articles, 1):
            answer = await client.whole(
                article["text"], options.max_tokens, wait=side.wait, give_up=options.give_up_seconds
            )
            answered.append((article, answer))
            if answer.error:
                print(f"{side.name}, {article['id']}: {answer.error}", flush=True)
            elif number % 20 == 0:
                print(f"{side.name}: {number} of {len(articles)}", flush=True)
    return answered


def scored(article: Mapping[str, Any], answer: Answer) -> Score:
    phases = answer.phases
    return scores.score(
        article["id"],
        article["text"],
        article["summary"],
        answer.text,
        stopped=answer.finish_reason == "stop",
        condensed=answer.condensed,
        seconds=answer.latency,
        first_seconds=(phases["queue"] + phases["prefill"]) / 1000 if {"queue", "prefill"} <= phases.keys() else None,
    )


def chosen(options: argparse.Namespace) -> list[dict[str, Any]]:
    lines = options.articles.read_text(encoding="utf-8").splitlines()
    articles = [json.loads(line) for line in lines]
    if options.held_back:
        kept = set(split.of_news())
        articles = [article for article in articles if article["id"] in kept]
    take = min(options.take or len(articles), len(articles))
    return [articles[number * len(articles) // take] for number in range(take)]


def show(name: str, found: Sequence[Score], count: int) -> None:
    """The worst in full, and others spread evenly over the rest."""
    order = sorted(found, key=lambda score: (-len(score.unsupported), score.recall))
    rest = order[WORST_SHOWN:]
    others = min(len(rest), max(0, count - WORST_SHOWN))
    for score in [*order[: min(count, WORST_SHOWN)], *(rest[k * len(rest) // others] for k in range(others))]:
        unsupported = f"; not in the article: {', '.join(score.unsupported)}" if score.unsupported else ""
        print(f"\n**{name}, {score.article}**, recall {score.recall:.2f}{unsupported}")
        print(f"\n> {' '.join(score.summary.split())}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Support, recall, length and speed of summaries.")
    parser.add_argument("--url", help="of a service that runs already")
    parser.add_argument("--model", help="a path or a preset; unset: the embedded one")
    parser.add_argument("--adapter", help="SUMMARIZE__ADAPTER")
    parser.add_argument("--instruction", help="SUMMARIZE__INSTRUCTION")
    parser.add_argument("--wait", type=float, help="seconds of `Prefer: wait`")
    parser.add_argument("--side", action="append", default=[], help='"NAME: key=value ..", several times')
    parser.add_argument("--wordings", type=Path, help="a file with an instruction a line, each of which is a side")
    parser.add_argument("--articles", type=Path, default=split.NEWS, help="JSON lines with id, text and summary")
    parser.add_argument("--held-back", action="store_true", help="only those that no training learns from")
    parser.add_argument("--take", type=int, help="so many of the articles, spread evenly")
    parser.add_argument("--max-tokens", type=int, default=150)
    parser.add_argument("--give-up-seconds", type=float, default=120.0)
    parser.add_argument("--show", type=int, default=0, help="so many summaries in full, the worst three among them")
    return parser.parse_args()


def main() -> None:
    stop_cleanly()
    options = arguments()
    articles, sides = chosen(options), configurations(options)
    found: dict[str, list[Score]] = {}
    columns = {OPENING: scores.figures([scores.of_opening(article) for article in articles], 0)}
    for side in sides:
        answered = asyncio.run(ask(side, articles, options))
        found[side.name] = [scored(article, answer) for article, answer in answered if not answer.error]
        columns[side.name] = scores.figures(found[side.name], len(answered) - len(found[side.name]))
    print(f"\n{len(articles)} articles; the opening has as many words as the reference.\n")
    print(comparison(ROWS, columns, ""))
    for name, side_scores in found.items():
        show(name, side_scores, options.show)
    raw = {name: [asdict(score) for score in side_scores] for name, side_scores in found.items()}
    print(
        f"\nraw figures: {save('quality', {'sides': [side.name for side in sides], 'figures': columns, 'scores': raw})}"
    )


if __name__ == "__main__":
    main()
