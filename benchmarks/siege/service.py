"""The service and the loopback cloud as processes, for one scenario each."""

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.siege.client import Address

START_SECONDS = 60.0


@dataclass
class Service:
    address: Address
    pid: int
    log: Path
    root: Path

    def rss_mb(self) -> float:
        return self._memory("VmRSS")

    def peak_mb(self) -> float:
        """The largest resident memory since `forget_peak`."""
        return self._memory("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def alive(self) -> bool:
        return Path(f"/proc/{self.pid}/status").exists() and "State:\tZ" not in self._status()

    def _memory(self, name: str) -> float:
        found = re.search(rf"{name}:\s+(\d+) kB", self._status())
        return int(found[1]) / 1024 if found else 0.0

    def _status(self) -> str:
        return Path(f"/proc/{self.pid}/status").read_text()


@contextmanager
def service(root: Path, descriptors: int | None = None, **settings: object) -> Iterator[Service]:
    """The service of the checkout at `root` on a free port; `settings` are named as its variables, without FACTORY_."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FACTORY_")}
    environment |= {f"FACTORY_{name}": str(value) for name, value in settings.items()}
    environment |= {"FACTORY_HOST": "127.0.0.1", "FACTORY_PORT": "0"}

    def limit() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.txt"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, str(root / "local_runner.py")],
                cwd=folder,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                preexec_fn=limit,
            )
        try:
            yield Service(_address(log), process.pid, log, root)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(log: Path) -> Address:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        text = log.read_text(errors="replace")
        found = re.search(r"http://127\.0\.0\.1:(\d+)", text)
        if found and "model llama ready" in text and "model gliner ready" in text:
            return Address("127.0.0.1", int(found[1]))
        time.sleep(0.05)
    raise SystemExit(f"the service did not start:\n{log.read_text(errors='replace')}")
