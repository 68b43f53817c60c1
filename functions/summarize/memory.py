"""Whether a GGUF fits into memory, told before it is loaded: a process that is killed tells nothing.

The file's header says how many layers and heads the cache is for (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO

from common import host
from common.errors import ModelLoadFailed

# Beside weights and cache: the process itself, llama.cpp's buffers, the answers under way.
MARGIN_BYTES = 400_000_000
# Keys and values are kept in 16 bits.
BYTES_PER_VALUE = 2
# What the setting allows.
LEAST_CONTEXT = 512

_MAGIC = b"GGUF"
# A longer array means a damaged file: the largest vocabularies have a quarter of a million words.
_LONGEST = 1 << 22
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


def check(path: Path, context: int, limit: int | None = None) -> None:
    """Raise ModelLoadFailed, with what to do, when the model with a cache of `context` tokens is over the memory."""
    limit = limit if limit is not None else host.memory_bytes()
    try:
        cache = cache_bytes(header(path), context)
        weights = path.stat().st_size
    except (OSError, ValueError, struct.error, KeyError, TypeError, ArithmeticError):
        # No GGUF that this reads: llama.cpp has the last word.
        return
    needed = weights + cache + MARGIN_BYTES
    if needed > limit:
        room = (limit - weights - MARGIN_BYTES) * context // cache if cache > 0 else 0
        lower = f"FACTORY_SUMMARIZE__CONTEXT to {room} or less, " if room >= LEAST_CONTEXT else ""
        raise ModelLoadFailed(
            f"{path.name} needs {_gigabytes(needed)} of memory (weights {_gigabytes(weights)}, a cache of {context} "
            f"tokens {_gigabytes(cache)}), there are {_gigabytes(limit)}: set {lower}"
            "FACTORY_SUMMARIZE__QUANTIZATION to Q3_K_M, or FACTORY_SUMMARIZE__MODEL to a smaller preset "
            "(llama-3.2-3b, llama-3.2-1b)"
        )


def cache_bytes(values: dict[str, Any], context: int) -> int:
    """Of the keys and values of `context` tokens in all layers; TypeError where each layer has heads of its own."""
    kind = values["general.architecture"]
    heads = values[f"{kind}.attention.head_count"]
    kv_heads = values.get(f"{kind}.attention.head_count_kv", heads)
    width = values[f"{kind}.embedding_length"] // heads
    keys, vectors = (values.get(f"{kind}.attention.{name}_length", width) for name in ("key", "value"))
    return int(context * values[f"{kind}.block_count"] * kv_heads * (keys + vectors) * BYTES_PER_VALUE)


def header(path: Path) -> dict[str, Any]:
    """A GGUF's header by name, with None for arrays. Raises OSError, ValueError, KeyError, struct.error."""
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            raise ValueError("no GGUF")
        _read(file, "I")
        _, count = _read(file, "Q"), _read(file, "Q")
        found: dict[str, Any] = {}
        for _ in range(min(count, 10_000)):
            name = _string(file)
            kind = _read(file, "I")
            if kind == _ARRAY:
                _skip_array(file)
                found[name] = None
            else:
                found[name] = _string(file) if kind == _STRING else _read(file, _NUMBERS[kind])
        return found


def _read(file: BinaryIO, kind: str) -> Any:
    return struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0]


def _string(file: BinaryIO) -> str:
    return file.read(_length(file)).decode(errors="replace")


def _length(file: BinaryIO) -> int:
    length: int = _read(file, "Q")
    if length > _LONGEST:
        raise ValueError("a damaged header")
    return length


def _skip_array(file: BinaryIO) -> None:
    kind = _read(file, "I")
    count = _length(file)
    if kind in _NUMBERS:
        file.seek(count * struct.calcsize(_NUMBERS[kind]), 1)
    elif kind == _STRING:
        for _ in range(count):
            file.seek(_length(file), 1)
    else:
        raise ValueError("an array of arrays")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
