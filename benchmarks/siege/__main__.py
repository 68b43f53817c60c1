"""What many, greedy, slow and absent clients do to the service, and to the others.

    python -m benchmarks.siege [--only mixed,extract] [--one-address] [--root DIR] [--against DIR] [--set NAME=VALUE]

Starts the service with small models of this repository in front of a loopback speech cloud, once for each scenario, and
sends it bounded traffic over the loopback network: each caller has an address of its own there, or all have one. Prints
a table of what was measured and of what should have been; the exit code is 1 where that was missed.

The clients share the CPUs with the service: what their own process took is printed too.
"""

import argparse
import asyncio
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks.harness.folders import ROOT, save
from benchmarks.harness.service import stop_cleanly
from benchmarks.harness.table import head, line
from benchmarks.harness.wire import Addresses
from benchmarks.siege import connections, crowds, keys, memory, mixed, neighbours
from benchmarks.siege.idle import idle
from benchmarks.siege.plan import Row, Scenario, Siege

SCENARIOS: dict[str, Scenario] = {
    "mixed": mixed.mixed,
    "extract": neighbours.extract,
    "summarize": neighbours.summarize,
    "audio": neighbours.audio,
    "keys": keys.keys,
    "overload": crowds.overload,
    "impatient": crowds.impatient,
    "articles": crowds.articles,
    "connections": connections.idle_connections,
    "listeners": connections.deaf_listeners,
    "memory": memory.memory,
}
IDLE = "idle"


async def besiege(options: argparse.Namespace) -> list[tuple[str, Row]]:
    scenarios: dict[str, Scenario] = {**SCENARIOS, IDLE: partial(idle, against=options.against)}
    found: list[tuple[str, Row]] = []
    print(head(["scenario", "what", "measured", "target", ""], texts=5), flush=True)
    for name in options.only or scenarios:
        siege = Siege(options.root, name, options.one_address, options.set, Addresses(options.one_address))
        begun, cpu_begun = time.monotonic(), time.process_time()
        try:
            rows = await scenarios[name](siege)
        except (OSError, RuntimeError, EOFError) as error:
            rows = [Row("- it could not be measured", f"{type(error).__name__}: {error}", "measured", False)]
        took = time.monotonic() - begun
        share = (time.process_time() - cpu_begun) / took
        rows.append(Row("- the clients' own process", f"{share:.0%} of one CPU, {took:.0f} s in all"))
        for row in rows:
            found.append((name, row))
            verdict = "" if row.met is None else "met" if row.met else "MISSED"
            print(line([name, row.what, row.measured, row.target, verdict]), flush=True)
    return found


def names(value: str) -> list[str]:
    chosen = value.split(",")
    if unknown := set(chosen) - {*SCENARIOS, IDLE}:
        raise argparse.ArgumentTypeError(f"no scenario {unknown}: there are {', '.join([*SCENARIOS, IDLE])}")
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description="Besiege the service, and print what became of the honest callers.")
    parser.add_argument("--only", type=names, help=f"scenarios, with commas: {', '.join([*SCENARIOS, IDLE])}")
    parser.add_argument("--one-address", action="store_true", help="all callers come from one address")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to besiege")
    parser.add_argument("--against", type=Path, help="another checkout, beside which `idle` measures")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting: AUDIO__CONCURRENCY=8"
    )
    options = parser.parse_args()
    options.root = options.root.resolve()
    stop_cleanly()
    found = asyncio.run(besiege(options))
    print(f"\nraw figures: {save('siege', [{'scenario': name, **asdict(row)} for name, row in found])}")
    missed = sum(row.met is False for _, row in found)
    print(f"{missed} targets missed" if missed else "all targets met")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
