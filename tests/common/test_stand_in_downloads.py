"""In which order the files of /summarize come, and who answers until the main model's is there."""

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from common import host
from common.remote_files import HubFile
from common.settings import get_settings
from functions.health.handler import app as health_app
from functions.summarize import loading, memory
from functions.summarize import model as llamas
from functions.summarize.handler import app as summarize_app
from tests.conftest import SettingsEnv, call, run_service, wait_until
from tests.doubles import lead_model
from tests.doubles.hub_server import HubFault, HubServer

pytestmark = pytest.mark.usefixtures("fresh_models")

MAIN, SMALL = llamas.PRESETS["llama-3-8b"], llamas.PRESETS["llama-3.2-1b"]
MAIN_FILE, SMALL_FILE = (preset.file.format("Q4_K_M") for preset in (MAIN, SMALL))
SMALL_NAME, MAIN_NAME = "Llama-3.2-1B-Instruct-Q4_K_M", "Llama-3-8B-Instruct-Q4_K_M"
ARTICLE = {"text": "The town of Lindholm opened a bridge on Monday. It took four years to build. Many came."}
SECONDS = 60.0


def writer() -> Any:
    answer = call(summarize_app, "POST", "/summarize", ARTICLE)
    return answer.json().get("model") if answer.status_code == 200 else answer.text


def warm() -> None:
    loading.model.warm()
    loading.stand_in.warm()


@pytest.fixture
def both(hub: HubServer, settings_env: SettingsEnv, tmp_path: Path) -> HubServer:
    """The model of the tests under the names of two presets."""
    for preset, file in ((MAIN, MAIN_FILE), (SMALL, SMALL_FILE)):
        hub.add(preset.repo, file, lead_model.FILE)
    settings_env(
        **lead_model.SETTINGS
        | {
            "MODELS_FOLDER": tmp_path / "models",
            "MODEL_WAIT_SECONDS": 30,
            "SUMMARIZE__MODEL": "llama-3-8b",
            "SUMMARIZE__STAND_IN": "llama-3.2-1b",
            "SUMMARIZE__TUNING_SECONDS": 0,
        }
    )
    return hub


def content(hub: HubServer) -> list[str]:
    """Files in the order in which their content was asked for."""
    return [record.file for record in list(hub.requests) if record.method == "GET" and record.status in (200, 206)]


def test_the_stand_in_comes_first_and_answers_while_the_main_model_still_comes(both: HubServer) -> None:
    both.pace_bytes_per_second = 5_000_000
    warm()
    wait_until(lambda: loading.stand_in.status.state == "ready", "the stand-in is ready", SECONDS)
    assert loading.model.status.state in ("downloading", "loading")
    assert call(health_app, "GET", "/health/ready").status_code == 200
    health = call(health_app, "GET", "/health").json()
    assert (health["llama_loaded"], health["models_loaded"], health["status"]) == (False, False, "healthy")
    assert writer() == SMALL_NAME
    both.pace_bytes_per_second = 0
    wait_until(lambda: loading.model.status.state == "ready", "the main model is ready", SECONDS)
    assert content(both) == [SMALL_FILE, MAIN_FILE]
    assert call(health_app, "GET", "/health").json()["llama_loaded"]
    assert writer() == MAIN_NAME


@pytest.mark.parametrize(("faulty", "writes"), [(SMALL_FILE, MAIN_NAME), (MAIN_FILE, SMALL_NAME)])
def test_a_file_that_the_hub_has_not_leaves_the_other_to_answer(both: HubServer, faulty: str, writes: str) -> None:
    both.fault, both.only = HubFault.NO_FILE, faulty
    warm()
    models = loading.model, loading.stand_in
    wait_until(lambda: all(model.status.state in ("ready", "failed") for model in models), "both loads end", SECONDS)
    assert sorted(model.status.state for model in models) == ["failed", "ready"]
    assert call(health_app, "GET", "/health").json()["status"] == "degraded"
    assert call(health_app, "GET", "/health/ready").status_code == 200
    assert writer() == writes
    assert both.downloads(faulty) == 0


def test_who_wants_the_main_model_only_is_told_when_to_come_back(both: HubServer, settings_env: SettingsEnv) -> None:
    settings_env(MODEL_WAIT_SECONDS=0)
    both.pace_bytes_per_second = 5_000_000
    warm()
    wait_until(lambda: loading.stand_in.status.state == "ready", "the stand-in is ready", SECONDS)
    answer = call(summarize_app, "POST", "/summarize", ARTICLE | {"model": "main"})
    assert (answer.status_code, answer.json()["model"]) == (503, "llama")
    assert int(answer.headers["Retry-After"]) >= 1
    assert writer() == SMALL_NAME
    both.pace_bytes_per_second = 0
    wait_until(lambda: loading.model.status.state == "ready", "the main model is ready", SECONDS)


def test_the_stand_in_makes_room_when_the_main_model_has_come(
    both: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    has = memory.needed_bytes(lead_model.FILE, lead_model.CONTEXT, sequences=get_settings().summarize.parallel + 1)
    monkeypatch.setattr(host, "memory_bytes", lambda: 2 * has + memory.MARGIN_BYTES - 1)
    small = tmp_path / "models" / HubFile(SMALL.repo, SMALL_FILE).place
    small.parent.mkdir(parents=True)
    shutil.copy(lead_model.FILE, small)
    both.pace_bytes_per_second = 500_000
    warm()
    wait_until(lambda: loading.stand_in.status.state == "ready", "the stand-in is ready", SECONDS)
    assert writer() == SMALL_NAME
    both.pace_bytes_per_second = 0
    wait_until(lambda: loading.model.status.state == "ready", "the main model is ready", SECONDS)
    assert loading.stand_in.dropped
    assert len([line for line in caplog.messages if "nobody stands in" in line]) == 1
    assert writer() == MAIN_NAME


def test_a_file_that_cannot_be_had_is_asked_for_by_the_stand_in_alone(both: HubServer) -> None:
    both.fault, both.only = HubFault.NO_FILE, SMALL_FILE
    warm()
    wait_until(lambda: loading.model.status.state == "ready", "the main model is ready", SECONDS)
    assert len([record for record in both.requests if SMALL_FILE in record.path]) == 1


def test_a_service_answers_by_its_stand_in_until_the_main_model_is_there(both: HubServer, tmp_path: Path) -> None:
    small = tmp_path / "models" / HubFile(SMALL.repo, SMALL_FILE).place
    small.parent.mkdir(parents=True)
    shutil.copy(lead_model.FILE, small)
    both.pace_bytes_per_second = 500_000
    with run_service(
        tmp_path / "log.txt",
        MODELS_FOLDER=tmp_path / "models",
        MODEL_WAIT_SECONDS=30,
        SUMMARIZE__MODEL="llama-3-8b",
        SUMMARIZE__STAND_IN="llama-3.2-1b",
        SUMMARIZE__TUNING_SECONDS=0,
    ) as running:

        def write() -> Any:
            return httpx.post(f"{running.url}/summarize", json=ARTICLE, timeout=SECONDS).json().get("model")

        def health() -> Any:
            return httpx.get(f"{running.url}/health", timeout=SECONDS).json()

        assert write() == SMALL_NAME
        assert (health()["llama_loaded"], health()["models"]["stand-in"]["state"]) == (False, "ready")
        both.pace_bytes_per_second = 0
        wait_until(lambda: health()["llama_loaded"], "the main model is ready", SECONDS)
        assert write() == MAIN_NAME
