"""Which GGUF the setting `model` stands for, and what an operator is told when it means nothing."""

from pathlib import Path

import pytest

from common.errors import ModelLoadFailed
from common.remote_files import HubFile, UrlFile
from common.settings import ROOT, SummarizeSettings
from functions.summarize.model import EMBEDDED_FILE, PRESETS, Llama, resolve

SHA256 = "0123456789abcdef" * 4


def llama(model: str, **fields: object) -> Llama:
    return resolve(SummarizeSettings.model_validate({"model": model, **fields}))


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
        ("embedded", EMBEDDED_FILE, "embedded-llama-lead"),
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


def test_the_quantisation_is_of_presets_only() -> None:
    found = llama("llama-3-8b", quantization="Q3_K_M")
    assert isinstance(found.file, HubFile)
    assert (found.file.file, found.name) == ("Meta-Llama-3-8B-Instruct-Q3_K_M.gguf", "Llama-3-8B-Instruct-Q3_K_M")
    assert llama("hf://o/n/m-{0}.gguf", quantization="Q3_K_M").file == HubFile("o/n", "m-{0}.gguf")


def test_the_room_is_by_model() -> None:
    contexts = {model: llama(model).context for model in (*PRESETS, "embedded", "hf://owner/name/model.gguf")}
    assert list(contexts.values()) == [4096, 8192, 8192, 2048, 4096]
    assert all(llama(model).licence for model in PRESETS)
    assert llama("embedded").licence is None
