"""Fuzzing of a service that lives, on the loopback, by what no test has thought of.

    python -m tests.fuzz [--minutes 30] [--seed N] [--only openapi,odd,brims,growth,speech,phonemes] [--root DIR]

Meanwhile /health has to answer within 200 ms and the process has to stay the same. Each fault is printed with the
request that shows it again; the exit code is 1 then.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random

from benchmarks.audio.cloud import Cloud
from benchmarks.harness.folders import ROOT
from benchmarks.harness.service import Service, log_errors, stop_cleanly
from benchmarks.siege.service import running
from tests.fuzz.alphabet import pairs, singles
from tests.fuzz.entries import entries
from tests.fuzz.growth import grows
from tests.fuzz.live import brims, odd_requests
from tests.fuzz.openapi import conform
from tests.fuzz.phonemes import phonemes
from tests.fuzz.speech import speak
from tests.fuzz.watch import MOST_HEALTH_SECONDS, ServiceEnded, Watch

# Of all the time.
SHARES = {"openapi": 0.25, "odd": 0.25, "brims": 0.2, "growth": 0.1, "speech": 0.15, "phonemes": 0.05}
# A line of the log, where a text was more than espeak-ng could bear.
ENDED = b"another takes its place"
ESPEAK = {"speech": ["AUDIO__ENGINE=espeak-ng"]}


def fuzz(name: str, seconds: float, seed: int, root: Path) -> list[str]:
    """The faults that one part finds in that time."""
    if name == "growth":
        return _growth(seconds, seed)
    if name == "phonemes":
        return phonemes(seconds, seed)
    with Cloud(keep_turns=20) as cloud, running(root, f"fuzz-{name}", cloud.url, ESPEAK.get(name, [])) as service:
        return _live(name, service, seconds, seed)


def _live(name: str, service: Service, seconds: float, seed: int) -> list[str]:
    watch = Watch(service, seed)
    parts: dict[str, Callable[[Watch, float], None]] = {"odd": odd_requests, "brims": brims, "speech": speak}
    rss = service.rss()
    try:
        with watch.probing():
            if name == "openapi":
                conform(watch, seconds)
            else:
                parts[name](watch, time.monotonic() + seconds)
    except ServiceEnded:
        pass
    if not service.lives and not watch.faults:
        watch.fault(f"{name}: the process has ended with {service.process.returncode}")
    for error, times in _log_errors(service.log).items():
        watch.fault(f"{times} x {error}")
    told = ", ".join(f"{what} {count}" for what, count in watch.tried.most_common(8))
    print(f"    tried: {watch.tried.total()} requests of {len(watch.tried)} kinds, the most of them {told}")
    if ended := service.log.read_bytes().count(ENDED):
        print(f"    espeak-ng's process ended {ended} times")
    if more := watch.more_of_a_kind():
        print(f"    more of a kind: {more}")
    if watch.statuses:
        print(f"    answers: {dict(sorted(watch.statuses.items()))}")
    memory = f"RSS {rss / 1e6:.0f} -> {service.rss() / 1e6:.0f} MB"
    print(f"    /health at most {watch.most_health_seconds * 1000:.0f} ms; {memory}", flush=True)
    return watch.faults


def _log_errors(log: Path) -> Counter[str]:
    """What the service itself calls an error, whatever the request was answered."""
    found: Counter[str] = Counter()
    for error, times in log_errors(log).items():
        lines = error.splitlines()
        # Without the objects that asyncio names, which are others each time.
        found[f"{lines[0][:200]} .. {lines[-1].rpartition('> ')[2][-200:]}" if len(lines) > 1 else error[:300]] += times
    return found


def _growth(seconds: float, seed: int) -> list[str]:
    random = Random(seed)
    until = time.monotonic() + seconds
    faults: dict[str, str] = {}
    tried = 0
    alone = list(singles())
    random.shuffle(alone)
    every = entries()
    for case in chain(alone, pairs(random)):
        for entry in every:
            if time.monotonic() >= until:
                print(f"    tried: {tried} texts of growing length in {len(every)} entries")
                return list(faults.values())
            tried += 1
            if entry.name not in faults and (fault := grows(entry, case)) is not None:
                faults[entry.name] = str(fault)
    return list(faults.values())


def names(value: str) -> list[str]:
    chosen = value.split(",")
    if unknown := set(chosen) - set(SHARES):
        raise argparse.ArgumentTypeError(f"no part {unknown}: there are {', '.join(SHARES)}")
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the service over the loopback.")
    parser.add_argument("--minutes", type=float, default=30.0, help="of all parts together")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()) % 100_000, help="of what is tried; else another each time"
    )
    parser.add_argument("--only", type=names, default=list(SHARES), help=f"parts, with commas: {', '.join(SHARES)}")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to fuzz")
    options = parser.parse_args()
    stop_cleanly()
    print(f"seed {options.seed}; /health within {MOST_HEALTH_SECONDS * 1000:.0f} ms", flush=True)
    whole = sum(SHARES[name] for name in options.only)
    run = partial(fuzz, seed=options.seed, root=options.root.resolve())
    faults: list[str] = []
    for name in options.only:
        seconds = options.minutes * 60 * SHARES[name] / whole
        print(f"{name}, {seconds:.0f} s", flush=True)
        found = run(name, seconds)
        print("".join(f"    FAULT {fault}\n" for fault in found), end="", flush=True)
        faults += found
    print(f"{len(faults)} faults" if faults else "no faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
