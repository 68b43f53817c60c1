"""Which GLiNER the setting `model` stands for: a preset, or an address as `common.model_files` reads it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from common import model_files
from common.errors import ModelLoadFailed
from common.model_files import ModelFile
from common.remote_files import HubFile, UrlFile
from common.settings import ROOT, ExtractSettings

EMBEDDED = "embedded"
EMBEDDED_FOLDER = ROOT / "models/embedded/gliner"
EMBEDDED_NAME = "embedded-gliner"
CONFIG, TOKENIZER = "gliner_config.json", "tokenizer.json"
# Where the model is: in a repository of the hub, and in a folder of this machine.
HUB_FILE, LOCAL_FILE = "onnx/model.onnx", "model.onnx"


@dataclass(frozen=True)
class Preset:
    """A GLiNER of the hub as ONNX; `name` is what answers call it."""

    repo: str
    name: str


@dataclass(frozen=True)
class Gliner:
    """The files to load, and what answers call the model."""

    model: ModelFile
    config: ModelFile
    tokenizer: ModelFile
    name: str

    @property
    def files(self) -> tuple[ModelFile, ...]:
        return self.model, self.config, self.tokenizer


PRESETS = {
    f"gliner-{size}-v2.1": Preset(f"onnx-community/gliner_{size}-v2.1", f"GLiNER-{size}-v2.1")
    for size in ("small", "medium", "large", "multi")
}


def weights(model: ModelFile, path: Path) -> Iterator[tuple[ModelFile, Path]]:
    """The files beside `model` that hold weights of it, and where each has to be; `path` is where `model` is.

    Raises ModelLoadFailed for a damaged model, and for one that names files outside of its folder.
    """
    from functions.extract.graph import identity

    try:
        names = identity.weights(path, path.parent / identity.FOLDER)
    except Exception as error:
        raise ModelLoadFailed(f"{path} could not be read: {error}") from error
    for name in names:
        place = path.parent / name
        if isinstance(model, HubFile):
            yield replace(model, file=(PurePosixPath(model.file).parent / name).as_posix()), place
        else:
            yield place, place


def resolve(settings: ExtractSettings) -> Gliner:
    """The model that the settings name; raises ModelLoadFailed for a name that means nothing."""
    wanted = settings.model
    if (preset := PRESETS.get(wanted)) is not None:
        return _of_hub(HubFile(preset.repo, ""), preset.name, settings)
    if wanted == EMBEDDED:
        found: ModelFile = EMBEDDED_FOLDER
    else:
        found = model_files.parse(wanted, {*PRESETS, EMBEDDED}, "a folder with an ONNX export")
    if isinstance(found, UrlFile):
        raise ModelLoadFailed(f"{found.name} is one file, a GLiNER is several: hf://owner/name, or a folder")
    if isinstance(found, HubFile):
        return _of_hub(found, found.repo.rpartition("/")[2], settings)
    name = EMBEDDED_NAME if wanted == EMBEDDED else found.name
    model = found / (settings.model_file or LOCAL_FILE)
    return Gliner(model, found / CONFIG, found / TOKENIZER, settings.model_name or name)


def _of_hub(found: HubFile, name: str, settings: ExtractSettings) -> Gliner:
    names = settings.model_file or found.file or HUB_FILE, CONFIG, TOKENIZER
    model, config, tokenizer = (HubFile(found.repo, file, found.revision) for file in names)
    return Gliner(model, config, tokenizer, settings.model_name or name)
