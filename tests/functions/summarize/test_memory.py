"""Whether a model fits is told from its header; whatever the header holds, nothing else is raised than the advice."""

import ctypes
import re
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import llama_cpp
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common import host
from common.errors import ModelLoadFailed
from functions.summarize import gguf_header, loading, memory
from functions.summarize.context import LlamaContext, Options, _error_log
from tests.conftest import SettingsEnv
from tests.doubles import lead_model, tiny_gguf
from tests.strategies import examples

# What llama.cpp says at load of the model of the tests with 2048 tokens: "KV buffer size = 6.00 MiB".
LEAD_CACHE = 6 << 20
LLAMA_3_8B = {"embedding_length": 4096, "block_count": 32, "attention.head_count": 32, "attention.head_count_kv": 8}
NUMBERS = {"I": 4, "i": 5, "f": 6, "Q": 10}


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def gguf(path: Path, values: dict[str, Any], weights: int = 0) -> Path:
    """A GGUF of this header, with a hole for weights; an int is a number, a list an array of strings or numbers."""
    header = struct.pack("<4sIQQ", b"GGUF", 3, 1, len(values))
    for name, value in values.items():
        header += string(name)
        if isinstance(value, str):
            header += struct.pack("<I", 8) + string(value)
        elif isinstance(value, list):
            is_text = bool(value) and isinstance(value[0], str)
            header += struct.pack("<IIQ", 9, 8 if is_text else 4, len(value))
            header += b"".join(string(item) if is_text else struct.pack("<I", item) for item in value)
        else:
            kind = "f" if isinstance(value, float) else "I"
            header += struct.pack(f"<I{kind}", NUMBERS[kind], value)
    # One tensor of four numbers: without any it would be a vocabulary only.
    header += string("token_embd.weight") + struct.pack("<IQIQ", 1, 4, 0, 0)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + weights)
    return path


def llama(**values: Any) -> dict[str, Any]:
    named = {f"llama.{name}": value for name, value in (LLAMA_3_8B | values).items() if value is not None}
    # Arrays are skipped wherever they are.
    return {"general.architecture": "llama", "tokenizer.tokens": ["a", "b", "cd"], "scores": [1, 2, 3], **named}


def test_the_header_of_a_real_file() -> None:
    header = gguf_header.read(lead_model.FILE).values
    assert (header["general.architecture"], header["llama.context_length"]) == ("llama", 2048)
    assert (header["tokenizer.ggml.model"], header["tokenizer.ggml.tokens"]) == ("gpt2", None)
    assert memory.cache_bytes(header, 2048) == LEAD_CACHE


