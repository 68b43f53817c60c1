"""The services that are compared, each a process on a loopback port in front of the same cloud."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.audio.client import Connection
from benchmarks.summarize.server import LOGS
from benchmarks.summarize.sides import ROOT

OURS, STREAM, SAVE = "factory", "edge-tts stream", "save then send"
NAMES = (OURS, STREAM, SAVE)
START_SECONDS, STOP_SECONDS = 60.0, 20.0


@dataclass(frozen=True)
class Running:
    port: int
    pid: int
    log: Path

    def cpu_seconds(self) -> float:
        """Of the process so far, in steps of 10 ms."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def running(
    name: str, endpoint: str, settings: Mapping[str, object] | None = None, log_suffix: str = ""
) -> AsyncIterator[Running]:
    """The service called `name`, once it listens; `settings` of ours: `AUDIO__CONCURRENCY` and the like."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"audio-{''.join(letter if letter.isalnum() else '-' for letter in name)}{log_suffix}.log"
    with path.open("w") as log:
        process = subprocess.Popen(
            _command(name, port, endpoint),
            cwd=ROOT,
            env=_environment(port, endpoint, settings or {}),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        await _until_it_listens(process, port, path)
        yield Running(port, process.pid, path)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _command(name: str, port: int, endpoint: str) -> list[str]:
    if name == OURS:
        return [sys.executable, "local_runner.py"]
    mode = {STREAM: "stream", SAVE: "save"}[name]
    return [sys.executable, "-m", "benchmarks.audio.peers.over_http", mode, str(port), endpoint]


def _environment(port: int, endpoint: str, settings: Mapping[str, object]) -> dict[str, str]:
    ours = {
        "WARM_UP": "false",
        "HOST": "127.0.0.1",
        "PORT": port,
        "LOG_LEVEL": "WARNING",
        "LOG_STYLE": "json",
        "AUDIO__ENDPOINT": endpoint,
        **settings,
    }
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("FACTORY_")},
        **{f"FACTORY_{name}": str(value) for name, value in ours.items()},
        "NO_PROXY": "127.0.0.1",
    }


async def _until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    given_up_at = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < given_up_at:
        try:
            (await Connection.open(port)).close()
            return
        except OSError:
            await asyncio.sleep(0.05)
    raise RuntimeError(f"it does not answer; its log is {log}")
