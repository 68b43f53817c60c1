"""POST /audio beside two other services in front of the same cloud.

    python -m benchmarks.audio.compare [--rounds 3] [--only "factory,edge-tts stream"] [--article 3000] [--pace 8]

The cloud is the test suite's double: it answers a handshake after 200 ms and sends the sound of every turn eight times
as fast as it plays (`--pace`). The services stand side by side and are asked in turns; who is not asked is idle. Texts
are new, except where a recording is asked for again. A service's figure is the median over the rounds, in each of which
it is the median of several requests, or their p95.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from itertools import count

from benchmarks.audio.client import Answer, Connection, article, ask, ask_together, short
from benchmarks.audio.cloud import OPENING, Cloud
from benchmarks.audio.sides import NAMES, OURS, STREAM, running
from benchmarks.harness.folders import save
from benchmarks.harness.service import Service, stop_cleanly
from benchmarks.harness.statistics import medians, percentile
from benchmarks.harness.table import Row, comparison

HANDSHAKE_SECONDS = 0.2
WARM_UPS = 3
ALONE = 10
CLIENTS, CROWDS = 20, 3
REPEATS = {OURS: 50}
REPEATS_OF_PEERS = 3
# As many failures open the breaker.
FAILURES, DOWN = 3, 30
# Who speaks then, and how long it may take to be there.
LOCAL, LOADING_SECONDS = "piper", 30.0

in_ms = partial(Row, unit="ms", scale=1000.0)
ROWS = [
    in_ms("alone_first", "short text: first byte"),
    in_ms("alone_behind", "short text: first byte behind the cloud's first sound"),
    in_ms("alone_total", "short text: whole"),
    in_ms("article_first", "article: first byte"),
    Row("article_total", "article: whole", "s", 2),
    Row("article_relative", f"article: whole, as a share of {STREAM}", "", 2, ratio=False),
    in_ms("crowd_first", f"{CLIENTS} short texts at once: first byte, p50"),
    in_ms("crowd_behind_p50", f"{CLIENTS} short texts at once: first byte behind the cloud's first sound, p50"),
    in_ms("crowd_behind_p95", f"{CLIENTS} short texts at once: first byte behind the cloud's first sound, p95"),
    in_ms("crowd_total", f"{CLIENTS} short texts at once: whole, p50"),
    in_ms("crowd_cpu", f"{CLIENTS} short texts at once: CPU of the service per recording"),
    in_ms("repeat_total", "the same text again: whole, p50"),
    Row("down_whole", f"cloud away: recordings, of {DOWN}", "", 0, ratio=False),
    in_ms("down_first_p50", "cloud away: first byte of the other voice, p50"),
    in_ms("down_first_p95", "cloud away: first byte of the other voice, p95"),
    in_ms("down_error", "cloud away: error after, p50"),
]
TARGETS = {
    "article_relative": 0.75,
    "crowd_behind_p50": 0.015,
    "crowd_behind_p95": 0.040,
    "repeat_total": 0.005,
    "down_first_p50": 0.350,
    "down_first_p95": 0.600,
}

Answers = Mapping[str, Sequence[Answer]]


class Comparison:
    """Asks all services for the same and keeps the figures of a round by service."""

    def __init__(self, cloud: Cloud, services: Mapping[str, Service], article_characters: int) -> None:
        self._cloud = cloud
        self._services = services
        self._article_characters = article_characters
        self._numbers = count(1)
        self.bad: Counter[str] = Counter()
        self.figures: list[dict[str, dict[str, float | None]]] = []
        self.raw: list[dict[str, object]] = []

    async def round(self) -> None:
        self.figures.append({name: {} for name in self._services})
        await self._alone()
        await self._article()
        await self._crowd()
        await self._repeat()
        await self._down()

    async def warm_up(self) -> None:
        for service in self._services.values():
            for _ in range(WARM_UPS):
                await ask(service.port, self._short())

    async def _alone(self) -> None:
        asked: dict[str, list[Answer]] = {name: [] for name in self._services}
        for _ in range(ALONE):
            for name, service in self._services.items():
                asked[name].append(await ask(service.port, self._short()))
        for name, answers in self._whole("alone", asked).items():
            self._add(name, "alone_first", [answer.first_byte for answer in answers])
            self._add(name, "alone_behind", [answer.behind for answer in answers])
            self._add(name, "alone_total", [answer.total for answer in answers])

    async def _article(self) -> None:
        asked = {}
        for name, service in self._services.items():
            asked[name] = [await ask(service.port, article(next(self._numbers), self._article_characters))]
        whole = self._whole("article", asked)
        for name, answers in whole.items():
            self._add(name, "article_first", [answer.first_byte for answer in answers])
            self._add(name, "article_total", [answer.total for answer in answers])
            beside = [answer.total for answer in whole.get(STREAM, ())]
            self._add(name, "article_relative", [a.total / b for a, b in zip(answers, beside, strict=False)])

    async def _crowd(self) -> None:
        asked: dict[str, list[Answer]] = {name: [] for name in self._services}
        cpu = dict.fromkeys(self._services, 0.0)
        for _ in range(CROWDS):
            for name, service in self._services.items():
                before = service.cpu_seconds()
                asked[name] += await ask_together(service.port, [self._short() for _ in range(CLIENTS)])
                cpu[name] += service.cpu_seconds() - before
        for name, answers in self._whole("crowd", asked).items():
            self._add(name, "crowd_first", [answer.first_byte for answer in answers])
            self._add(name, "crowd_behind_p50", [answer.behind for answer in answers])
            self._add(name, "crowd_behind_p95", [answer.behind for answer in answers], 0.95)
            self._add(name, "crowd_total", [answer.total for answer in answers])
            self._add(name, "crowd_cpu", [cpu[name] / (CROWDS * CLIENTS)])

    async def _repeat(self) -> None:
        asked = {}
        for name, service in self._services.items():
            connection = await Connection.open(service.port)
            text = self._short()
            answers = [await connection.hear(text) for _ in range(1 + REPEATS.get(name, REPEATS_OF_PEERS))]
            asked[name] = answers[1:]
            connection.close()
        for name, answers in self._whole("repeat", asked).items():
            self._add(name, "repeat_total", [answer.total for answer in answers])

    async def _down(self) -> None:
        """With services that were started just now and have met no other cloud than one where nothing listens."""
        asked = {}
        for name in self._services:
            with running(name, self._cloud.dead_url, log_suffix="-away") as service:
                for _ in range(FAILURES):
                    await ask(service.port, self._short())
                if name == OURS:
                    await self._until_piper_speaks(service)
                asked[name] = [await ask(service.port, self._short()) for _ in range(DOWN)]
        for name, answers in asked.items():
            whole = [answer for answer in answers if answer.problem(LOCAL) is None]
            failed = [answer for answer in answers if answer not in whole]
            self.figures[-1][name]["down_whole"] = len(whole)
            self._add(name, "down_first_p50", [answer.first_byte for answer in whole])
            self._add(name, "down_first_p95", [answer.first_byte for answer in whole], 0.95)
            self._add(name, "down_error", [answer.total for answer in failed])
            self.bad.update(f"{name}, cloud away: {answer.problem(LOCAL)}" for answer in failed)
        self._keep("down", asked)

    async def _until_piper_speaks(self, service: Service) -> None:
        """The voice is loaded when it is first needed."""
        until = time.monotonic() + LOADING_SECONDS
        while (await ask(service.port, self._short())).engine != LOCAL and time.monotonic() < until:
            await asyncio.sleep(0.2)

    def _short(self) -> str:
        return short(next(self._numbers))

    def _whole(self, what: str, asked: Answers) -> dict[str, list[Answer]]:
        """The answers that are whole, with the time of the cloud's first sound; counts the others."""
        first_sent_at = self._cloud.tell(forget=True).first_sent_at
        for name, answers in asked.items():
            for answer in answers:
                answer.cloud_first = first_sent_at.get(answer.text[:OPENING])
                if problem := answer.problem():
                    self.bad[f"{name}, {what}: {problem}"] += 1
        self._keep(what, asked)
        return {name: [answer for answer in answers if not answer.problem()] for name, answers in asked.items()}

    def _keep(self, what: str, asked: Answers) -> None:
        found = {name: [asdict(answer) for answer in answers] for name, answers in asked.items()}
        self.raw.append({"round": len(self.figures), "what": what, "answers": found})

    def _add(self, name: str, key: str, values: Sequence[float], share: float = 0.5) -> None:
        self.figures[-1][name][key] = percentile(values, share)


