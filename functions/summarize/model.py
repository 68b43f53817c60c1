"""Which GGUF the setting `model` stands for: a preset, or an address as `common.model_files` reads it."""

from dataclasses import dataclass

from common import model_files
from common.errors import ModelLoadFailed
from common.model_files import ModelFile
from common.remote_files import HubFile, UrlFile
from common.settings import ROOT, SummarizeSettings

EMBEDDED = "embedded"
EMBEDDED_FILE = ROOT / "models/embedded/llama/embedded-llama-lead.gguf"
EMBEDDED_CONTEXT = 2048
DEFAULT_CONTEXT = 4096


@dataclass(frozen=True)
class Preset:
    """A GGUF of the hub; `file` and `name` hold `{0}`, the quantisation. `context` is in tokens."""

    repo: str
    file: str
    name: str
    context: int
    licence: str


@dataclass(frozen=True)
class Llama:
    """`file` is what to load, `name` what answers call it, `context` its room in tokens."""

    file: ModelFile
    name: str
    context: int
    licence: str | None = None


PRESETS = {
    "llama-3-8b": Preset(
        "bartowski/Meta-Llama-3-8B-Instruct-GGUF",
        "Meta-Llama-3-8B-Instruct-{0}.gguf",
        "Llama-3-8B-Instruct-{0}",
        4096,
        "Meta Llama 3 Community License",
    ),
    "llama-3.2-3b": Preset(
        "bartowski/Llama-3.2-3B-Instruct-GGUF",
        "Llama-3.2-3B-Instruct-{0}.gguf",
        "Llama-3.2-3B-Instruct-{0}",
        8192,
        "Llama 3.2 Community License",
    ),
    "llama-3.2-1b": Preset(
        "bartowski/Llama-3.2-1B-Instruct-GGUF",
        "Llama-3.2-1B-Instruct-{0}.gguf",
        "Llama-3.2-1B-Instruct-{0}",
        8192,
        "Llama 3.2 Community License",
    ),
}


def resolve(settings: SummarizeSettings) -> Llama:
    """The model that the settings name; raises ModelLoadFailed for a name that means nothing."""
    wanted = settings.model
    if (preset := PRESETS.get(wanted)) is not None:
        file, name = (template.format(settings.quantization) for template in (preset.file, preset.name))
        context = settings.context or preset.context
        return Llama(HubFile(preset.repo, file), settings.model_name or name, context, preset.licence)
    if wanted == EMBEDDED:
        return Llama(EMBEDDED_FILE, settings.model_name or EMBEDDED_FILE.stem, settings.context or EMBEDDED_CONTEXT)
    found = model_files.parse(wanted, {*PRESETS, EMBEDDED}, "a GGUF")
    if isinstance(found, HubFile) and not found.file:
        raise ModelLoadFailed(f"{wanted} names no file; hf://owner/name/file.gguf does")
    path = found.place if isinstance(found, HubFile | UrlFile) else found
    return Llama(found, settings.model_name or path.stem, settings.context or DEFAULT_CONTEXT)
