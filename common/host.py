"""The CPUs and the memory that this process may use. A container's limits count, not the size of the host.

Read from the control groups (version 2, else 1) that the process is in, and from `CPU_CORES` and `MEMORY`, in which a
Hugging Face Space tells its hardware, and `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`.
"""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")
# Version 1 writes a number near 2**63 for "no limit".
NO_LIMIT = 1 << 60

# A bare number could be of anything.
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])(i?)B?", re.IGNORECASE)


def cpus() -> int:
    """The CPUs that this process can keep busy, at least 1."""
    # Only Linux tells which CPUs a process is bound to.
    found = [float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)]
    for folder in _groups("cpu"):
        limit = _words(folder / "cpu.max")
        if len(limit) == 2 and limit[0].isdecimal():
            found.append(int(limit[0]) / int(limit[1]))
        quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
        if quota and period and int(quota[0]) > 0:
            found.append(int(quota[0]) / int(period[0]))
    told = os.environ.get("CPU_CORES", "")
    if told.isdecimal() and int(told):
        found.append(int(told))
    return max(1, math.ceil(min(found)))


def memory_bytes() -> int:
    """The memory that this process may fill before it is killed."""
    return min(_memory("MemTotal"), _memory_limit())


def available_memory_bytes() -> int:
    """The part of it that is free or can be freed. 0 if the system does not tell."""
    available = _memory("MemAvailable")
    return 0 if available == NO_LIMIT else min(available, _memory_limit())


def _memory(field: str) -> int:
    """A field of /proc/meminfo, in bytes."""
    found = (int(line.split()[1]) * 1024 for line in _lines(MEMINFO) if line.startswith(f"{field}:"))
    return next(found, NO_LIMIT)


def _memory_limit() -> int:
    """The tightest limit of control groups and variables, in bytes."""
    found: list[int] = []
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            found += [int(word) for word in _words(folder / name)[:1] if word.isdecimal()]
    if match := _AMOUNT.fullmatch(os.environ.get("MEMORY", "").strip()):
        power = " KMGT".index(match[2].upper())
        found.append(int(float(match[1]) * (1024 if match[3] else 1000) ** power))
    if (on_lambda := os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")).isdecimal():
        found.append(int(on_lambda) << 20)
    return min(limit for limit in [*found, NO_LIMIT] if limit)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the groups that this process is in, from its own one up: the tightest limit holds."""
    for line in _lines(OWN_CGROUPS):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        own = [part for part in path.split("/") if part and part != ".."]
        # Version 1 mounts some together, and does not always list them in the order of the folder's name.
        for root in {controllers, controller} if controllers else {""}:
            for depth in range(len(own), -1, -1):
                yield CGROUPS.joinpath(root, *own[:depth])


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
