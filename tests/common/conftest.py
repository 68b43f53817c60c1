from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from common import downloads
from tests.common.download_matrix import SHORT, serve
from tests.doubles.hub_server import HubServer


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Downloads with short pauses, and nothing of this machine's: no proxy, token, cache or other hub."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    for name, value in SHORT.items():
        monkeypatch.setattr(downloads, name, value)


@pytest.fixture
def hub(quick: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:  # noqa: ARG001
    """The files of the matrix, at the hub that downloads ask."""
    with serve() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running
