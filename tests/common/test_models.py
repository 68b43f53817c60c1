"""What the setting `model` may be, and what an operator is told when it means nothing."""

from pathlib import Path

import pytest

from common import models
from common.errors import ModelLoadFailed
from common.lazy import ModelStatus
from common.models import EMBEDDED_GLINER, EMBEDDED_LLAMA, GLINERS, LLAMAS, Llama
from common.remotes import HubFile, UrlFile
from common.settings import ROOT, ExtractSettings, Settings, SummarizeSettings, get_settings
from tests.conftest import SettingsEnv

SHA256 = "0123456789abcdef" * 4


def llama(model: str, **fields: object) -> Llama:
    return models.llama(SummarizeSettings.model_validate({"model": model, **fields}))


def gliner(model: str, **fields: object) -> models.Gliner:
    return models.gliner(ExtractSettings.model_validate({"model": model, **fields}))


@pytest.mark.parametrize(
    ("model", "file", "name"),
    [
        (
            "llama-3-8b",
            HubFile("bartowski/Meta-Llama-3-8B-Instruct-GGUF", "Meta-Llama-3-8B-Instruct-Q4_K_M.gguf"),
            "Llama-3-8B-Instruct-Q4_K_M",
        ),
        (
            "llama-3.2-1b",
            HubFile("bartowski/Llama-3.2-1B-Instruct-GGUF", "Llama-3.2-1B-Instruct-Q4_K_M.gguf"),
            "Llama-3.2-1B-Instruct-Q4_K_M",
        ),
        ("hf://owner/name/model.gguf", HubFile("owner/name", "model.gguf"), "model"),
        ("hf://owner/na.me/deep/er/model.gguf@v1.0", HubFile("owner/na.me", "deep/er/model.gguf", "v1.0"), "model"),
        ("hf://owner/name/model.gguf@refs/pr/1", HubFile("owner/name", "model.gguf", "refs/pr/1"), "model"),
        ("https://example.com/a/model.gguf", UrlFile("https://example.com/a/model.gguf"), "model"),
        ("http://localhost:80/m.gguf?a=b", UrlFile("http://localhost:80/m.gguf?a=b"), "m"),
        (
            f"https://example.com/model.gguf#sha256={SHA256.upper()}",
            UrlFile("https://example.com/model.gguf", SHA256),
            "model",
        ),
        ("embedded", EMBEDDED_LLAMA, "embedded-llama-lead"),
        ("models/mine.gguf", ROOT / "models/mine.gguf", "mine"),
        ("/srv/mine.gguf", Path("/srv/mine.gguf"), "mine"),
        ("~/mine.gguf", Path.home() / "mine.gguf", "mine"),
    ],
)
def test_a_llama(model: str, file: object, name: str) -> None:
    found = llama(model)
    assert (found.file, found.name) == (file, name)
    named = llama(model, model_name="ours", context=777)
    assert (named.file, named.name, named.context) == (file, "ours", 777)


def test_the_quantisation_is_of_presets_only() -> None:
    found = llama("llama-3-8b", quantization="Q3_K_M")
    assert isinstance(found.file, HubFile)
    assert (found.file.file, found.name) == ("Meta-Llama-3-8B-Instruct-Q3_K_M.gguf", "Llama-3-8B-Instruct-Q3_K_M")
    assert llama("hf://o/n/m-{0}.gguf", quantization="Q3_K_M").file == HubFile("o/n", "m-{0}.gguf")


def test_the_room_is_by_model() -> None:
    contexts = {model: llama(model).context for model in (*LLAMAS, "embedded", "hf://owner/name/model.gguf")}
    assert list(contexts.values()) == [4096, 8192, 8192, 2048, 4096]
    assert all(llama(model).licence for model in LLAMAS)
    assert llama("embedded").licence is None


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("llama-3-8", r"'llama-3-8' is no preset \(did you mean llama-3-8b\?\) and no path to a GGUF"),
        ("Llama-3.2-1B", r"did you mean llama-3\.2-1b\?"),
        ("gpt", r"they are embedded, llama-3-8b, llama-3\.2-1b, llama-3\.2-3b"),
        ("", r"'' is no preset"),
        ("hf://owner/name", r"hf://owner/name names no file; hf://owner/name/file\.gguf does"),
        ("hf://owner", r"hf://owner is no file of the hub; hf://owner/name/file@revision is"),
        ("hf://owner/name/", r"is no file of the hub"),
        ("hf://owner/name/a.gguf@", r"is no file of the hub"),
        ("hf://owner/name/../a.gguf", r"is no file of the hub"),
        ("hf://owner/name//etc/passwd", r"is no file of the hub"),
        ("https:///model.gguf", r"is no address: it names no host"),
        ("https://[/model.gguf", r"is no address: Invalid IPv6 URL"),
        ("https://host:99999/model.gguf", r"is no address: Port out of range"),
        ("https://me:word@host/m.gguf?key=word#md5=1", r"^https://host/m\.gguf: behind # there may be sha256= and 64"),
        ("https://host/m.gguf#sha256=12", r"behind # there may be sha256="),
    ],
)
def test_a_llama_that_means_nothing(model: str, message: str) -> None:
    with pytest.raises(ModelLoadFailed, match=message):
        llama(model)


