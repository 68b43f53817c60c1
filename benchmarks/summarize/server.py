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
# Those of /summarize, as /health calls them. The second is there only where one is set.
MODELS = ("llama", "stand-in")


@dataclass(frozen=True)
class Running:
    """`client` opens a connection for every request: some sides close an idle one just when the next goes out on it."""

    client: Client
    service: Service
    dialect: Dialect

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        """A client that keeps its one connection: by that the service knows it again."""
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
        async with httpx.AsyncClient(base_url=self.service.url, timeout=None, limits=limits) as http:
            yield Client(http, self.dialect)


@asynccontextmanager
async def running(side: Side, model: Path, extra: Mapping[str, object] | None = None) -> AsyncIterator[Running]:
    """The side, once it has answered a short request, which counts for nothing; `extra` are settings of ours."""
    log = LOGS / f"{file_name(side.name)}.log"
    ready = _loaded(side.dialect)
    with run(side.program(model, extra or {}), log, ready=ready, start_seconds=START_SECONDS) as service:
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=service.url, timeout=None, limits=limits) as http:
            client = Client(http, side.dialect)
            answer = await client.whole(WARM_UP, 4)
            if answer.error:
                raise RuntimeError(f"the first request: {answer.error}")
            yield Running(client, service, side.dialect)


def _loaded(dialect: Dialect) -> Callable[[int], bool]:
    """Whether the models are there; a side that loads before it listens is one that answers, whatever it says."""

    def loaded(port: int) -> bool:
        status, body = call(port, "/health")
        if dialect != "factory" or not status:
            return status not in (0, 503)
        known = json.loads(body)["models"]
        states = [known[name] for name in MODELS if name in known]
        for state in states:
            if state["state"] == "failed":
                raise RuntimeError(state["detail"])
        return all(state["state"] == "ready" for state in states)

    return loaded
