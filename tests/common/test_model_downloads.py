"""A preset that is not there yet: what health and a request's 503 tell, and that the model answers afterwards."""

from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest

from common import lazy
from common.lazy import LazyModel
from functions.extract import engine as extract_engine
from functions.extract import model as gliners
from functions.extract.handler import app as extract_app
from functions.extract.model import CONFIG, HUB_FILE, TOKENIZER
from functions.health.handler import app as health_app
from functions.summarize import loading as summarize_loading
from functions.summarize import model as llamas
from functions.summarize.handler import app as summarize_app
from tests.conftest import MINIATURE, SettingsEnv, call, problem, wait_until
from tests.doubles import lead_model
from tests.doubles.hub_server import HubFault, HubServer

pytestmark = pytest.mark.usefixtures("fresh_models")

LLAMA, GLINER = llamas.PRESETS["llama-3.2-1b"], gliners.PRESETS["gliner-small-v2.1"]
LLAMA_FILE = LLAMA.file.format("Q4_K_M")
ARTICLE = {"text": "The town of Lindholm opened a bridge on Monday. It took four years to build. Many came."}


@pytest.fixture
def presets(hub: HubServer, settings_env: SettingsEnv, tmp_path: Path) -> HubServer:
    """The models of the tests under the names of presets, which the settings ask for."""
    hub.add(LLAMA.repo, LLAMA_FILE, lead_model.FILE)
    for name, file in ((HUB_FILE, "model.onnx"), (CONFIG, CONFIG), (TOKENIZER, TOKENIZER)):
        hub.add(GLINER.repo, name, MINIATURE / file)
    settings_env(
        MODELS_FOLDER=tmp_path / "models",
        MODEL_WAIT_SECONDS=0.05,
        SUMMARIZE__MODEL="llama-3.2-1b",
        SUMMARIZE__CONTEXT=1024,
        SUMMARIZE__TUNING_SECONDS=0,
        EXTRACT__MODEL="gliner-small-v2.1",
        EXTRACT__REBUILD=False,
    )
    return hub


def halfway(model: LazyModel[Any], hub: HubServer, bytes_per_second: float) -> None:
    """Begin to load, and wait until some of the largest file is there."""
    hub.pace_bytes_per_second = bytes_per_second
    model.warm()
    wait_until(lambda: " MB, " in model.status.detail and (model.status.progress or 0) > 0.1, "it downloads")


def finish(model: LazyModel[Any]) -> None:
    model.start().exception(60)


def check_downloading(name: str, repo: str, refused: httpx.Response) -> None:
    body = problem(refused)
    assert (body["state"], body["model"]) == ("downloading", name)
    assert 0 < body["progress"] < 1
    assert f"the model '{name}' is downloading, " in body["detail"]
    assert f"% done ({repo}/" in body["detail"]
    assert "MB/s)" in body["detail"]
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    health = call(health_app, "GET", "/health").json()
    assert (health["models"][name]["state"], health[f"{name}_loaded"]) == ("downloading", False)
    assert body["progress"] <= health["models"][name]["progress"] < 1
    assert repo in health["models"][name]["detail"]
    assert call(health_app, "GET", "/health/ready").status_code == 503


def test_a_summary_of_a_preset_that_downloads(presets: HubServer) -> None:
    halfway(summarize_loading.model, presets, 3_000_000)
    check_downloading("llama", LLAMA.repo, call(summarize_app, "POST", "/summarize", ARTICLE))
    finish(summarize_loading.model)
    answer = call(summarize_app, "POST", "/summarize", ARTICLE)
    assert (answer.status_code, answer.json()["model"]) == (200, "Llama-3.2-1B-Instruct-Q4_K_M")
    assert presets.downloads(LLAMA_FILE) == 1


def test_weights_in_a_file_of_their_own_are_downloaded_as_well(presets: HubServer, tmp_path: Path) -> None:
    export = tmp_path / "export.onnx"
    loaded = onnx.load(str(MINIATURE / "model.onnx"))
    onnx.save_model(loaded, str(export), save_as_external_data=True, location="model.onnx_data")
    presets.add(GLINER.repo, HUB_FILE, export)
    presets.add(GLINER.repo, f"{HUB_FILE}_data", export.with_name("model.onnx_data"))
    extract_engine.load(lambda _: None)
    assert presets.downloads(f"{HUB_FILE}_data") == 1


def test_entities_of_a_preset_that_downloads(presets: HubServer) -> None:
    halfway(extract_engine.model, presets, 10_000_000)
    check_downloading("gliner", GLINER.repo, call(extract_app, "POST", "/extract", ARTICLE))
    finish(extract_engine.model)
    answer = call(extract_app, "POST", "/extract", ARTICLE)
    assert (answer.status_code, answer.json()["model"]) == (200, "GLiNER-small-v2.1")
    assert all(presets.downloads(name, GLINER.repo) == 1 for name in (HUB_FILE, CONFIG, TOKENIZER))


def test_a_model_that_comes_damaged_is_never_loaded(
    presets: HubServer, settings_env: SettingsEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_env(MODEL_WAIT_SECONDS=30)
    presets.fault = HubFault.FLIPPED
    refused = call(summarize_app, "POST", "/summarize", ARTICLE)
    body = problem(refused)
    assert (body["state"], refused.status_code) == ("failed", 503)
    assert f"the model 'llama' could not be loaded: {LLAMA.repo}/{LLAMA_FILE}@main could not be" in body["detail"]
    assert "what came is damaged, its checksum is " in body["detail"]
    assert call(health_app, "GET", "/health").json()["status"] == "degraded"
    assert [path.suffix for path in (tmp_path / "models").rglob("*") if path.is_file()] == [".lock"]
    presets.fault = HubFault.NONE
    monkeypatch.setattr(lazy, "RETRY_SECONDS", 0.0)
    assert call(summarize_app, "POST", "/summarize", ARTICLE).status_code == 200
