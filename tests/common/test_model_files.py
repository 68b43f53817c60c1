"""Where a model's file is on this machine."""

from pathlib import Path

import pytest

from common.errors import ModelLoadFailed
from common.lazy import ModelStatus
from common.model_files import local
from common.remote_files import HubFile, UrlFile
from common.settings import ROOT, Settings, get_settings
from tests.conftest import SettingsEnv

FILE = ROOT / "models/embedded/gliner/tokenizer.json"


def told(_: ModelStatus) -> None:
    raise AssertionError("nothing is loaded here")


def test_a_file_that_is_there_and_one_that_is_not(tmp_path: Path) -> None:
    assert local(FILE, Settings(), told) == FILE
    for missing in (tmp_path / "mine.gguf", FILE.parent):
        with pytest.raises(ModelLoadFailed, match=f"there is no file {missing}"):
            local(missing, Settings(), told)


@pytest.mark.parametrize("by_setting", [True, False])
def test_what_is_to_be_downloaded_offline_is_an_error(
    settings_env: SettingsEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_setting: bool
) -> None:
    settings_env(MODELS_FOLDER=tmp_path, OFFLINE=by_setting)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0" if by_setting else "1")
    with pytest.raises(ModelLoadFailed, match=r"owner/name/a\.gguf@main is not in .*, and downloads are off"):
        local(HubFile("owner/name", "a.gguf"), get_settings(), told)


def test_what_was_downloaded_is_found_in_the_folder_of_the_settings(settings_env: SettingsEnv, tmp_path: Path) -> None:
    settings_env(MODELS_FOLDER=tmp_path)
    remote = HubFile("owner/name", "onnx/a.gguf", "refs/pr/1")
    assert str(remote.place) == "owner--name/refs--pr--1/onnx/a.gguf"
    (tmp_path / remote.place).parent.mkdir(parents=True)
    (tmp_path / remote.place).write_bytes(b"")
    assert local(remote, get_settings(), told) == tmp_path / remote.place
    place = UrlFile("https://example.com/..?a=b").place
    assert (place.name, ".." in place.parts, place.parts[0].startswith("example.com-")) == ("file", False, True)
    same_name = [UrlFile(f"https://example.com/{folder}/a.gguf").place for folder in "ab"]
    assert same_name[0].name == same_name[1].name == "a.gguf"
    assert same_name[0] != same_name[1]
