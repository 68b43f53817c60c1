import asyncio
import threading
import tomllib
from collections.abc import Callable, Iterator
from typing import ClassVar

import httpx
import pytest

from common import lazy
from common.errors import ModelLoadFailed
from common.lazy import LazyModel, ModelStatus, Report
from functions.health.handler import app
from tests.conftest import ROOT, Runner

Load = Callable[[Report], object]


def call(method: str, path: str) -> httpx.Response:
    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path)

    return asyncio.run(request())


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Load], LazyModel[object]]]:
    monkeypatch.setattr(lazy, "_registry", {})
    yield LazyModel
    for model in lazy.models().values():
        # Else what has failed is tried again in the middle of another test.
        model.reset()


def finish(model: LazyModel[object]) -> None:
    model.warm()
    model.start().exception(10)


def test_health_has_the_five_fields_of_the_contract_and_the_models(runner: Runner) -> None:
    # The first of their kind may have to wait for what is loaded.
    for path in ("summarize", "extract"):
        httpx.post(f"{runner.url}/{path}", json={"text": "One. Two."}, timeout=60).raise_for_status()
    body = httpx.get(f"{runner.url}/health").json()
    assert body["status"] == "healthy"
    assert body["models_loaded"] is body["llama_loaded"] is body["gliner_loaded"] is True
    assert isinstance(body["uptime_seconds"], int)
    ready = {"state": "ready", "progress": 1.0}
    assert body["models"]["llama"].pop("detail").startswith("CPU backend: ")
    rates = {name: body["models"][name].pop("rates") for name in ("llama", "gliner")}
    assert set(rates["llama"]) == {"reading_tokens_per_second", "writing_tokens_per_second"}
    assert set(rates["gliner"]) == {"reading_tokens_per_second"}
    assert all(rate > 0 for each in rates.values() for rate in each.values())
    # It comes when it comes: all is answered without it as well.
    body["models"].pop("piper:en_US-joe-medium", None)
    assert body["models"] == {"llama": ready, "gliner": ready | {"detail": "", "graph": "rebuilt"}}
    assert body["upstreams"] == {"speech cloud": {"state": "closed", "failures": 0, "retry_in_seconds": 0.0}}
    assert body["queues"] == {name: {"at_work": 0, "waiting": 0} for name in ("summarize", "extract", "audio")}
    assert httpx.get(f"{runner.url}/health/ready").status_code == 200


def test_head_is_answered_for_monitors_that_send_nothing_else(runner: Runner) -> None:
    response = httpx.head(f"{runner.url}/health")
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.usefixtures("fresh_models")
def test_a_process_without_models_is_healthy_and_ready() -> None:
    body = call("GET", "/health").json()
    assert (body["status"], body["models_loaded"], body["llama_loaded"]) == ("healthy", False, False)


def test_a_loaded_model_tells_what_else_is_to_be_known_without_the_folders(
    register: Callable[[str, Load], LazyModel[object]],
) -> None:
    class Loaded:
        facts: ClassVar = {"graph": "as exported: /srv/models/model.onnx is odd"}

    finish(register("gliner", lambda _: Loaded()))
    expected = {"state": "ready", "progress": 1.0, "detail": "", "graph": "as exported: model.onnx is odd"}
    assert call("GET", "/health").json()["models"] == {"gliner": expected}


def test_a_loading_model_is_shown_with_its_progress_and_is_not_ready(
    register: Callable[[str, Load], LazyModel[object]],
) -> None:
    reported, gate = threading.Event(), threading.Event()

    def load(report: Report) -> object:
        report(ModelStatus("downloading", 0.5, "2.3 of 4.6 GB"))
        reported.set()
        return gate.wait(10)

    model = register("llama", load)
    model.warm()
    assert reported.wait(10)
    body = call("GET", "/health").json()
    assert body["models"] == {"llama": {"state": "downloading", "progress": 0.5, "detail": "2.3 of 4.6 GB"}}
    assert (body["models_loaded"], body["llama_loaded"]) == (False, False)
    waiting = call("GET", "/health/ready")
    assert (waiting.status_code, waiting.headers["retry-after"]) == (503, "5")
    gate.set()
    finish(model)
    assert call("GET", "/health/ready").status_code == 200


def test_a_failed_model_is_shown_with_its_reason_while_health_stays_200(
    register: Callable[[str, Load], LazyModel[object]],
) -> None:
    def load(_: Report) -> object:
        raise ModelLoadFailed("there is no file /models/x.gguf")

    finish(register("llama", load))
    response = call("GET", "/health")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["models"]["llama"]["detail"] == "there is no file x.gguf"
    assert call("GET", "/health/ready").status_code == 503


def test_the_version_is_the_projects_own_and_the_same_everywhere(runner: Runner) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert httpx.get(f"{runner.url}/health").json()["version"] == project
    assert httpx.get(f"{runner.url}/openapi.json").json()["info"]["version"] == project
    assert f"## [{project}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
