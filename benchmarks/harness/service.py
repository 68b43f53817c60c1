"""Starts a service, ours or a peer, as a process on the loopback, and ends it."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from benchmarks.harness import machine
from benchmarks.harness.folders import ROOT

PREFIX = "FACTORY_"
START_SECONDS, STOP_SECONDS, PAUSE_SECONDS = 120.0, 40.0, 0.05
NOTED_LINES = 40
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Program:
    """What is to be started. A program without `port` takes a free one and prints its address."""

    command: Sequence[str]
    environment: Mapping[str, str]
    port: int | None = None
    folder: Path = ROOT


@dataclass(frozen=True)
class Service:
    """A process that answers; `load_seconds` are from its start until it was ready."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    load_seconds: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def rss(self) -> int:
        """Bytes in memory, of the process and its children together."""
        return sum(map(machine.rss, machine.tree(self.pid)))

    def peak_rss(self) -> int:
        """The most bytes since `forget_peak`; the children's peaks may have been at other times."""
        return sum(map(machine.peak_rss, machine.tree(self.pid)))

    def forget_peak(self) -> None:
        for pid in machine.tree(self.pid):
            machine.forget_peak(pid)

    def descriptors(self) -> int:
        """How many files, pipes and connections the process itself has open."""
        return machine.descriptors(self.pid)

    def cpu_seconds(self) -> float:
        return machine.cpu_seconds(self.pid)


def environment(**settings: object) -> dict[str, str]:
    """That of this process, but of the service's variables only `settings`: SUMMARIZE__THREADS=2 and the like."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    return inherited | {PREFIX + name: str(value) for name, value in settings.items()} | {"NO_PROXY": "127.0.0.1"}


def factory(
    settings: Mapping[str, object], *, root: Path = ROOT, folder: Path | None = None, python: str = sys.executable
) -> Program:
    """The service of the checkout `root`."""
    variables = environment(**{**settings, "HOST": "127.0.0.1", "PORT": 0})
    return Program([python, str(root / "local_runner.py")], variables, folder=folder or root)


def peer(command: Callable[[int], Sequence[str]]) -> Program:
    """`command` is told a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    return Program(command(port), environment(), port)


def call(
    port: int, path: str, body: object = None, *, headers: Mapping[str, str] | None = None, seconds: float = 5.0
) -> tuple[int, bytes]:
    """Status and body of an answer, 0 where nobody answers; with a `body` it is a POST of JSON."""
    connection = HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, HTTPException):
        return 0, b""
    finally:
        connection.close()


def answers(port: int) -> bool:
    """Anything at all, as peers do that know no /health."""
    return call(port, "/health")[0] != 0


def is_healthy(port: int) -> bool:
    return call(port, "/health")[0] == 200


def is_ready(port: int) -> bool:
    """All models are loaded."""
    return call(port, "/health/ready")[0] == 200


@contextmanager
def run(
    program: Program,
    log: Path,
    *,
    ready: Callable[[int], bool] = is_healthy,
    start_seconds: float = START_SECONDS,
    stop_seconds: float = STOP_SECONDS,
    descriptors: int | None = None,
) -> Iterator[Service]:
    """The program as a process that is `ready`, and ended afterwards; `descriptors` is what `ulimit -n` would set."""
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    with log.open("wb") as file:
        process = subprocess.Popen(
            program.command,
            cwd=program.folder,
            env=program.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            preexec_fn=partial(_limit, descriptors) if descriptors else None,
        )
    try:
        port = _port(process, program, log, ready, begun + start_seconds)
        yield Service(port, process, log, time.perf_counter() - begun)
    finally:
        stop(process, stop_seconds)


def stop(process: "subprocess.Popen[bytes]", seconds: float = STOP_SECONDS) -> None:
    """Ask the process to end; kill it when it has not ended within `seconds`."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(sent)
        try:
            process.wait(seconds)
            return
        except subprocess.TimeoutExpired:
            continue


def stop_cleanly() -> None:
    """Let SIGTERM end the run as Ctrl-C does: what was started is ended with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))


def log_errors(log: Path) -> Counter[str]:
    """The service's own errors, where its LOG_STYLE is json."""
    found: Counter[str] = Counter()
    for text in log.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and line.get("level") in ("error", "critical"):
            reason = str(line.get("exception", "")).strip().rpartition("\n")[2]
            found[f"log: {line.get('message')} {reason}".strip()] += 1
    return found


def _port(
    process: "subprocess.Popen[bytes]", program: Program, log: Path, ready: Callable[[int], bool], until: float
) -> int:
    """The port, once the process is ready."""
    while process.poll() is None and time.perf_counter() < until:
        printed = None if program.port else _ADDRESS.search(log.read_text(encoding="utf-8", errors="replace"))
        port = program.port or (int(printed[1]) if printed else None)
        if port and ready(port):
            return port
        time.sleep(PAUSE_SECONDS)
    ended = "it was not ready in time" if process.poll() is None else f"it ended with {process.returncode}"
    error = RuntimeError(f"{ended}; its log is {log}")
    error.add_note("\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-NOTED_LINES:]))
    raise error


def _limit(descriptors: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
