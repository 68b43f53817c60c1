import asyncio
import threading
from collections.abc import Callable

import pytest

from common import lazy
from common.errors import ModelLoadFailed, ModelNotReady
from common.lazy import LazyModel, ModelStatus, Report
from tests.conftest import wait_until

BuildModel = Callable[[Callable[[Report], str]], LazyModel[str]]


@pytest.fixture
def build_model(monkeypatch: pytest.MonkeyPatch) -> BuildModel:
    monkeypatch.setattr(lazy, "_registry", {})
    return lambda load: LazyModel("test", load)


def test_many_callers_load_a_model_once(build_model: BuildModel) -> None:
    loads: list[int] = []
    gate = threading.Event()

    def load(_: Report) -> str:
        gate.wait(10)
        loads.append(1)
        return "loaded"

    async def call() -> list[str]:
        model = build_model(load)
        calls = [asyncio.create_task(model.ready(10)) for _ in range(20)]
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(*calls)

    assert asyncio.run(call()) == ["loaded"] * 20
    assert loads == [1]


def test_a_caller_who_gives_up_does_not_end_the_load_for_the_others(build_model: BuildModel) -> None:
    gate = threading.Event()

    def load(report: Report) -> str:
        report(ModelStatus("downloading", 0.25))
        gate.wait(10)
        return "loaded"

    async def call() -> str:
        model = build_model(load)
        with pytest.raises(ModelNotReady) as error:
            await model.ready(0.05)
        assert (error.value.state, error.value.progress) == ("downloading", 0.25)
        assert "25% done" in error.value.detail
        assert error.value.retry_after >= 1
        gate.set()
        return await model.ready(10)

    assert asyncio.run(call()) == "loaded"


def test_a_failed_load_says_why_and_is_tried_again_later(
    build_model: BuildModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[Exception | None] = [ModelLoadFailed("the file is gone"), None]

    def load(_: Report) -> str:
        if error := outcomes.pop(0):
            raise error
        return "loaded"

    async def call() -> str:
        model = build_model(load)
        for _ in range(2):
            with pytest.raises(ModelNotReady, match="the file is gone"):
                await model.ready(10)
        assert model.status == ModelStatus("failed", None, "the file is gone")
        assert len(outcomes) == 1
        monkeypatch.setattr(lazy, "RETRY_SECONDS", 0.0)
        return await model.ready(10)

    assert asyncio.run(call()) == "loaded"


def test_a_model_that_is_loaded_ahead_is_tried_again_without_a_caller(
    build_model: BuildModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy, "RETRY_SECONDS", 0.01)
    outcomes: list[Exception | None] = [ModelLoadFailed("the hub is away"), ModelLoadFailed("still away"), None]

    def load(_: Report) -> str:
        if error := outcomes.pop(0):
            raise error
        return "loaded"

    model = build_model(load)
    model.warm()
    wait_until(lambda: model.status.state == "ready", "it is tried until it is there")
    assert not outcomes


def test_a_model_that_was_reset_is_not_tried_again(build_model: BuildModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "RETRY_SECONDS", 0.05)
    loads: list[int] = []

    def load(_: Report) -> str:
        loads.append(1)
        raise ModelLoadFailed("the file is gone")

    model = build_model(load)
    model.warm()
    wait_until(lambda: model.status.state == "failed", "it has failed")
    model.reset()
    threading.Event().wait(0.15)
    assert (model.status.state, loads) == ("unloaded", [1])


def test_a_loaded_model_serves_later_event_loops(build_model: BuildModel) -> None:
    model = build_model(lambda _: "loaded")
    assert [asyncio.run(model.ready(10)) for _ in range(2)] == ["loaded", "loaded"]


def test_two_models_cannot_take_the_same_name(build_model: BuildModel) -> None:
    build_model(lambda _: "a")
    with pytest.raises(ValueError, match="registered already"):
        build_model(lambda _: "b")
