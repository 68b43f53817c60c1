"""An empty start: no file is there, nothing is measured yet, and the first article comes at once."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from benchmarks.harness.folders import CACHE, LOGS, MODELS, file_name
from benchmarks.harness.service import Program, Service, answers, call, environment, run
from benchmarks.harness.table import Row
from benchmarks.summarize.client import Answer, Client
from benchmarks.summarize.hub import address
from benchmarks.summarize.outcomes import Outcome, ask, by_stand_in, ends, writers
from benchmarks.summarize.sides import WITH_STAND_IN, Side

GLINER = MODELS / "gliner-small"
OUTPUT_TOKENS = 60
# Between an answer and the next request.
PAUSE_SECONDS = 0.5
# Until the main model is there, the checksums of the hub's files included.
MOST_SECONDS = 900.0


def rows() -> list[Row]:
    gliner = "GLiNER small" if GLINER.is_dir() else "the embedded GLiNER"
    return [
        Row("first", "start until the first answer", "s", ratio=False),
        Row("by_stand_in", "answers by the stand-in until the main model is ready", "", 0, ratio=False),
        Row("unready", "503 before the first answer", "", 0, ratio=False),
        Row("refused", "503 after it", "", 0, ratio=False),
        Row("failed", "other failures after it", "", 0, ratio=False),
        Row("main", "start until the main model is ready", "s", ratio=False),
        Row("rss", f"peak memory, with {gliner}", "GB", 2, 1e-9, ratio=False),
    ]


@contextmanager
def hub(files: list[Path], pace: float) -> Iterator[str]:
    """The address of a hub that has these files, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.summarize.hub", "--pace", str(pace), *map(str, files)]
    with run(Program(command, environment()), LOGS / "hub.log", ready=answers) as service:
        yield service.url


async def empty(side: Side, model: Path, stand_in: Path | None, endpoint: str, text: str) -> Outcome:
    """One client asks from the start on until the main model is ready; then one more request, which that answers."""
    CACHE.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=CACHE, prefix="start-") as folder:
        begun = time.perf_counter()
        with run(_program(side, model, stand_in, endpoint, Path(folder)), _log(side), ready=answers) as service:
            async with httpx.AsyncClient(base_url=service.url, timeout=None) as http:
                client = Client(http, "factory")
                given = await _until_ready(client, side, service, text, begun)
                main = time.perf_counter() - begun
                call(service.port, "/extract", {"text": text}, seconds=60)
                last = await client.whole(text, OUTPUT_TOKENS)
                rss = service.peak_rss()
    first = next((number for number, answer in enumerate(given) if answer.error is None), len(given))
    after = given[first:]
    print(f"start, {side.name}: {dict(ends(given))}, {dict(writers([*given, last]))}", flush=True)
    figures: dict[str, float | None] = {
        "first": given[first].ended - begun if after else None,
        "by_stand_in": by_stand_in(given, model.stem),
        "unready": sum(answer.status == 503 for answer in given[:first]),
        "refused": sum(answer.status == 503 for answer in after),
        "failed": sum(answer.error is not None and answer.status != 503 for answer in after),
        "main": main,
        "rss": rss,
    }
    return Outcome(figures, {"begun": begun, "answers": [answer.raw() for answer in [*given, last]]})


def _program(side: Side, model: Path, stand_in: Path | None, endpoint: str, folder: Path) -> Program:
    """The side, with files of the hub in place of those on the disk."""
    settings: dict[str, object] = {
        "OFFLINE": False,
        "MODELS_FOLDER": folder / "models",
        "SUMMARIZE__MODEL": address(model),
        "SUMMARIZE__CACHE_FOLDER": folder / "cache",
        "EXTRACT__MODEL": GLINER if GLINER.is_dir() else "embedded",
    }
    if side.name == WITH_STAND_IN and stand_in is not None:
        settings["SUMMARIZE__STAND_IN"] = address(stand_in)
    program = side.program(model, settings)
    of_hub = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "0"}
    return replace(program, environment={**program.environment, **of_hub})


def _log(side: Side) -> Path:
    return LOGS / f"start-{file_name(side.name)}.log"


async def _until_ready(client: Client, side: Side, service: Service, text: str, begun: float) -> list[Answer]:
    given: list[Answer] = []
    while time.perf_counter() - begun < MOST_SECONDS:
        given.append(await ask(client, side, text, OUTPUT_TOKENS))
        main = json.loads(call(service.port, "/health")[1])["models"]["llama"]
        if main["state"] == "ready" and given[-1].error is None:
            return given
        if main["state"] == "failed":
            raise RuntimeError(main["detail"])
        await asyncio.sleep(PAUSE_SECONDS)
    raise RuntimeError(f"the main model was not ready after {MOST_SECONDS:.0f} s")
