"""A container's limits, from made-up trees of control groups."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from common import host
from common.settings import cpu_threads

GIB = 1 << 30
Machine = Callable[..., None]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """machine(own="0::/", files={"cpu.max": "100000 100000"}): 8 CPUs and 32 GiB, of which groups leave a part."""
    monkeypatch.delenv("CPU_CORES", raising=False)
    monkeypatch.delenv("MEMORY", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(host, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(host, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(host, "MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text(f"MemTotal:       {32 << 20} kB\nMemFree:        1000 kB\n")

    def build(own: str, files: Mapping[str, str]) -> None:
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")

    return build


@pytest.mark.parametrize(
    ("own", "files", "cpus"),
    [
        # Version 2: a container sees its own group as the root of all.
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000"}, 1),
        ("0::/\n", {"cpu.max": "max 100000"}, 8),
        ("0::/\n", {"cpu.max": "1600000 100000"}, 8),
        ("0::/\n", {}, 8),
        # The tightest limit on the way up holds, whichever group has it.
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "max 100000", "cpu.max": "500000 100000"}, 5),
        ("0::/a/b\n", {"a/c/cpu.max": "100000 100000"}, 8),
        ("0::/../a\n", {"a/cpu.max": "400000 100000"}, 4),
        # Version 1, and what the two look like together.
        ("4:cpu,cpuacct:/docker/1\n", {"cpu,cpuacct/cpu.cfs_quota_us": "300000"}, 8),
        ("4:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"}, 3),
        ("4:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, 8),
        ("4:cpuacct,cpu:/\n", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        # The path is the host's, the files are the container's.
        (
            "5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n1:name=systemd:/\n0::/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "400000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            4,
        ),
        # Of another controller.
        ("4:cpuset:/a\n", {"cpuset/a/cpu.max": "100000 100000"}, 8),
    ],
)
def test_cpus(machine: Machine, own: str, files: dict[str, str], cpus: int) -> None:
    machine(own, files)
    assert (host.cpus(), cpu_threads(0), cpu_threads(5)) == (cpus, cpus, 5)


@pytest.mark.parametrize(("cores", "cpus"), [("2", 2), ("16", 4), ("0", 4), ("many", 4), ("", 4), ("-1", 4)])
def test_what_a_space_tells_of_its_cpus(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, cores: str, cpus: int
) -> None:
    machine("0::/\n", {"cpu.max": "400000 100000"})
    monkeypatch.setenv("CPU_CORES", cores)
    assert host.cpus() == cpus


def test_a_system_without_groups_and_affinity(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("", {})
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(host, "OWN_CGROUPS", tmp_path / "none")
    monkeypatch.setattr(host, "MEMINFO", tmp_path / "none")
    assert (host.cpus(), host.memory_bytes()) == (3, host.NO_LIMIT)


@pytest.mark.parametrize(
    ("own", "files", "memory"),
    [
        ("0::/\n", {"memory.max": str(16 * GIB)}, 16 * GIB),
        ("0::/\n", {"memory.max": "max"}, 32 * GIB),
        ("0::/\n", {"memory.max": str(64 * GIB)}, 32 * GIB),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": str(3 * GIB), "memory.max": str(4 * GIB)}, 3 * GIB),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": str(2 * GIB)}, 2 * GIB),
        ("4:memory:/docker/1\n", {"memory/memory.limit_in_bytes": str(2 * GIB)}, 2 * GIB),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, 32 * GIB),
        ("", {}, 32 * GIB),
    ],
)
def test_memory(machine: Machine, own: str, files: dict[str, str], memory: int) -> None:
    machine(own, files)
    assert host.memory_bytes() == memory


@pytest.mark.parametrize(
    ("told", "memory"),
    [
        ("16Gi", 16 * GIB),
        ("16GiB", 16 * GIB),
        (" 16 Gi ", 16 * GIB),
        ("16G", 16_000_000_000),
        ("1.5gb", 1_500_000_000),
        ("512Mi", GIB // 2),
        ("1Ti", 32 * GIB),
        ("0Gi", 32 * GIB),
        # Of what, it does not say.
        ("16", 32 * GIB),
        ("much", 32 * GIB),
        ("", 32 * GIB),
    ],
)
def test_what_a_space_tells_of_its_memory(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, told: str, memory: int
) -> None:
    machine("", {})
    monkeypatch.setenv("MEMORY", told)
    assert host.memory_bytes() == memory


def test_this_machine_has_some() -> None:
    assert 1 <= host.cpus() <= 4096
    assert 1 << 26 < host.memory_bytes() <= host.NO_LIMIT
