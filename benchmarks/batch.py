"""`python -m batch` beside a loop of curl and beside what the engine can do; its memory over a large corpus.

    python -m benchmarks.batch [--articles 1000] [--sample 100] [--do summarize --do extract] [--parts speed,memory]

The articles are those of training/news/news.jsonl, repeated with other ids and another last sentence, so that no answer
is one that was kept. `--sample` is how many of them the loop of curl and each fixed number of clients are given: they
do the same all the time. All have the embedded models; batch and the services are never there at the same time.
"""

import argparse
import asyncio
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.harness import machine, service, wire
from benchmarks.harness.folders import LOGS, ROOT, save
from benchmarks.harness.table import table

NEWS = ROOT / "training/news/news.jsonl"
CLIENTS = "1,4,8,16"
LOOP = 'while IFS= read -r body; do curl -sf "$0" -H "Content-Type: application/json" -d "$body" -o /dev/null; done'
FUNCTIONS = "summarize,extract"
LARGE_CORPUS, SAMPLES = 100_000, 10
SECONDS_BETWEEN_LOOKS = 0.5
MEGABYTE = 1_000_000


def articles(number: int, side: str) -> Iterator[dict[str, str]]:
    """So many, no two of them equal, nor one of another side's."""
    lines = NEWS.read_text(encoding="utf-8").splitlines()
    for index, line in zip(range(number), itertools.cycle(lines), strict=False):
        text = f"{json.loads(line)['text']}\n\nThis is number {index} of {side}."
        yield {"id": f"{side}-{index}", "text": text}


