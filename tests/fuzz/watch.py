"""Watches a service from outside while it is fuzzed: does its process live, does /health answer, who held it up."""

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness.folders import ROOT
from benchmarks.harness.service import Service
from benchmarks.harness.wire import request
from tests.fuzz.wire import GIVE_UP_SECONDS, Reply, exchange, wrong

MOST_HEALTH_SECONDS = 0.2
# Requests that were there last: among them is the one that held the others up.
REMEMBERED = 200
SUSPECTS = 5
# A fault of one kind is told so many times.
MOST_OF_A_KIND = 3
FOLDER = ROOT / "build/fuzz"
PROBE_SECONDS = 0.02
HEALTH = b"".join(request("/health"))


class Watch:
    """Sends requests and remembers them; `faults` are sentences, with what reproduces each."""

    def __init__(self, service: Service, seed: int) -> None:
        self.service = service
        self.seed = seed
        self.tried: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []
        self.most_health_seconds = 0.0
        self._kinds: Counter[str] = Counter()
        self._recent: deque[tuple[float, float, str, bytes]] = deque(maxlen=REMEMBERED)
        self._slow: list[float] = []
        self._blamed: list[tuple[str, bytes]] = []
        self._lock = threading.Lock()

    def send(self, what: str, data: bytes, silence_seconds: float = GIVE_UP_SECONDS) -> Reply:
        """The answer to a request of the kind `what`, which is checked."""
        begun = time.monotonic()
        reply = exchange(self.service.port, data, silence_seconds=silence_seconds)
        with self._lock:
            self._recent.append((begun, time.monotonic(), what, data))
            self.tried[what] += 1
            self.statuses[reply.status] += 1
        if (reason := wrong(reply)) is not None:
            self.fault(reason, data, what)
        if not self.service.lives:
            self.fault(f"the process has ended with {self.service.process.returncode}", data, what)
            raise ServiceEnded
        return reply

    def fault(self, told: str, data: bytes | None = None, what: str = "") -> None:
        """`told` says the kind, `data` reproduces it."""
        with self._lock:
            kind = re.sub(r"\d+", "N", told)
            self._kinds[kind] += 1
            if self._kinds[kind] <= MOST_OF_A_KIND:
                where = f"\n    {_saved(data, len(self.faults))}" if data is not None else ""
                self.faults.append(f"{what}: {told} (seed {self.seed}){where}".removeprefix(": "))

    def more_of_a_kind(self) -> dict[str, int]:
        """The kinds that were seen more often than they are told."""
        return {kind: times for kind, times in self._kinds.items() if times > MOST_OF_A_KIND}

    @contextmanager
    def probing(self) -> Iterator[None]:
        """Asks /health all the time; afterwards whoever held it up is looked for."""
        prober = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.siege.prober", str(self.service.port), str(MOST_HEALTH_SECONDS)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        reader = threading.Thread(target=self._read, args=(prober,), daemon=True)
        reader.start()
        try:
            yield
        finally:
            assert prober.stdin
            prober.stdin.close()
            prober.wait(60)
            reader.join(10)
            self._find_who_was_slow()

    def _read(self, prober: "subprocess.Popen[bytes]") -> None:
        assert prober.stdout
        for line in prober.stdout:
            told = json.loads(line)
            if "asked_at" in told:
                suspects = self._suspects(told["asked_at"], told["seconds"])
                with self._lock:
                    self._slow.append(told["seconds"])
                    self._blamed += suspects
            else:
                self.most_health_seconds = max([self.most_health_seconds, *told["seconds"]])

    def _suspects(self, asked_at: float, seconds: float) -> list[tuple[str, bytes]]:
        """The requests that were there while /health had to wait; the last ones first."""
        # One that still runs is remembered when it has ended.
        time.sleep(0.5)
        with self._lock:
            there = [
                (what, data)
                for begun, ended, what, data in self._recent
                if begun < asked_at + seconds and ended > asked_at
            ]
        return there[-SUSPECTS:]

    def _find_who_was_slow(self) -> None:
        """Each suspect once more, alone: what the machine does beside is nobody's fault."""
        if not self._slow or not self.service.lives:
            return
        guilty = 0
        for what, data in dict.fromkeys(self._blamed):
            lag = min(self._lag_beside(data) for _ in range(2))
            if lag > MOST_HEALTH_SECONDS:
                guilty += 1
                self.fault(f"/health had to wait, again for {lag:.1f} s", data, what)
        if not guilty:
            print(f"    note: /health was slow {len(self._slow)} times, at most {max(self._slow):.2f} s, by none alone")

    def _lag_beside(self, data: bytes) -> float:
        sender = threading.Thread(target=exchange, args=(self.service.port, data), daemon=True)
        sender.start()
        most = 0.0
        while sender.is_alive():
            most = max(most, exchange(self.service.port, HEALTH, address="127.0.9.2").seconds)
            time.sleep(PROBE_SECONDS)
        return most


class ServiceEnded(Exception):
    """There is nothing left to be fuzzed."""


def _saved(data: bytes, number: int) -> str:
    """The shell command that sends the request again, from a file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path: Path = FOLDER / f"{time.strftime('%H%M%S')}-{number}.request"
    path.write_bytes(data)
    shown = data if len(data) < 160 else data[:110] + b" .. " + data[-40:]
    return f"python -m tests.fuzz.wire PORT < {path}    {shown!r}"