@pytest.mark.parametrize(
    ("values", "context", "cache"),
    [
        # 128 KiB for a token, as of Llama 3 8B is known.
        ({}, 8192, 1 << 30),
        ({"attention.head_count_kv": None}, 8192, 4 << 30),
        ({"attention.key_length": 256, "attention.value_length": 128}, 8192, (1 << 30) * 3 // 2),
    ],
)
def test_the_cache(tmp_path: Path, values: dict[str, Any], context: int, cache: int) -> None:
    header = gguf_header.read(gguf(tmp_path / "a.gguf", llama(**values))).values
    assert memory.cache_bytes(header, context) == cache


def test_what_does_not_fit_is_refused_with_advice(tmp_path: Path) -> None:
    path = gguf(tmp_path / "Llama-Q4_K_M.gguf", llama(), 4_920_000_000)
    needed = path.stat().st_size + (1 << 30) + memory.MARGIN_BYTES
    memory.check(path, 8192, needed)
    with pytest.raises(ModelLoadFailed) as error:
        memory.check(path, 8192, needed - 1)
    assert str(error.value).startswith(
        "Llama-Q4_K_M.gguf needs 6.4 GB of memory (weights 4.9 GB, a cache of 8192 tokens 1.1 GB), there are 6.4 GB: "
        "set FACTORY_SUMMARIZE__CONTEXT to 8191 or less, FACTORY_SUMMARIZE__QUANTIZATION to Q3_K_M, or "
        "FACTORY_SUMMARIZE__MODEL to a smaller preset"
    )
    # The advice is one that helps.
    with pytest.raises(ModelLoadFailed, match="__CONTEXT to") as error:
        memory.check(path, 8192, 6_000_000_000)
    advised = re.search(r"__CONTEXT to (\d+) or less", str(error.value))
    assert advised is not None
    memory.check(path, int(advised[1]), 6_000_000_000)
    with pytest.raises(ModelLoadFailed):
        memory.check(path, int(advised[1]) + 1, 6_000_000_000)
    # Where no context would do, none is advised.
    with pytest.raises(ModelLoadFailed, match=r"there are 5\.0 GB: set FACTORY_SUMMARIZE__QUANTIZATION"):
        memory.check(path, 8192, 5_000_000_000)


def test_a_model_is_checked_before_it_is_loaded(
    settings_env: SettingsEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = gguf(tmp_path / "large.gguf", llama(), 4_920_000_000)
    monkeypatch.setattr(host, "memory_bytes", lambda: 2_000_000_000)
    settings_env(SUMMARIZE__MODEL=path, SUMMARIZE__CONTEXT="none")
    with pytest.raises(ModelLoadFailed, match=r"large\.gguf needs 5\.9 GB of memory .* a cache of 4096 tokens"):
        loading.load(lambda _: None)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"general.architecture": "mamba"},
        llama(**{"attention.head_count": 0}),
        llama(**{"attention.head_count": "many"}),
        llama(**{"block_count": None}),
        # Heads of each layer's own, but not of every layer.
        llama(**{"attention.head_count_kv": [8, 8, 0, 4]}),
    ],
)
def test_a_header_that_does_not_tell_is_left_to_llama_cpp(tmp_path: Path, values: dict[str, Any]) -> None:
    memory.check(gguf(tmp_path / "a.gguf", values), 4096, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        b"GGML" + bytes(100),
        # As many values, as long a name and as long an array as numbers allow.
        struct.pack("<4sIQQ", b"GGUF", 3, 0, 2**64 - 1),
        struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 2**64 - 1) + bytes(100),
        struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + string("a") + struct.pack("<IIQ", 9, 8, 2**40) + bytes(100),
        struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + string("a") + struct.pack("<IIQ", 9, 9, 1) + bytes(100),
        struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + string("a") + struct.pack("<I", 77) + bytes(100),
    ],
)
def test_a_damaged_header_is_left_to_llama_cpp(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.gguf").write_bytes(content)
    memory.check(tmp_path / "a.gguf", 4096, 0)


def test_a_missing_file_is_left_to_llama_cpp(tmp_path: Path) -> None:
    memory.check(tmp_path / "none.gguf", 4096, 0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf(tmp_path_factory.mktemp("whole") / "a.gguf", llama())


@examples(2)
@given(
    st.just(1.0) | st.floats(0, 1),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=5),
)
@example(1.0, [])
@example(0.0, [])
def test_whatever_is_flipped_or_cut_off_nothing_else_is_raised(
    whole: Path, kept: float, flipped: list[tuple[float, int]]
) -> None:
    content = whole.read_bytes()
    damaged = bytearray(content[: round(kept * len(content))])
    for place, byte in flipped if damaged else []:
        damaged[int(place * len(damaged))] = byte
    path = whole.with_name("damaged.gguf")
    path.write_bytes(damaged)
    with suppress(ModelLoadFailed):
        memory.check(path, 4096, 1 << 30)


@pytest.mark.parametrize("architecture", tiny_gguf.KINDS)
def test_the_cache_of_every_architecture_is_what_llama_cpp_allocates(architecture: str, tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / f"{architecture}.gguf", architecture)
    context = LlamaContext(path, 2048, 4, Options(threads=1))
    said: list[bytes] = []
    collect = llama_cpp.llama_log_callback(lambda _, text, __: said.append(text))
    llama_cpp.llama_log_set(collect, ctypes.c_void_p(0))
    try:
        context.rebuild()
    finally:
        context.close()
        llama_cpp.llama_log_set(_error_log(llama_cpp)[1], ctypes.c_void_p(0))
    sizes = re.findall(rb"(?:KV|RS) buffer size = +([\d.]+) MiB", b"".join(said))
    assert sizes
    # It says hundredths of a MiB.
    counted = memory.cache_bytes(gguf_header.read(path).values, 2048, sequences=5)
    assert counted / (1 << 20) == pytest.approx(sum(map(float, sizes)), abs=0.006 * len(sizes))


def test_all_parts_of_a_model_count(tmp_path: Path) -> None:
    parts = [gguf(tmp_path / f"a-0000{number}-of-00002.gguf", llama(), 10**9) for number in (1, 2)]
    needed = sum(part.stat().st_size for part in parts) + (1 << 30) + memory.MARGIN_BYTES
    memory.check(parts[0], 8192, needed)
    with pytest.raises(ModelLoadFailed, match=r"weights 2\.0 GB"):
        memory.check(parts[0], 8192, needed - 1)
