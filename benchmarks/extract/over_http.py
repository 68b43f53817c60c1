"""POST /extract over HTTP: this service, and one with the `gliner` package inside.

    python -m benchmarks.extract.over_http [--rounds 3]

The two processes take turns; the one that is not asked is idle. One client asks for one text after another; then eight
ask at the same time for short texts. Each text is new.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import httpx

from benchmarks.extract.compare import LABELS, MODEL, PYTHONS, text
from benchmarks.summarize.report import percentile
from benchmarks.summarize.sides import ROOT

PORTS = {"factory": 7871, "gliner": 7872}
LENGTHS = (20, 80, 200, 370)
ALONE, TOGETHER, CLIENTS, SHORT = 5, 48, 8, (20, 60)


def commands(model: Path) -> dict[str, list[str]]:
    return {
        "factory": [str(PYTHONS["factory"]), "local_runner.py"],
        "gliner": [str(PYTHONS["gliner"]), "benchmarks/extract/peers/http_gliner.py", str(model), str(PORTS["gliner"])],
    }


def environment(model: Path) -> dict[str, str]:
    return os.environ | {
        "HF_HUB_OFFLINE": "1",
        "FACTORY_HOST": "127.0.0.1",
        "FACTORY_PORT": str(PORTS["factory"]),
        "FACTORY_LOG_LEVEL": "WARNING",
        "FACTORY_EXTRACT__MODEL": str(model),
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


async def measure(rounds: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[float]]] = {name: {} for name in PORTS}
    random = Random(7)

    def add(name: str, what: str, value: float | None) -> None:
        found[name].setdefault(what, []).append(value or 0.0)

    clients = {
        name: httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=300) for name, port in PORTS.items()
    }
    for http in clients.values():
        await until_ready(http)
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


async def until_ready(http: httpx.AsyncClient) -> None:
    for _ in range(600):
        try:
            await http.get("/health")
            return
        except httpx.TransportError:
            await asyncio.sleep(0.2)
    sys.exit("a side did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description="POST /extract over HTTP beside a service around gliner.")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    started = [
        subprocess.Popen(command, cwd=ROOT, env=environment(options.model))
        for command in commands(options.model).values()
    ]
    try:
        found = asyncio.run(measure(options.rounds))
    finally:
        for process in started:
            process.terminate()
            process.wait(20)
    print("| | factory | gliner in FastAPI | ratio |\n| --- | ---: | ---: | ---: |")
    for what, ours in found["factory"].items():
        theirs = found["gliner"][what]
        ratio = ours / theirs if "second" in what else theirs / ours
        print(f"| {what} | {ours:.1f} | {theirs:.1f} | {ratio:.2f}x |")


if __name__ == "__main__":
    main()
