"""Starts a side as a process of its own, on a free port, and ends it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.summarize.client import Client
from benchmarks.summarize.sides import ROOT, Side

LOGS = ROOT / "benchmarks/.cache/logs"
START_SECONDS = 900.0
STOP_SECONDS = 20.0
WARM_UP = "The council met on Tuesday. It voted for a new library near the old harbour."


@dataclass(frozen=True)
class Running:
    client: Client
    pid: int
    load_seconds: float

    def peak_rss(self) -> int:
        """Bytes: the sum over the process and its children of the most each has had in memory."""
        return sum(_peak_rss(pid) for pid in _tree(self.pid))


@asynccontextmanager
async def running(side: Side, model: Path, extra: Mapping[str, str] | None = None) -> AsyncIterator[Running]:
    """The side, once it has answered a short request, which counts for nothing."""
    port = _free_port()
    LOGS.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FACTORY_")}
    with (LOGS / f"{side.file_name}.log").open("w") as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            side.command(model, port),
            cwd=ROOT,
            env={**environment, **side.environment(model, port), **(extra or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        # A new connection for every request: some sides close an idle one just when the next request goes out on it.
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=None, limits=limits) as http:
            client = Client(http, side.dialect)
            await _loaded(client, process, began)
            load_seconds = time.perf_counter() - began
            answer = await client.whole(WARM_UP, 4)
            if answer.error:
                raise RuntimeError(f"the first request: {answer.error}")
            yield Running(client, process.pid, load_seconds)
    finally:
        _stop(process)


def stop_cleanly() -> None:
    """Let SIGTERM end the run as Ctrl-C does: the sides are ended with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))


async def _loaded(client: Client, process: subprocess.Popen[bytes], began: float) -> None:
    while time.perf_counter() - began < START_SECONDS:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with {process.returncode} instead of answering; its log is in {LOGS}")
        if await client.loaded():
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(f"it did not load the model within {START_SECONDS:.0f} s; its log is in {LOGS}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, sent)
        try:
            process.wait(STOP_SECONDS)
            return
        except subprocess.TimeoutExpired:
            continue


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(below for path in children for child in path.read_text().split() for below in _tree(int(child)))]


def _peak_rss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
