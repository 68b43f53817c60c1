"""Does POST /audio keep its memory? VmRSS of the service over many short recordings.

    python -m benchmarks.audio.memory [--recordings 2000] [--warm-up 300] [--clients 20] [--seed 1]

The cloud sends as fast as it can. The answer cache is small enough to be full within the warm-up; what is kept after
that takes the place of what was kept before. Some listeners leave early, before the first sound or in the middle of a
recording. Prints a table and what was found wrong; the exit code is 1 then.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from random import Random

from benchmarks.audio.client import Connection, ask, short
from benchmarks.audio.cloud import Cloud
from benchmarks.audio.sides import OURS, running
from benchmarks.harness.folders import save
from benchmarks.harness.machine import rss
from benchmarks.harness.service import Service, log_errors, stop_cleanly
from benchmarks.harness.table import table

ANSWER_CACHE_BYTES = 4_000_000
STEP = 250
MOST_GROWTH = 0.05
# Of those who would leave, some are answered before.
LEAVE_SHARE, LEAVE_SECONDS = 0.1, 0.4
SETTLE_SECONDS = 5.0


class Listeners:
    """Ask for one new text after another; some leave early."""

    def __init__(self, service: Service, seed: int) -> None:
        self._service = service
        self._random = Random(seed)
        self.asked, self.left, self.left_midway = 0, 0, 0
        self.heard: list[str] = []
        self.problems: Counter[str] = Counter()

    async def hear(self, recordings: int, clients: int) -> None:
        until = self.asked + recordings
        await asyncio.gather(*(self._client(until) for _ in range(clients)))

    async def _client(self, until: int) -> None:
        while self.asked < until:
            self.asked += 1
            text = short(self.asked)
            leaves = self._random.random() < LEAVE_SHARE
            connection = await Connection.open(self._service.port)
            try:
                async with asyncio.timeout(self._random.uniform(0, LEAVE_SECONDS) if leaves else None):
                    answer = await connection.hear(text)
                self.heard.append(text)
                if problem := answer.problem():
                    self.problems[problem] += 1
            except TimeoutError:
                self.left += 1
                self.left_midway += connection.reply.size > 0
            finally:
                connection.close()


async def is_forgotten(text: str, service: Service, cloud: Cloud) -> bool:
    """Whether a text that was read before is read anew: what was kept of it had to make room."""
    turns = cloud.tell().turns
    await ask(service.port, text)
    return cloud.tell().turns > turns


async def afterwards(service: Service, cloud: Cloud, number: int) -> Counter[str]:
    """What is wrong once the listeners are gone."""
    problems: Counter[str] = Counter()
    if problem := (await ask(service.port, short(number))).problem():
        problems[f"one more request: {problem}"] += 1
    given_up_at = time.monotonic() + SETTLE_SECONDS
    while (left := cloud.tell().open) and time.monotonic() < given_up_at:
        await asyncio.sleep(0.1)
    if left:
        problems["a connection to the cloud is left open"] += left
    return problems


async def measure(recordings: int, warm_up: int, clients: int, seed: int) -> int:
    """The exit code."""
    with Cloud() as cloud:
        settings = {"AUDIO__ANSWER_CACHE_BYTES": ANSWER_CACHE_BYTES}
        with running(OURS, cloud.url, settings) as service:
            listeners = Listeners(service, seed)
            await listeners.hear(warm_up, clients)
            full = await is_forgotten(listeners.heard[0], service, cloud)
            used = {0: rss(service.pid)}
            begun, cpu_before = time.monotonic(), service.cpu_seconds()
            while (done := max(used)) < recordings:
                done += min(STEP, recordings - done)
                await listeners.hear(warm_up + done - listeners.asked, clients)
                used[done] = rss(service.pid)
            seconds, cpu = time.monotonic() - begun, service.cpu_seconds() - cpu_before
            problems = listeners.problems + await afterwards(service, cloud, listeners.asked + 1)
            turns = cloud.tell().turns
    problems += log_errors(service.log)
    if not full:
        problems["the answer cache was not full after the warm-up"] += 1
    growth = used[recordings] / used[0] - 1
    if growth > MOST_GROWTH:
        problems[f"memory grew by {growth:.1%}"] += 1
    rows = ([done, f"{size / 1e6:.1f}", f"{size / used[0] - 1:+.2%}"] for done, size in used.items())
    print(table([f"recordings after the first {warm_up}", "VmRSS, MB", "growth"], rows, texts=0))
    print(
        f"\n{recordings} recordings after a warm-up of {warm_up}, {clients} at a time, in {seconds:.0f} s, "
        f"{1000 * cpu / recordings:.1f} ms of CPU each; of all {listeners.asked}, {listeners.left} were left early, "
        f"{listeners.left_midway} of them in the middle. The cloud had {turns} connections. The answer cache has "
        f"{ANSWER_CACHE_BYTES / 1e6:.0f} MB and was {'' if full else 'NOT '}full after the warm-up."
    )
    for problem, times in problems.most_common():
        print(f"WRONG, {times} x: {problem}")
    print(f"\nraw figures: {save('audio-memory', {'rss': used, 'left': listeners.left, 'problems': problems})}")
    print("FAILED" if problems else "passed")
    return 1 if problems else 0


def main() -> None:
    parser = argparse.ArgumentParser(description="VmRSS of POST /audio over many recordings.")
    parser.add_argument("--recordings", type=int, default=2000)
    parser.add_argument("--warm-up", type=int, default=300, help="recordings before the first look; 150 fill the cache")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    stop_cleanly()
    sys.exit(asyncio.run(measure(options.recordings, options.warm_up, options.clients, options.seed)))


if __name__ == "__main__":
    main()
