"""Fixtures that every test may use: settings by variable, models in their first state, a live runner."""

import asyncio
import base64
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import settings
from starlette.types import ASGIApp

from benchmarks.harness.browser import executable
from benchmarks.harness.service import Service, factory, run
from common import lazy
from common.settings import PREFIX, get_settings
from functions.audio.piper_loading import voices
from tests.doubles import lead_model
from tests.doubles.edge_server import SpeechCloud

if TYPE_CHECKING:
    import httpx2

ROOT = Path(__file__).resolve().parent.parent
# A GLiNER with DeBERTa's encoder as the hub's models have, a sixtieth of their size.
MINIATURE = ROOT / "tests" / "models" / "gliner"
START_SECONDS, STOP_SECONDS = 60.0, 20.0
WAIT_SECONDS = 10.0

SettingsEnv = Callable[..., None]
Runner = Service  # `python local_runner.py` as a process of its own

# The same examples each time, so that a change fails for its own fault only. HYPOTHESIS_PROFILE=more has others, many.
settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("more", max_examples=2000, deadline=None, database=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


# Processes of tests share the CPUs: engines that each take all of them would mostly wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("CPU_CORES", "1")


def pytest_report_header() -> str | None:
    return (
        None if executable() else "no browser is installed (chromium): the tests of the page, tests/web, are left out"
    )


@pytest.fixture(scope="session", autouse=True)
def no_loop_left_by_mangum() -> None:
    """Mangum leaves an event loop on the thread that imports a handler; `asyncio.run` would lose it unclosed."""
    try:
        asyncio.get_event_loop().close()
    except RuntimeError:
        return
    asyncio.set_event_loop(None)


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No FACTORY_ variable of the machine reaches a test, and none of one test the next."""
    for name in list(os.environ):
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture(autouse=True)
def no_voice_is_wanted() -> Iterator[None]:
    """A voice that one test has asked for stays loaded, but to the next test it is one that nobody wants."""
    yield
    voices._used.clear()


@pytest.fixture
def settings_env(monkeypatch: pytest.MonkeyPatch) -> SettingsEnv:
    """Sets settings for the rest of the test: settings_env(PORT=1, SUMMARIZE__THREADS=2)."""

    def set_variables(**variables: object) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(PREFIX + name, str(value))
        get_settings.cache_clear()

    return set_variables


@pytest.fixture
def fresh_models() -> Iterator[None]:
    """Models are loaded anew within the test, and again after it."""
    lazy.reset_all()
    yield
    lazy.reset_all()


def call(
    app: ASGIApp, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
) -> httpx.Response:
    """What `app` answers, in this process."""

    async def request() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.request(method, path, json=body, headers=headers)

    return asyncio.run(request())


def wait_until(condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Fails when `condition` does not come true within `seconds`."""
    given_up_at = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < given_up_at, f"waited {seconds} s in vain: {what}"
        pause.wait(0.005)


def problem(response: "httpx.Response | httpx2.Response") -> dict[str, Any]:
    """The problem details of an answer, which are checked to be whole and to hold no stack trace."""
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    assert body["instance"] == response.headers["x-request-id"]
    assert {"type", "title", "detail"} <= set(body)
    assert "Traceback" not in response.text
    return body


@contextmanager
def run_service(log: Path, **variables: object) -> Iterator[Runner]:
    """Start the service on a free port of the loopback with settings as variables, and stop it at the end.

    It summarises with the model of the tests, unless the variables name a profile or another model.
    """
    if "PROFILE" not in variables:
        variables = lead_model.SETTINGS | variables
    program = factory(variables, folder=log.parent)
    with run(program, log, start_seconds=START_SECONDS, stop_seconds=STOP_SECONDS) as running:
        yield running
    assert running.process.returncode != -signal.SIGKILL, f"it did not end within {STOP_SECONDS} s"


@pytest.fixture(scope="session")
def speech_cloud() -> Iterator[SpeechCloud]:
    """A speech cloud on the loopback that always speaks: no test asks the real one."""
    with SpeechCloud() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory, speech_cloud: SpeechCloud) -> Iterator[Runner]:
    """One service for every test that needs a live one and changes none of its settings."""
    log = tmp_path_factory.mktemp("runner") / "log.txt"
    with run_service(log, AUDIO__ENDPOINT=speech_cloud.url) as running:
        yield running


def _all_ready(service: Runner) -> bool:
    models = httpx.get(f"{service.url}/health").json()["models"].values()
    return all(model["state"] == "ready" for model in models) and len(models) > 2


@pytest.fixture(scope="session")
def as_it_starts(tmp_path_factory: pytest.TempPathFactory, speech_cloud: SpeechCloud) -> Iterator[Runner]:
    """The service with the models of `make run`, once they are loaded: for tests of these models, which take time."""
    log = tmp_path_factory.mktemp("embedded") / "log.txt"
    with run_service(log, PROFILE="embedded", AUDIO__ENDPOINT=speech_cloud.url) as running:
        wait_until(lambda: _all_ready(running), "it is ready, with its voice", START_SECONDS)
        yield running


@pytest.fixture
def main_thread_loop() -> Iterator[None]:
    """Mangum runs the app on the event loop that it finds on the thread."""
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())
        yield
        asyncio.set_event_loop(None)


def lambda_event(kind: str, method: str, path: str, body: object = None) -> dict[str, Any]:
    """The recorded event of `kind` with this request in it; its body is base64 where the recording's was."""
    text = (ROOT / f"tests/events/{kind}.json").read_text(encoding="utf-8").replace("METHOD", method)
    filled: dict[str, Any] = json.loads(text.replace("/prod/PATH", f"/prod{path}").replace("PATH", path))
    filled["body"] = None
    if body is not None:
        raw = json.dumps(body).encode()
        filled["body"] = base64.b64encode(raw).decode() if filled["isBase64Encoded"] else raw.decode()
    return filled
