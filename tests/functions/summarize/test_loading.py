"""Both models of /summarize as they are loaded: neither's trouble is the other's, and health tells of both."""

import logging
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from common import host, lazy
from common.errors import ModelLoadFailed
from common.settings import get_settings
from functions.health.handler import app as health_app
from functions.summarize import loading, memory, tuning
from functions.summarize.context import LlamaContext
from functions.summarize.engine import LlamaEngine
from functions.summarize.handler import app as summarize_app
from functions.summarize.planning import Demand, Job, Plan
from tests.conftest import SettingsEnv, call, wait_until
from tests.doubles import lead_model, tiny_gguf

pytestmark = pytest.mark.usefixtures("fresh_models")

ARTICLE = {"text": "The town of Lindholm opened a bridge on Monday. It took four years to build. Many came."}
SECONDS = 60.0


def health() -> Any:
    return call(health_app, "GET", "/health").json()


def ready() -> int:
    return call(health_app, "GET", "/health/ready").status_code


def load() -> None:
    """Both, as at a start, until each is loaded or has failed."""
    loading.model.warm()
    if loading.stand_in.wanted:
        loading.stand_in.warm()
    ended = {"ready", "failed"}
    models = [loading.model, *([loading.stand_in] if loading.stand_in.wanted else [])]
    wait_until(lambda: all(model.status.state in ended for model in models), "both loads end", SECONDS)


