"""A side as a process of its own, with a client that has asked it once."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.harness.folders import LOGS, file_name
from benchmarks.harness.service import Service, call, run
from benchmarks.summarize.client import Client, Dialect
from benchmarks.summarize.sides import Side

START_SECONDS = 900.0
WARM_UP = "The council met on Tuesday. It voted for a new library near the old harbour."


@dataclass(frozen=True)
class Running:
    client: Client
    service: Service


@asynccontextmanager
async def running(side: Side, model: Path, extra: Mapping[str, object] | None = None) -> AsyncIterator[Running]:
    """The side, once it has answered a short request, which counts for nothing; `extra` are settings of ours."""
    log = LOGS / f"{file_name(side.name)}.log"
    ready = _loaded(side.dialect)
    with run(side.program(model, extra or {}), log, ready=ready, start_seconds=START_SECONDS) as service:
        # A new connection for every request: some sides close an idle one just when the next request goes out on it.
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=service.url, timeout=None, limits=limits) as http:
            client = Client(http, side.dialect)
            answer = await client.whole(WARM_UP, 4)
            if answer.error:
                raise RuntimeError(f"the first request: {answer.error}")
            yield Running(client, service)


def _loaded(dialect: Dialect) -> Callable[[int], bool]:
    """Whether the model is there; a side that loads it before it listens is one that answers, whatever it says."""

    def loaded(port: int) -> bool:
        status, body = call(port, "/health")
        if dialect != "factory" or not status:
            return status not in (0, 503)
        llama = json.loads(body)["models"]["llama"]
        if llama["state"] == "failed":
            raise RuntimeError(llama["detail"])
        return bool(llama["state"] == "ready")

    return loaded