@pytest.mark.parametrize("size", ["small", "medium", "large", "multi"])
def test_a_preset_of_gliner(size: str) -> None:
    assert len(GLINERS) == 4
    found = gliner(f"gliner-{size}-v2.1")
    repo = f"onnx-community/gliner_{size}-v2.1"
    names = "onnx/model.onnx", "gliner_config.json", "tokenizer.json"
    assert found.files == tuple(HubFile(repo, name) for name in names)
    assert found.name == f"GLiNER-{size}-v2.1"
    assert gliner(f"gliner-{size}-v2.1", model_file="onnx/model_int8.onnx").model == HubFile(
        repo, "onnx/model_int8.onnx"
    )


def test_a_gliner_of_ones_own() -> None:
    found = gliner("hf://owner/name@v2")
    assert {(file.repo, file.revision) for file in found.files if isinstance(file, HubFile)} == {("owner/name", "v2")}
    assert (found.model, found.name) == (HubFile("owner/name", "onnx/model.onnx", "v2"), "name")
    assert gliner("hf://owner/name/int8.onnx").model == HubFile("owner/name", "int8.onnx")
    found = gliner("models/mine", model_name="ours")
    folder = ROOT / "models/mine"
    assert found.files == (folder / "model.onnx", folder / "gliner_config.json", folder / "tokenizer.json")
    assert (found.name, gliner("models/mine").name, gliner("embedded").name) == ("ours", "mine", "embedded-gliner")
    assert all(isinstance(file, Path) and file.is_file() for file in gliner("embedded").files)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gliner-small", r"'gliner-small' is no preset \(did you mean gliner-small-v2\.1\?\) and no path to a folder"),
        ("hf://owner", r"is no file of the hub"),
        ("https://example.com/a.onnx?key=word", r"^https://example\.com/a\.onnx is one file, a GLiNER is several"),
    ],
)
def test_a_gliner_that_means_nothing(model: str, message: str) -> None:
    with pytest.raises(ModelLoadFailed, match=message):
        gliner(model)


def told(_: ModelStatus) -> None:
    raise AssertionError("nothing is loaded here")


def test_a_file_that_is_there_and_one_that_is_not(tmp_path: Path) -> None:
    assert models.local(EMBEDDED_LLAMA, Settings(), told) == EMBEDDED_LLAMA
    for missing in (tmp_path / "mine.gguf", EMBEDDED_GLINER):
        with pytest.raises(ModelLoadFailed, match=f"there is no file {missing}"):
            models.local(missing, Settings(), told)


@pytest.mark.parametrize("by_setting", [True, False])
def test_what_is_to_be_downloaded_offline_is_an_error(
    settings_env: SettingsEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_setting: bool
) -> None:
    settings_env(MODELS_FOLDER=tmp_path, OFFLINE=by_setting)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0" if by_setting else "1")
    with pytest.raises(ModelLoadFailed, match=r"owner/name/a\.gguf@main is not in .*, and downloads are off"):
        models.local(HubFile("owner/name", "a.gguf"), get_settings(), told)


def test_what_was_downloaded_is_found_in_the_folder_of_the_settings(settings_env: SettingsEnv, tmp_path: Path) -> None:
    settings_env(MODELS_FOLDER=tmp_path)
    remote = HubFile("owner/name", "onnx/a.gguf", "refs/pr/1")
    assert str(remote.place) == "owner--name/refs--pr--1/onnx/a.gguf"
    (tmp_path / remote.place).parent.mkdir(parents=True)
    (tmp_path / remote.place).write_bytes(b"")
    assert models.local(remote, get_settings(), told) == tmp_path / remote.place
    place = UrlFile("https://example.com/..?a=b").place
    assert (place.name, ".." in place.parts, place.parts[0].startswith("example.com-")) == ("file", False, True)
    same_name = [UrlFile(f"https://example.com/{folder}/a.gguf").place for folder in "ab"]
    assert same_name[0].name == same_name[1].name == "a.gguf"
    assert same_name[0] != same_name[1]