async def compare(names: Sequence[str], rounds: int, article_characters: int, pace: float) -> Comparison:
    with Cloud(handshake_seconds=HANDSHAKE_SECONDS, pace=pace) as cloud, ExitStack() as stack:
        services = {name: stack.enter_context(running(name, cloud.url)) for name in names}
        compared = Comparison(cloud, services, article_characters)
        await compared.warm_up()
        for number in range(rounds):
            await compared.round()
            print(f"round {number + 1} of {rounds} is done", file=sys.stderr)
    return compared


def targets(ours: Mapping[str, float | None]) -> list[str]:
    lines = []
    for row in ROWS:
        most, value = TARGETS.get(row.key), ours.get(row.key)
        if most is not None and value is not None:
            verdict = "met" if value <= most else "MISSED"
            shown, limit = (f"{number * row.scale:.{row.digits}f} {row.unit}".strip() for number in (value, most))
            lines.append(f"- {verdict}: {row.label}: {shown}, at most {limit}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="POST /audio beside two other services on the same cloud.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help=f"comma-separated, of {', '.join(map(repr, NAMES))}")
    parser.add_argument("--article", type=int, default=3000, help="characters of the article")
    parser.add_argument("--pace", type=float, default=8.0, help="of the cloud: times real time, 0 for no limit")
    options = parser.parse_args()
    names = tuple(name.strip() for name in options.only.split(",")) if options.only else NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    stop_cleanly()
    found = asyncio.run(compare(names, options.rounds, options.article, options.pace))
    columns = {name: medians([figures[name] for figures in found.figures]) for name in names}
    print(comparison(ROWS, columns, OURS))
    if OURS in columns:
        print("\n" + "\n".join(targets(columns[OURS])))
    for problem, times in sorted(found.bad.items()):
        print(f"- {times} x {problem}")
    print(f"\nraw figures: {save('audio', {'figures': found.figures, 'bad': found.bad, 'rounds': found.raw})}")


if __name__ == "__main__":
    main()
