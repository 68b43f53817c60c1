"""What /proc says about a process. A process that has ended has 0 bytes."""

import os
from contextlib import suppress
from pathlib import Path


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            children += map(int, path.read_text().split())
    return [pid, *(below for child in children for below in tree(child))]


def rss(pid: int) -> int:
    """Bytes of the one process that are in memory."""
    return _status_bytes(pid, "VmRSS:")


def peak_rss(pid: int) -> int:
    """The most bytes of the one process since its start, or since `forget_peak`."""
    return _status_bytes(pid, "VmHWM:")


def forget_peak(pid: int) -> None:
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def cpu_seconds(pid: int) -> float:
    """Of the process so far, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu() -> str:
    """What the CPU is called, how many of it there are, and which of the instructions that matter here it has."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", "").split()
    known = ", ".join(flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if flag in flags)
    return f"{os.cpu_count()} x {facts.get('model name', 'a CPU without a name')} ({known})"


def _status_bytes(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)
