"""How the computing options are found: measured in a child process once for each host and model."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common import host
from common.settings import ROOT, SummarizeSettings
from functions.summarize import tuning
from functions.summarize.context import Options
from tests.conftest import wait_until
from tests.doubles import lead_model

MODEL = lead_model.FILE
CPUS = 2
UNMEASURED = Options(threads=CPUS, repack=False, micro_batch=512, flash_attention=True)
# No candidate has these, so they can only come from the cache.
KEPT = Options(threads=1, repack=False, micro_batch=96, flash_attention=True)

NewSettings = Callable[..., SummarizeSettings]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> NewSettings:
    """Settings for a model that is worth measuring, with a cache folder of the test's own."""
    monkeypatch.setattr(tuning, "MIN_MODEL_BYTES", 0)
    monkeypatch.setattr(host, "cpus", lambda: CPUS)
    caplog.set_level(logging.INFO, tuning.__name__)

    def new(**values: Any) -> SummarizeSettings:
        return SummarizeSettings(**{"cache_folder": tmp_path / "cache", **values})

    return new


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A model file that never yields a byte: whoever loads it hangs."""
    path = tmp_path / "pipe.gguf"
    os.mkfifo(path)
    return path


def keep(settings: SummarizeSettings, overrides: dict[str, Any], model: Path = MODEL) -> Path:
    """Keep `KEPT` as the outcome of an earlier start; returns the file."""
    tuning.save(model, settings, overrides, [tuning.Measurement(KEPT, 64, 0.01, 0.1, True)])
    (file,) = settings.cache_folder.iterdir()
    return file


def candidates(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The log lines of what was measured."""
    return [line for line in caplog.messages if "tokens/s" in line]


def processes_with(arguments: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if arguments.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_a_model_is_measured_once(settings: NewSettings, caplog: pytest.LogCaptureFixture) -> None:
    chosen = tuning.choose(MODEL, settings())
    assert 1 <= chosen.threads <= UNMEASURED.threads
    measured = candidates(caplog)
    assert any("flash attention off" in line for line in measured)
    assert any("repack on" in line for line in measured)
    assert tuning.choose(MODEL, settings()) == chosen
    assert candidates(caplog) == measured


def test_a_small_model_is_not_measured(
    settings: NewSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tuning, "MIN_MODEL_BYTES", MODEL.stat().st_size + 1)
    assert tuning.choose(MODEL, settings()) == UNMEASURED
    assert not candidates(caplog)


def test_zero_seconds_never_measure(settings: NewSettings, caplog: pytest.LogCaptureFixture) -> None:
    assert tuning.choose(MODEL, settings(tuning_seconds=0)) == UNMEASURED
    assert not candidates(caplog)


def test_what_the_settings_say_is_not_varied(settings: NewSettings, caplog: pytest.LogCaptureFixture) -> None:
    chosen = tuning.choose(MODEL, settings(threads=1, repack=True, micro_batch=64))
    assert replace(chosen, flash_attention=True) == Options(1, True, 64, True)
    measured = candidates(caplog)
    assert all("1 threads, repack on , micro-batch 64" in line for line in measured)
    assert any("flash attention off" in line for line in measured)


def test_an_outcome_under_settings_holds_for_them_alone(
    settings: NewSettings, caplog: pytest.LogCaptureFixture
) -> None:
    keep(settings(), {"threads": 1})
    assert tuning.choose(MODEL, settings(threads=1)) == KEPT
    assert not candidates(caplog)
    assert tuning.choose(MODEL, settings()).micro_batch != KEPT.micro_batch
    assert candidates(caplog)


def test_settings_stand_above_what_was_measured_before(settings: NewSettings, caplog: pytest.LogCaptureFixture) -> None:
    keep(settings(), {})
    assert tuning.choose(MODEL, settings(threads=7, flash_attention=False)) == Options(
        7, False, KEPT.micro_batch, False
    )
    assert not candidates(caplog)


@pytest.mark.parametrize("what", ["_cpu", "library_version", "cpu_threads", "file"])
def test_another_host_or_model_is_measured_anew(
    what: str, settings: NewSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(MODEL.read_bytes())
    known = keep(settings(), {}, model)
    if what == "file":
        os.utime(model, (1, 1))
    else:
        monkeypatch.setattr(tuning, what, lambda *_: 3)
    tuning.choose(model, settings())
    assert candidates(caplog)
    assert len(list(known.parent.iterdir())) == 2


@pytest.mark.parametrize(
    ("old", "new"), [("{", "["), ('"key"', '"other"'), ("bytes", "size"), ('"threads": 1', '"threads": 100000')]
)
def test_a_kept_outcome_that_makes_no_sense_is_replaced(
    old: str, new: str, settings: NewSettings, caplog: pytest.LogCaptureFixture
) -> None:
    file = keep(settings(), {})
    file.write_text(file.read_text().replace(old, new))
    chosen = tuning.choose(MODEL, settings())
    assert candidates(caplog)
    assert tuning.choose(MODEL, settings()) == chosen
    assert list(file.parent.iterdir()) == [file]


def test_a_cache_folder_that_cannot_be_written_is_a_log_line(
    settings: NewSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    chosen = tuning.choose(MODEL, settings(cache_folder=tmp_path / "file"))
    assert 1 <= chosen.threads <= UNMEASURED.threads
    assert "tuning: [Errno" in caplog.text


def test_a_measuring_process_that_fails_is_a_log_line(
    settings: NewSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "truncated.gguf"
    model.write_bytes(MODEL.read_bytes()[:100_000])
    assert tuning.choose(model, settings()) == UNMEASURED
    assert "llama.cpp could not load" in caplog.text
    assert not settings().cache_folder.exists()


def test_a_measuring_process_that_hangs_is_ended(
    settings: NewSettings, pipe: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tuning, "GRACE_SECONDS", 0.5)
    begun = time.monotonic()
    assert tuning.choose(pipe, settings(tuning_seconds=0.5)) == UNMEASURED
    assert time.monotonic() - begun < 5
    assert "over its limit" in caplog.text
    assert not processes_with(str(pipe))
    assert not settings().cache_folder.exists()


def test_the_measuring_process_ends_with_the_service(pipe: Path) -> None:
    code = (
        "import pathlib, sys; from functions.summarize import tuning; tuning.measure(pathlib.Path(sys.argv[1]), 60, {})"
    )
    service = subprocess.Popen([sys.executable, "-c", code, str(pipe)], cwd=ROOT)
    wait_until(lambda: bool(processes_with(f"--model\0{pipe}")), "the measuring process")
    service.kill()
    service.wait()
    wait_until(lambda: not processes_with(str(pipe)), "its end")


def test_the_command_prints_a_table_and_writes_only_when_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "functions.summarize.tuning", "--model", str(MODEL)]
    environment = os.environ | {"FACTORY_SUMMARIZE__CACHE_FOLDER": str(tmp_path / "cache")}

    def run(*arguments: str) -> list[str]:
        done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    lines = run()
    assert str(MODEL) in lines[0]
    assert len([line for line in lines[1:] if line.startswith("* ") and "decode" in line]) == 1
    assert not (tmp_path / "cache").exists()
    run("--save")
    assert len(list((tmp_path / "cache").iterdir())) == 1
