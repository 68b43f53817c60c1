import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

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


def taking(outcomes: list[Exception | None]) -> Callable[[Report], str]:
    """Each load takes the next outcome, which is a failure or none."""

    def load(_: Report) -> str:
        if error := outcomes.pop(0):
            raise error
        return "loaded"

    return load


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

    async def call() -> str:
        model = build_model(taking(outcomes))
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

    model = build_model(taking(outcomes))
    model.warm()
    wait_until(lambda: model.status.state == "ready", "it is tried until it is there")
    assert not outcomes


def test_a_load_that_somebody_else_began_is_tried_again_once_it_is_wanted_ahead(
    build_model: BuildModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[Exception | None] = [ModelLoadFailed("there is no file"), ModelLoadFailed("still none"), None]

    model = build_model(taking(outcomes))
    assert model.start().exception(10) is not None
    monkeypatch.setattr(lazy, "RETRY_SECONDS", 0.1)
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


@dataclass
class Loads:
    """Loads of a model that each wait for `gate`; what was loaded and what was unloaded."""

    gate: threading.Event = field(default_factory=threading.Event)
    loaded: list[str] = field(default_factory=list)
    unloaded: list[str] = field(default_factory=list)

    def load(self, _: Report) -> str:
        assert self.gate.wait(10)
        self.loaded.append(f"model {len(self.loaded)}")
        return self.loaded[-1]

    def model(self, name: str = "test") -> LazyModel[str]:
        return LazyModel(name, self.load, unload=self.unloaded.append)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    monkeypatch.setattr(lazy, "_registry", {})
    return Loads()


def test_a_dropped_model_is_unloaded_and_never_loaded_again(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "RETRY_SECONDS", 0.0)
    model = loads.model()
    loads.gate.set()
    model.warm()
    assert model.start().result(10) == "model 0"
    assert model.drop("there is no room").done()
    assert (loads.unloaded, model.loaded, model.dropped) == (["model 0"], None, True)
    assert model.status == ModelStatus("failed", None, "there is no room")
    for _ in range(2):
        with pytest.raises(ModelNotReady, match="there is no room"):
            asyncio.run(model.ready(10))
    threading.Event().wait(0.05)
    assert loads.loaded == ["model 0"]


def test_what_is_dropped_while_it_loads_is_unloaded_and_given_to_nobody(loads: Loads) -> None:
    async def call() -> None:
        model = loads.model()
        caller = asyncio.create_task(model.ready(10))
        await asyncio.sleep(0)
        dropped = model.drop("there is no room")
        assert not dropped.done()
        loads.gate.set()
        with pytest.raises(ModelNotReady, match="there is no room"):
            await caller
        assert dropped.exception(10)
        assert (loads.loaded, loads.unloaded, model.loaded) == (["model 0"], ["model 0"], None)
        assert model.status.state == "failed"

    asyncio.run(call())


def test_a_model_is_dropped_with_one_line_however_often(loads: Loads, caplog: pytest.LogCaptureFixture) -> None:
    model = loads.model()
    for _ in range(3):
        assert model.drop("there is no room").done()
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("is_loaded", [True, False])
def test_a_model_that_is_reset_is_unloaded_and_loaded_anew(loads: Loads, is_loaded: bool) -> None:
    model = loads.model()
    first = model.start()
    if is_loaded:
        loads.gate.set()
        first.result(10)
    model.reset()
    loads.gate.set()
    assert model.start().result(10) in ("model 0", "model 1")
    wait_until(lambda: len(loads.unloaded) == 1, "the first one is unloaded")
    assert model.loaded not in loads.unloaded
    assert len(loads.loaded) == 2


def test_a_stand_in_answers_for_the_model_that_is_not_there(loads: Loads) -> None:
    stand_in = loads.model("stand-in")
    coming = Loads()
    model = LazyModel("test", coming.load, stand_in=stand_in)
    model.warm()
    stand_in.warm()
    assert not lazy.answerable()
    loads.gate.set()
    stand_in.start().result(10)
    assert lazy.answerable()
    stand_in.drop("there is no room")
    assert not lazy.answerable()
    coming.gate.set()
    model.start().result(10)
    assert lazy.answerable()
