"""Which files the setting `model` of a function stands for, and where they are on this machine.

llama-3-8b, gliner-small-v2.1                     a preset
hf://owner/name/folder/model.gguf[@revision]      a file of the hub; a GLiNER: hf://owner/name[@revision]
https://example.com/model.gguf[#sha256=..]        a file at an address (GGUF only)
models/mine.gguf, models/my-gliner                a file, a folder; from the project's folder, if relative
"""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag

from common.downloads import fetch, is_offline
from common.errors import ModelLoadFailed
from common.lazy import Report
from common.remotes import HubFile, RemoteFile, UrlFile, origin
from common.settings import ROOT, ExtractSettings, Settings, SummarizeSettings

EMBEDDED = "embedded"
EMBEDDED_LLAMA = ROOT / "models/embedded/llama/embedded-llama-lead.gguf"
EMBEDDED_GLINER = ROOT / "models/embedded/gliner"
EMBEDDED_CONTEXT = 2048
CONFIG, TOKENIZER = "gliner_config.json", "tokenizer.json"
DEFAULT_CONTEXT = 4096

_HUB = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_SHA256 = re.compile(r"sha256=([0-9a-f]{64})", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class LlamaPreset:
    """A Llama as GGUF; `file` and `name` hold `{0}`, the quantisation. `context` is in tokens."""

    repo: str
    file: str
    name: str
    context: int
    licence: str


@dataclass(frozen=True)
class GlinerPreset:
    """A GLiNER as ONNX, with its configuration and tokenizer beside `file`'s folder."""

    repo: str
    name: str
    file: str = "onnx/model.onnx"


LLAMAS = {
    "llama-3-8b": LlamaPreset(
        "bartowski/Meta-Llama-3-8B-Instruct-GGUF",
        "Meta-Llama-3-8B-Instruct-{0}.gguf",
        "Llama-3-8B-Instruct-{0}",
        4096,
        "Meta Llama 3 Community License",
    ),
    "llama-3.2-3b": LlamaPreset(
        "bartowski/Llama-3.2-3B-Instruct-GGUF",
        "Llama-3.2-3B-Instruct-{0}.gguf",
        "Llama-3.2-3B-Instruct-{0}",
        8192,
        "Llama 3.2 Community License",
    ),
    "llama-3.2-1b": LlamaPreset(
        "bartowski/Llama-3.2-1B-Instruct-GGUF",
        "Llama-3.2-1B-Instruct-{0}.gguf",
        "Llama-3.2-1B-Instruct-{0}",
        8192,
        "Llama 3.2 Community License",
    ),
}
GLINERS = {
    f"gliner-{size}-v2.1": GlinerPreset(f"onnx-community/gliner_{size}-v2.1", f"GLiNER-{size}-v2.1")
    for size in ("small", "medium", "large", "multi")
}


@dataclass(frozen=True)
class Llama:
    """`file` is what to load, `name` what answers call it, `context` its room in tokens."""

    file: RemoteFile | Path
    name: str
    context: int
    licence: str | None = None


@dataclass(frozen=True)
class Gliner:
    """The files to load, and what answers call the model."""

    model: RemoteFile | Path
    config: RemoteFile | Path
    tokenizer: RemoteFile | Path
    name: str

    @property
    def files(self) -> tuple[RemoteFile | Path, ...]:
        return self.model, self.config, self.tokenizer


def llama(settings: SummarizeSettings) -> Llama:
    """The Llama that the settings name; raises ModelLoadFailed for a name that means nothing."""
    wanted = settings.model
    if (preset := LLAMAS.get(wanted)) is not None:
        file, name = (template.format(settings.quantization) for template in (preset.file, preset.name))
        context = settings.context or preset.context
        return Llama(HubFile(preset.repo, file), settings.model_name or name, context, preset.licence)
    if wanted == EMBEDDED:
        return Llama(EMBEDDED_LLAMA, settings.model_name or EMBEDDED_LLAMA.stem, settings.context or EMBEDDED_CONTEXT)
    found = _on_hub(wanted) or _at_url(wanted) or _local(wanted, {*LLAMAS, EMBEDDED}, "a GGUF")
    if isinstance(found, HubFile) and not found.file:
        raise ModelLoadFailed(f"{wanted} names no file; hf://owner/name/file.gguf does")
    path = found.place if isinstance(found, HubFile | UrlFile) else found
    return Llama(found, settings.model_name or path.stem, settings.context or DEFAULT_CONTEXT)


def gliner(settings: ExtractSettings) -> Gliner:
    """The GLiNER that the settings name; raises ModelLoadFailed for a name that means nothing."""
    wanted = settings.model
    preset = GLINERS.get(wanted)
    found = HubFile(preset.repo, "") if preset else _on_hub(wanted)
    if (single := _at_url(wanted)) is not None:
        raise ModelLoadFailed(f"{single.name} is one file, a GLiNER is several: hf://owner/name, or a folder")
    if found is not None:
        names = settings.model_file or found.file or GlinerPreset.file, CONFIG, TOKENIZER
        model, config, tokenizer = (HubFile(found.repo, name, found.revision) for name in names)
        default_name = preset.name if preset else found.repo.rpartition("/")[2]
        return Gliner(model, config, tokenizer, settings.model_name or default_name)
    is_embedded = wanted == EMBEDDED
    folder = EMBEDDED_GLINER if is_embedded else _local(wanted, {*GLINERS, EMBEDDED}, "a folder with an ONNX export")
    return Gliner(
        folder / (settings.model_file or "model.onnx"),
        folder / CONFIG,
        folder / TOKENIZER,
        settings.model_name or ("embedded-gliner" if is_embedded else folder.name),
    )


def local(file: RemoteFile | Path, settings: Settings, report: Report) -> Path:
    """Where the file is on this machine; downloads it if it is not there. Raises ModelLoadFailed."""
    if isinstance(file, Path):
        if not file.is_file():
            raise ModelLoadFailed(f"there is no file {file}")
        return file
    # An image may bring models along, whatever folder it keeps others in.
    brought = ROOT / "models" / file.place
    if brought.is_file():
        return brought
    return fetch(file, settings.models_folder, report, offline=is_offline(settings.offline))


def _on_hub(wanted: str) -> HubFile | None:
    if not wanted.startswith("hf://"):
        return None
    match = _HUB.fullmatch(wanted)
    if match is None or {"", ".", ".."} & {*(match["file"] or "file").split("/")}:
        raise ModelLoadFailed(f"{wanted} is no file of the hub; hf://owner/name/file@revision is")
    return HubFile(match["repo"], match["file"] or "", match["revision"] or "main")


def _at_url(wanted: str) -> UrlFile | None:
    if not wanted.startswith(("https://", "http://")):
        return None
    try:
        url, fragment = urldefrag(wanted)
        host = origin(url)[1]
    except ValueError as error:
        raise ModelLoadFailed(f"{wanted} is no address: {error}") from None
    if not host:
        raise ModelLoadFailed(f"{wanted} is no address: it names no host")
    match = _SHA256.fullmatch(fragment)
    if fragment and match is None:
        raise ModelLoadFailed(f"{UrlFile(url).name}: behind # there may be sha256= and 64 hexadecimal digits")
    return UrlFile(url, match[1].lower() if match else None)


def _local(wanted: str, presets: set[str], what: str) -> Path:
    path = Path(wanted).expanduser()
    if "/" not in wanted and not (path.name and (ROOT / path).exists()):
        raise ModelLoadFailed(f"{wanted!r} is no preset ({_hint(wanted, presets)}) and no path to {what}")
    return path if path.is_absolute() else ROOT / path


def _hint(wanted: str, presets: set[str]) -> str:
    near = difflib.get_close_matches(wanted, presets, n=1)
    return f"did you mean {near[0]}?" if near else f"they are {', '.join(sorted(presets))}"
