import asyncio
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from common.settings import PREFIX, get_settings
from functions.extract import engine, service
from functions.extract.candidates import Candidates
from functions.extract.decoding import Span, accepting
from functions.extract.gliner import GlinerEngine
from functions.extract.reader import EncodedWindow
from functions.extract.schemas import Options, TextResult
from tests.conftest import MINIATURE, SettingsEnv


@pytest.fixture(scope="session")
def gliner() -> GlinerEngine:
    """A small model as the hub has them, through the same loader as in the service."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"{PREFIX}EXTRACT__MODEL", str(MINIATURE))
        get_settings.cache_clear()
        return engine.load(lambda _: None)


@pytest.fixture(autouse=True)
def miniature(settings_env: SettingsEnv) -> None:
    """What the settings name, unless a test sets another model."""
    settings_env(EXTRACT__MODEL=MINIATURE)


@pytest.fixture
def copied_model(tmp_path: Path, settings_env: SettingsEnv) -> Path:
    """A folder with the small model's files, which the settings name."""
    shutil.copytree(MINIATURE, tmp_path / "model", ignore=shutil.ignore_patterns("prepared"))
    settings_env(EXTRACT__MODEL=tmp_path / "model")
    return tmp_path / "model"


def extract(gliner: GlinerEngine, text: str, **fields: object) -> TextResult:
    """One text through the service, window by window."""
    found = asyncio.run(service.extract(text, Options.model_validate(fields), gliner))
    return TextResult.model_validate_json(b"{" + found.members() + b"}")


def windows(gliner: GlinerEngine, text: str, labels: Sequence[str], threshold: float) -> list[EncodedWindow]:
    """All windows of a text."""
    reader = gliner.read(text, gliner.prompt(labels), labels, threshold)
    return list(iter(reader.take, None))


def decode(candidates: Iterable[Span], *, flat: bool, multi_label: bool) -> list[Span]:
    """The spans that stay, in the order of the text."""
    ranked = sorted(candidates, key=lambda span: -span.score)
    return sorted(filter(accepting(flat=flat, multi_label=multi_label), ranked), key=lambda span: span.first)


def spans_of(found: Candidates) -> list[Span]:
    return [span for part in found.parts(100) for span in part]
