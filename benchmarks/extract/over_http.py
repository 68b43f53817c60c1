"""POST /extract over HTTP: this service, and one with the `gliner` package inside.

    python -m benchmarks.extract.over_http [--rounds 3]

The two processes take turns; the one that is not asked is idle. One client asks for one text after another; then eight
ask at the same time for short texts. Each text is new.
"""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

import httpx

from benchmarks.extract.compare import LABELS, MODEL, PYTHONS, text
from benchmarks.harness.folders import LOGS
from benchmarks.harness.service import Program, answers, factory, peer, run
from benchmarks.harness.statistics import percentile
from benchmarks.harness.table import table
from tests.doubles import lead_model

LENGTHS = (20, 80, 200, 370)
ALONE, TOGETHER, CLIENTS, SHORT = 5, 48, 8, (20, 60)


def programs(model: Path) -> dict[str, Program]:
    settings = lead_model.SETTINGS | {"LOG_LEVEL": "WARNING", "EXTRACT__MODEL": model}
    gliner = [str(PYTHONS["gliner"]), "benchmarks/extract/peers/http_gliner.py", str(model)]
    return {
        "factory": factory(settings, python=str(PYTHONS["factory"])),
        "gliner": peer(lambda port: [*gliner, str(port)]),
    }


async def ask(http: httpx.AsyncClient, sample: str) -> float:
    begun = time.perf_counter()
    answer = await http.post("/extract", json={"text": sample, "labels": LABELS})
    answer.raise_for_status()
    return time.perf_counter() - begun


async def together(http: httpx.AsyncClient, samples: Sequence[str]) -> tuple[float, list[float]]:
    """Seconds for all, and for each."""
    waiting = list(samples)
    seconds: list[float] = []

    async def client() -> None:
        while waiting:
            seconds.append(await ask(http, waiting.pop()))

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return time.perf_counter() - begun, seconds


async def measure(urls: Mapping[str, str], rounds: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[float]]] = {name: {} for name in urls}
    random = Random(7)

    def add(name: str, what: str, value: float | None) -> None:
        found[name].setdefault(what, []).append(value or 0.0)

    clients = {name: httpx.AsyncClient(base_url=url, timeout=300) for name, url in urls.items()}
    for http in clients.values():
        await ask(http, text(random, 30))
    for _ in range(rounds):
        for words in LENGTHS:
            samples = [text(random, words) for _ in range(ALONE)]
            for name, http in clients.items():
                times = [await ask(http, sample) for sample in samples]
                add(name, f"{words} words, one client, ms", statistics.median(times) * 1000)
        samples = [text(random, random.randint(*SHORT)) for _ in range(TOGETHER)]
        for name, http in clients.items():
            total, times = await together(http, samples)
            add(name, f"{CLIENTS} clients, {SHORT[0]} to {SHORT[1]} words: texts a second", TOGETHER / total)
            add(name, f"{CLIENTS} clients: p95, ms", (percentile(times, 0.95) or 0) * 1000)
    return {name: {what: statistics.median(values) for what, values in each.items()} for name, each in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="POST /extract over HTTP beside a service around gliner.")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with ExitStack() as stack:
        urls = {}
        for name, program in programs(options.model).items():
            log = LOGS / f"extract-over-http-{name}.log"
            urls[name] = stack.enter_context(run(program, log, ready=answers)).url
        found = asyncio.run(measure(urls, options.rounds))
    rows = []
    for what, ours in found["factory"].items():
        theirs = found["gliner"][what]
        ratio = ours / theirs if "second" in what else theirs / ours
        rows.append([what, f"{ours:.1f}", f"{theirs:.1f}", f"{ratio:.2f}x"])
    print(table(["", "factory", "gliner in FastAPI", "ratio"], rows))


if __name__ == "__main__":
    main()
