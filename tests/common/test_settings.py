import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.settings import ROOT, InvalidSettings, get_settings, load_settings, sources
from tests.conftest import SettingsEnv


def test_profile_sets_defaults_and_a_variable_overrides_one_of_them(settings_env: SettingsEnv) -> None:
    settings_env(PROFILE="embedded", SUMMARIZE__CONTEXT=1024)
    settings = get_settings()
    assert settings.summarize.context == 1024
    assert (settings.summarize.model, settings.extract.model) == ("embedded", "embedded")


@pytest.mark.parametrize(("profile", "stand_in"), [("space", "llama-3.2-1b"), ("embedded", None), ("lambda", None)])
def test_only_a_space_has_a_stand_in_by_default(settings_env: SettingsEnv, profile: str, stand_in: str | None) -> None:
    settings_env(PROFILE=profile)
    assert get_settings().summarize.stand_in == stand_in


def test_space_profile_names_the_real_models(settings_env: SettingsEnv) -> None:
    settings_env(PROFILE="space")
    assert get_settings().summarize.model == "llama-3-8b"
    assert get_settings().extract.model == "gliner-small-v2.1"


def test_dotenv_file_is_read_and_stands_behind_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings_env: SettingsEnv
) -> None:
    (tmp_path / ".env").write_text("FACTORY_PORT=1111\nFACTORY_HOST=127.0.0.9\n")
    monkeypatch.chdir(tmp_path)
    settings_env(PORT=2222)
    settings = get_settings()
    assert (settings.port, settings.host) == (2222, "127.0.0.9")
    origin = sources(settings)
    assert (origin["port",], origin["host",], origin["profile",]) == ("environment", ".env", "default")
    assert origin["summarize", "model"] == "profile"


def test_each_bad_value_is_one_line_that_names_its_variable(settings_env: SettingsEnv) -> None:
    settings_env(PORT="x", EXTRACT__THREADS="-1", SUMARIZE__THREADS="2", AUDIO__SPEED="1")
    with pytest.raises(InvalidSettings) as error:
        load_settings()
    lines = "\n".join(error.value.lines)
    assert len(error.value.lines) == 4
    assert "FACTORY_SUMARIZE__THREADS: unknown setting; did you mean FACTORY_SUMMARIZE__THREADS?" in lines
    assert "FACTORY_PORT: " in lines
    assert "FACTORY_EXTRACT__THREADS: " in lines
    assert "FACTORY_AUDIO__SPEED: " in lines


def test_what_is_below_a_single_setting_is_not_passed_over(settings_env: SettingsEnv) -> None:
    # Else the service would be open to all, and its operator believe that it is not.
    settings_env(API_KEYS__DESK="desk-0123456789abcdef")
    with pytest.raises(InvalidSettings, match="FACTORY_API_KEYS__DESK: unknown setting; did you mean FACTORY_API_KEYS"):
        load_settings()


def test_printed_settings_say_where_each_is_from(tmp_path: Path) -> None:
    environment = os.environ | {"FACTORY_PORT": "7999", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "common.settings"]
    printed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    rows = {line.split()[0]: line.split()[1:3] for line in printed.splitlines()}
    assert rows["FACTORY_PORT"] == ["7999", "environment"]
    assert rows["FACTORY_PROFILE"] == ["embedded", "default"]
    assert rows["FACTORY_EXTRACT__MODEL"] == ["embedded", "profile"]


def test_start_with_bad_settings_ends_with_the_reason_and_no_stack_trace() -> None:
    environment = os.environ | {"FACTORY_PORT": "99999"}
    command = [sys.executable, str(ROOT / "local_runner.py")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("settings: FACTORY_PORT: ")
    assert "Traceback" not in ended.stderr


def test_the_page_of_settings_is_what_the_settings_say() -> None:
    command = [sys.executable, "-m", "common.settings", "--markdown"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs/settings.md").read_text(encoding="utf-8") == printed, "write it anew; its head says how"