def writer() -> Any:
    return call(summarize_app, "POST", "/summarize", ARTICLE).json().get("model")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The model of the tests once more, under a name of its own."""
    return Path(shutil.copy(lead_model.FILE, tmp_path / "small.gguf"))


@pytest.fixture(autouse=True)
def pair(lead: None, small: Path, settings_env: SettingsEnv) -> None:  # noqa: ARG001
    settings_env(SUMMARIZE__STAND_IN=small, SUMMARIZE__TUNING_SECONDS=0, MODEL_WAIT_SECONDS=30)


def states() -> dict[str, str]:
    return {name: model["state"] for name, model in health()["models"].items() if name in ("llama", "stand-in")}


def bytes_of(path: Path) -> int:
    settings = get_settings().summarize
    return memory.needed_bytes(path, lead_model.CONTEXT, sequences=settings.parallel + 1)


def test_health_shows_both_and_without_a_deadline_the_main_model_writes() -> None:
    load()
    assert states() == {"stand-in": "ready", "llama": "ready"}
    body = health()
    assert (body["status"], body["llama_loaded"]) == ("healthy", True)
    assert ready() == 200
    assert writer() == lead_model.NAME


def test_without_a_stand_in_health_shows_none(settings_env: SettingsEnv) -> None:
    settings_env(SUMMARIZE__STAND_IN="none")
    load()
    assert states() == {"llama": "ready"}


@pytest.mark.parametrize("fault", ["missing", "damaged", "no name"])
def test_the_main_model_works_alone_where_the_stand_in_cannot_be_had(
    small: Path, fault: str, settings_env: SettingsEnv
) -> None:
    if fault == "missing":
        small.unlink()
    elif fault == "damaged":
        small.write_bytes(small.read_bytes()[: small.stat().st_size // 2])
    else:
        settings_env(SUMMARIZE__STAND_IN="llama-3.2-1")
    load()
    assert states() == {"stand-in": "failed", "llama": "ready"}
    body = health()
    assert (body["status"], body["llama_loaded"], body["models_loaded"]) == ("degraded", True, False)
    said = {"missing": "there is no file small.gguf", "damaged": "small.gguf", "no name": "FACTORY_SUMMARIZE__STAND_IN"}
    assert said[fault] in body["models"]["stand-in"]["detail"]
    assert ready() == 200
    assert writer() == lead_model.NAME


@pytest.mark.parametrize("fault", ["missing", "damaged", "no name"])
def test_the_stand_in_goes_on_where_the_main_model_cannot_be_had(
    tmp_path: Path, fault: str, settings_env: SettingsEnv
) -> None:
    main = tmp_path / "main.gguf"
    if fault == "damaged":
        main.write_bytes(lead_model.FILE.read_bytes()[: lead_model.FILE.stat().st_size // 2])
    settings_env(SUMMARIZE__MODEL="llama-3-8" if fault == "no name" else main)
    load()
    assert states() == {"stand-in": "ready", "llama": "failed"}
    body = health()
    assert (body["status"], body["llama_loaded"], body["models_loaded"]) == ("degraded", False, False)
    assert ready() == 200
    assert writer() == "small"


def test_none_is_ready_where_neither_can_be_had(small: Path, tmp_path: Path, settings_env: SettingsEnv) -> None:
    small.unlink()
    settings_env(SUMMARIZE__MODEL=tmp_path / "main.gguf")
    load()
    assert states() == {"stand-in": "failed", "llama": "failed"}
    assert ready() == 503


@pytest.mark.parametrize("spelling", ["the same", "another"])
def test_the_same_file_stands_in_for_nobody(
    spelling: str, settings_env: SettingsEnv, caplog: pytest.LogCaptureFixture
) -> None:
    same = lead_model.FILE if spelling == "the same" else f"{lead_model.FILE.parent}/./{lead_model.FILE.name}"
    other = f"{lead_model.FILE.parent}/../{lead_model.FILE.parent.name}/{lead_model.FILE.name}"
    settings_env(SUMMARIZE__STAND_IN=same if spelling == "the same" else other)
    with caplog.at_level(logging.WARNING):
        load()
    assert states() == {"llama": "ready"}
    assert health()["status"] == "healthy"
    assert len([line for line in caplog.messages if "FACTORY_SUMMARIZE__STAND_IN" in line]) == 1
    assert writer() == lead_model.NAME


def test_the_stand_in_is_dropped_where_both_do_not_fit(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = bytes_of(lead_model.FILE) + bytes_of(small) + memory.MARGIN_BYTES
    monkeypatch.setattr(host, "memory_bytes", lambda: both - 1)
    load()
    wait_until(lambda: states() == {"stand-in": "failed", "llama": "ready"}, "the main model works alone")
    body = health()
    assert (body["status"], body["llama_loaded"]) == ("degraded", True)
    assert "nobody stands in for the main model" in body["models"]["stand-in"]["detail"]
    assert writer() == lead_model.NAME


def test_both_are_kept_where_they_just_fit(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = bytes_of(lead_model.FILE) + bytes_of(small) + memory.MARGIN_BYTES
    monkeypatch.setattr(host, "memory_bytes", lambda: both)
    load()
    assert states() == {"stand-in": "ready", "llama": "ready"}


def test_a_main_model_that_does_not_even_fit_alone_costs_no_stand_in(
    tmp_path: Path, settings_env: SettingsEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tiny_gguf.write(tmp_path / "tiny.gguf", "llama")
    settings_env(SUMMARIZE__STAND_IN=small)
    dropped: list[str] = []
    monkeypatch.setattr(loading.stand_in, "drop", dropped.append)
    monkeypatch.setattr(host, "memory_bytes", lambda: bytes_of(lead_model.FILE) + memory.MARGIN_BYTES - 1)
    load()
    assert states() == {"stand-in": "ready", "llama": "failed"}
    assert not dropped
    assert ready() == 200


def test_both_that_do_not_fit_are_known_before_the_stand_in_is_loaded(
    small: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened: list[Path] = []

    class Context(LlamaContext):
        def __init__(self, path: Path, *arguments: Any) -> None:
            opened.append(path)
            super().__init__(path, *arguments)

    monkeypatch.setattr(loading, "LlamaContext", Context)
    both = bytes_of(lead_model.FILE) + bytes_of(small) + memory.MARGIN_BYTES
    monkeypatch.setattr(host, "memory_bytes", lambda: both - 1)
    load()
    assert states() == {"stand-in": "failed", "llama": "ready"}
    assert opened == [lead_model.FILE]
    assert len([line for line in caplog.messages if "nobody stands in" in line]) == 1


def test_a_stand_in_that_made_room_for_nothing_comes_back(
    small: Path, tmp_path: Path, settings_env: SettingsEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = Path(shutil.copy(lead_model.FILE, tmp_path / "main.gguf"))
    settings_env(SUMMARIZE__MODEL=main)
    both = bytes_of(main) + bytes_of(small) + memory.MARGIN_BYTES
    monkeypatch.setattr(host, "memory_bytes", lambda: both - 1)

    choose = tuning.choose

    def failing(path: Path, *arguments: Any, **more: Any) -> Any:
        if path == main:
            raise ModelLoadFailed("main.gguf is damaged")
        return choose(path, *arguments, **more)

    monkeypatch.setattr(tuning, "choose", failing)
    loading.model.warm()
    loading.stand_in.warm()
    wait_until(lambda: states() == {"stand-in": "ready", "llama": "failed"}, "the stand-in is back", SECONDS)
    assert writer() == "small"


def test_who_wants_the_main_model_only_is_told_why_it_is_not_there(tmp_path: Path, settings_env: SettingsEnv) -> None:
    settings_env(SUMMARIZE__MODEL=tmp_path / "main.gguf")
    load()
    answer = call(summarize_app, "POST", "/summarize", ARTICLE | {"model": "main"})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert (answer.json()["model"], answer.json()["state"]) == ("llama", "failed")
    assert "there is no file main.gguf" in answer.json()["detail"]
    assert writer() == "small"


def test_a_failed_stand_in_is_tried_again(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "RETRY_SECONDS", 0.2)
    aside = small.rename(small.with_suffix(".aside"))
    load()
    assert states() == {"stand-in": "failed", "llama": "ready"}
    aside.rename(small)
    wait_until(lambda: states() == {"stand-in": "ready", "llama": "ready"}, "it is tried until it is there", SECONDS)


def opens(engine: LlamaEngine) -> bool:
    with engine.in_use() as is_open:
        return is_open


def test_who_is_with_a_model_is_answered_before_it_is_dropped() -> None:
    load()
    engine = loading.stand_in.loaded
    assert engine is not None
    with engine.in_use() as is_open:
        assert is_open
        dropping = threading.Thread(target=loading.stand_in.drop, args=("there is no room",))
        dropping.start()
        wait_until(lambda: not opens(engine), "nobody new may use it")
        assert loading.stand_in.loaded is None
        assert engine.tokenize("A bridge.", False)
        assert dropping.is_alive()
    dropping.join(SECONDS)
    assert not dropping.is_alive()
    assert writer() == lead_model.NAME


def test_a_claim_on_a_model_that_was_dropped_is_held_against_nobody() -> None:
    load()
    small = loading.stand_in.loaded
    assert small is not None
    gone = (small, Job(100, 10))
    loading.stand_in.drop("there is no room")
    main = loading.model.loaded
    assert main is not None
    assert isinstance(main.plan(Demand(50, 10, 10), None, False, ahead=[gone]), Plan)
