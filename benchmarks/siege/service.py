"""The service under siege, its cloud, its prober, and what is seen of its process from outside."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.summarize.report import percentile
from benchmarks.summarize.server import LOGS
from benchmarks.summarize.sides import ROOT

START_SECONDS, STOP_SECONDS = 90.0, 40.0


@dataclass(frozen=True)
class Service:
    """`root` is the checkout that it runs from."""

    root: Path
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def rss(self) -> int:
        """Bytes in memory, of the process and its children together."""
        return sum(_memory(pid, "VmRSS:") for pid in _tree(self.pid))

    def peak_rss(self) -> int:
        """The most bytes since `forget_peak`; the children's peaks may have been at other times."""
        return sum(_memory(pid, "VmHWM:") for pid in _tree(self.pid))

    def forget_peak(self) -> None:
        for pid in _tree(self.pid):
            try:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            except OSError:
                continue

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(
    root: Path, name: str, endpoint: str, settings: Sequence[str] = (), descriptors: int | None = None
) -> Iterator[Service]:
    """The service of `root` with the embedded models, once they are loaded; `settings` are `SUMMARIZE__PARALLEL=2` and
    the like, `descriptors` is the limit that `ulimit -n` sets."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"siege-{name}-{root.name or 'root'}.log"
    python = root / ".venv/bin/python"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [str(python) if python.exists() else sys.executable, "local_runner.py"],
            cwd=root,
            env=_environment(endpoint, settings),
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=partial(_limit, descriptors) if descriptors else None,
        )
    try:
        yield Service(root, _port(process, path), process, path)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(sent)
        try:
            process.wait(STOP_SECONDS)
            return
        except subprocess.TimeoutExpired:
            continue


def _limit(descriptors: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))


def _environment(endpoint: str, settings: Sequence[str]) -> dict[str, str]:
    ours = {"HOST": "127.0.0.1", "PORT": "0", "LOG_STYLE": "json", "LOG_LEVEL": "WARNING", "AUDIO__ENDPOINT": endpoint}
    ours |= dict(setting.split("=", 1) for setting in settings)
    return {
        **{name: value for name, value in os.environ.items() if not name.upper().startswith("FACTORY_")},
        **{f"FACTORY_{name}": value for name, value in ours.items()},
        "NO_PROXY": "127.0.0.1",
    }


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port, once the models are ready."""
    given_up_at = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < given_up_at:
        for word in log.read_text(encoding="utf-8").split():
            if word.startswith("http://127.0.0.1:") and _is_ready(word):
                return int(word.rpartition(":")[2])
        time.sleep(0.1)
    stop(process)
    raise RuntimeError(f"the service did not start; its log is {log}")


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _tree(pid: int) -> list[int]:
    children: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += map(int, path.read_text().split())
        except OSError:
            continue
    return [pid, *(below for child in children for below in _tree(child))]


def _memory(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


@dataclass
class Health:
    """What the prober saw: seconds of each answer of /health, and how often it had none in time."""

    seconds: list[float] = field(default_factory=list)
    lost: int = 0
    breaker_opened: bool = False

    @property
    def most_seconds(self) -> float:
        return max(self.seconds, default=0.0)

    def share(self, share: float) -> float:
        return percentile(self.seconds, share) or 0.0

    def told(self) -> str:
        lost = f", {self.lost} of {len(self.seconds)} never answered" if self.lost else ""
        return f"p99 {self.share(0.99) * 1000:.0f} ms, max {self.most_seconds * 1000:.0f} ms{lost}"


@contextmanager
def probing(service: Service) -> Iterator[Health]:
    """Ask /health every 50 ms, from a process of its own, until the block ends; the result is filled then."""
    health = Health()
    prober = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.siege.prober", str(service.port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield health
    finally:
        output, _ = prober.communicate(timeout=60)
        seen = json.loads(output)
        health.seconds, health.lost = seen["seconds"], seen["lost"]
        health.breaker_opened = seen["breaker_opened"]
