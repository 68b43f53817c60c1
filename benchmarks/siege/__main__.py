"""A siege of the service by crowds and strangers, on the loopback.

    python -m benchmarks.siege [--only NAME,..] [--seconds 30] [--one-address] [--root DIR]

Each scenario starts a service of its own with the embedded models and prints a table. Clients come from addresses of
their own, 127.0.x.y, unless `--one-address` has all of them be one caller. The clients run on the same cores.
"""

import argparse
import asyncio
import os
import platform
import time
from pathlib import Path

from benchmarks.siege.scenarios import SCENARIOS, Siege

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description="A siege of the service by crowds and strangers.")
    parser.add_argument("--only", default=",".join(SCENARIOS), help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each scenario")
    parser.add_argument("--one-address", action="store_true", help="everybody is one caller")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to besiege")
    options = parser.parse_args()
    siege = Siege(options.root.resolve(), options.seconds, options.one_address)
    print(f"{_cpu()}, {os.cpu_count()} CPUs; {'one address' if siege.one_address else 'an address each'}\n", flush=True)
    for name in options.only.split(","):
        scenario = SCENARIOS[name]
        begun, used = time.monotonic(), time.process_time()
        rows = asyncio.run(scenario(siege))  # type: ignore[arg-type]
        share = (time.process_time() - used) / (time.monotonic() - begun)
        print(f"**{name}**: {(scenario.__doc__ or '').strip()}\n\n| | |\n|---|---|")
        for label, value in rows:
            print(f"| {label} | {value} |")
        print(f"| the clients' own share of a core | {share:.0%} |\n", flush=True)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