def by_batch(number: int, do: str, folder: Path, *options: str, side: str = "batch") -> tuple[float, str]:
    """Articles a minute of a whole run, its start and the loading of its models among it; and its summary."""
    source, out = folder / f"{side}-{do}.jsonl", folder / f"{side}-{do}-out.jsonl"
    write(source, articles(number, f"{side}-{do}"))
    begun = time.perf_counter()
    ran = subprocess.run(command(source, out, do, *options), cwd=ROOT, env=variables(), capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    summary = ran.stderr.replace("\r", "\n").strip().splitlines()[-1]
    if ran.returncode:
        raise RuntimeError(f"batch ended with {ran.returncode}: {summary}")
    return 60 * number / seconds, summary


def by_curl(number: int, do: str, url: str, folder: Path) -> float:
    """Articles a minute of a loop in a shell, one call after another."""
    seconds = 0.0
    for function in do.split(","):
        bodies = folder / f"curl-{function}"
        write(bodies, ({"text": one["text"]} for one in articles(number, f"curl-{do}")))
        begun = time.perf_counter()
        with bodies.open("rb") as file:
            subprocess.run(["bash", "-ec", LOOP, f"{url}/{function}"], stdin=file, check=True)
        seconds += time.perf_counter() - begun
    return 60 * number / seconds


async def by_clients(number: int, do: str, port: int, clients: int) -> float:
    """Articles a minute of so many connections, each of which always has a call at work."""
    waiting = list(articles(number, f"{clients}-{do}"))

    async def client() -> None:
        connection = await wire.KeptAlive.open(port)
        try:
            while waiting:
                text = waiting.pop()["text"]
                for function in do.split(","):
                    reply = await connection.ask(wire.request(f"/{function}", {"text": text}, keep_alive=True))
                    if reply.status != 200:
                        raise RuntimeError(f"/{function} answers {reply.status}")
        finally:
            connection.close()

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return 60 * number / (time.perf_counter() - begun)


def _rate_of_batch(number: int, do: str, folder: Path, *options: str) -> float:
    return by_batch(number, do, folder, *options, side="served")[0]


@dataclass(frozen=True)
class Figure:
    """Articles a minute, and the CPU seconds of the engine's process for each: these say more on a busy machine."""

    rate: float
    cpu_seconds: float


def of_service(number: int, running: service.Service, work: Callable[[], float]) -> Figure:
    before = running.cpu_seconds()
    rate = work()
    return Figure(rate, (running.cpu_seconds() - before) / number)


def speed(number: int, sample: int, functions: Sequence[str], numbers: Sequence[int], folder: Path) -> str:
    """Tables of articles a minute and of CPU seconds: batch, the loop, and fixed numbers of clients."""
    rates, cpu = [], []
    for do in functions:
        found: dict[str, Figure] = {}
        with service.run(
            service.factory({"PROFILE": "embedded"}), LOGS / "batch.log", ready=service.is_ready
        ) as running:
            found["loop of curl"] = of_service(sample, running, partial(by_curl, sample, do, running.url, folder))
            for clients in numbers:
                some = max(sample, 2 * clients)
                work = partial(asyncio.run, by_clients(some, do, running.port, clients))
                found[f"{clients} clients"] = of_service(some, running, work)
            work = partial(_rate_of_batch, number, do, folder, "--url", running.url)
            found["batch --url"] = of_service(number, running, work)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        rate, told = by_batch(number, do, folder)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found["batch"] = Figure(rate, used / number)
        save("batch-speed", {"do": do, "told": told, **{name: vars(figure) for name, figure in found.items()}})
        print(f"{do}: {told}", file=sys.stderr, flush=True)
        best = max((name for name in found if name.endswith("clients")), key=lambda name: found[name].rate)
        ratios = [found["batch"].rate / found[name].rate for name in ("loop of curl", best)]
        rates.append(
            [f"`{do}`", *(f"{one.rate:.1f}" for one in found.values()), f"{ratios[0]:.2f}", f"{ratios[1]:.2f}"]
        )
        cpu.append([f"`{do}`", *(f"{one.cpu_seconds:.2f}" for one in found.values())])
    of_rates = table(["articles a minute", *found, "batch / loop", "batch / best of the clients"], rates)
    return f"{of_rates}\n\n{table(['CPU seconds an article', *found], cpu)}"


def refusals(number: int, folder: Path) -> str:
    """Against a double of the service that refuses: calls beside the number of articles."""
    cases = {
        "each second call, `Retry-After: 0`": ["--refuse-every-second"],
        "what comes over 4 places, 20 ms an answer, `Retry-After: 1`": ["--places", "4"],
        "what comes over 1 place, 20 ms an answer, `Retry-After: 1`": ["--places", "1"],
    }
    rows = []
    for name, options in cases.items():
        with double(*options) as running:
            rate, told = by_batch(
                number, "summarize", folder, "--url", running.url, side=f"refused-{options[0]}{options[-1]}"
            )
        calls, refused = (int(part.split()[0].replace(",", "")) for part in told.split("; ")[2].split(", ")[:2])
        needed = 2 * number if "second" in name else number
        rows.append(
            [name, f"{number:,}", f"{needed:,}", f"{calls:,}", f"{refused:,}", f"{calls / needed:.2f}", f"{rate:,.0f}"]
        )
    return table(
        ["refused", "articles", "calls needed", "calls", "refused", "calls / needed", "articles a minute"], rows
    )


def memory(number: int, folder: Path) -> str:
    """Resident memory of batch on its way through a large corpus, against a double of the service."""
    source, out = folder / "large.jsonl", folder / "large-out.jsonl"
    write(source, articles(number, "large"))
    looks: list[tuple[int, int]] = []
    with double() as running:
        begun = time.perf_counter()
        options = ("--url", running.url)
        process = subprocess.Popen(
            command(source, out, FUNCTIONS, *options), cwd=ROOT, env=variables(), stderr=subprocess.DEVNULL
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, machine.peak_rss(process.pid))
            if out.exists() and lines(out, looks) * SAMPLES >= (len(looks) + 1) * number:
                looks.append((lines(out, looks), machine.rss(process.pid)))
                print(f"{looks[-1][0]:,} done, {looks[-1][1] / MEGABYTE:.0f} MB", file=sys.stderr, flush=True)
            time.sleep(SECONDS_BETWEEN_LOOKS)
        seconds = time.perf_counter() - begun
    if process.returncode:
        raise RuntimeError(f"batch ended with {process.returncode}")
    rows = [[f"{done:,}", f"{size / MEGABYTE:.0f}"] for done, size in looks]
    rows.append([f"all {number:,}, the peak ({seconds:.0f} s)", f"{peak / MEGABYTE:.0f}"])
    return table(["articles done", "resident, MB"], rows)


def lines(out: Path, looks: list[tuple[int, int]]) -> int:
    """How many OUT has, about: counted by the size of its first ones."""
    with out.open("rb") as file:
        head = file.read(MEGABYTE)
    count = head.count(b"\n")
    return int(count * out.stat().st_size / len(head)) if head and count else len(looks)


def double(*options: str) -> AbstractContextManager[service.Service]:
    run = [sys.executable, "-m", "tests.doubles.factory_double", *options]
    return service.run(service.Program(run, service.environment()), LOGS / "batch-double.log", ready=service.answers)


def command(source: Path, out: Path, do: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "batch", str(source), str(out), "--do", do, *options]


def variables() -> dict[str, str]:
    return service.environment(PROFILE="embedded")


def write(path: Path, records: Iterator[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures python -m batch.")
    parser.add_argument("--articles", type=int, default=1000, help="of the part speed, for batch")
    parser.add_argument("--sample", type=int, default=100, help="for the loop of curl and each number of clients")
    parser.add_argument("--clients", default=CLIENTS, help="fixed numbers of clients that the engine is tried with")
    parser.add_argument("--large", type=int, default=LARGE_CORPUS, help="articles of the part memory")
    parser.add_argument("--do", action="append", help="of the part speed; once for each row (summarize, extract)")
    parser.add_argument("--parts", default="speed,refusals,memory")
    given = parser.parse_args()
    service.stop_cleanly()
    print(f"{machine.cpu()}, load {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in given.parts.split(","):
            if part == "speed":
                numbers = [int(number) for number in given.clients.split(",")]
                told = speed(given.articles, given.sample, given.do or FUNCTIONS.split(","), numbers, folder)
            else:
                told = refusals(given.sample, folder) if part == "refusals" else memory(given.large, folder)
            print(f"{part}\n\n{told}\n", flush=True)


if __name__ == "__main__":
    main()
