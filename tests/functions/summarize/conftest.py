import struct
from pathlib import Path

import pytest

from common.settings import PREFIX, get_settings
from functions.summarize import loading
from functions.summarize.context import SHARED_SEQUENCE
from functions.summarize.engine import LlamaEngine
from tests.conftest import SettingsEnv
from tests.doubles import lead_model, tiny_gguf


@pytest.fixture(scope="session")
def llama() -> LlamaEngine:
    """The model of the tests, through the same loader as in the service."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lead_model.SETTINGS.items():
            patch.setenv(PREFIX + name, str(value))
        get_settings.cache_clear()
        return loading.load(lambda _: None)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama of random weights."""
    return tiny_gguf.write(tmp_path_factory.mktemp("model") / "tiny.gguf", "llama")


@pytest.fixture(scope="session")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter for `model`."""
    return tiny_gguf.write_adapter(tmp_path_factory.mktemp("lora") / "lora.gguf")


@pytest.fixture(autouse=True)
def lead(settings_env: SettingsEnv) -> None:
    """What the settings name, unless a test sets another model."""
    settings_env(**lead_model.SETTINGS)


def with_template(gguf: bytes, text: str) -> bytes:
    """The file with another chat template. It is padded with a comment to the old one's length: nothing else moves."""
    key = b"tokenizer.chat_template" + struct.pack("<I", 8)
    start = gguf.index(key) + len(key) + 8
    length: int = struct.unpack_from("<Q", gguf, start - 8)[0]
    padded = text.encode() + b"{#" + b" " * (length - len(text.encode()) - 4) + b"#}"
    assert len(padded) == length
    return gguf[:start] + padded + gguf[start + length :]


def idle(llama: LlamaEngine) -> bool:
    """Nobody has a place, and the cache holds nothing but the shared opening."""
    slots = range(SHARED_SEQUENCE + 1, llama.parallel + 1)
    return not llama.requests and not any(llama._context.length(slot) for slot in slots)
