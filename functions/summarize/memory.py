"""Whether a GGUF fits into memory, told before it is loaded: a process that is killed tells nothing.

The file's header says how many layers and heads the cache is for.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import host
from common.errors import ModelLoadFailed
from functions.summarize import gguf_header
from functions.summarize.gguf_header import UNREADABLE

# Beside weights and cache: the process itself, llama.cpp's buffers, the answers under way.
MARGIN_BYTES = 400_000_000
# Keys and values are kept in 16 bits.
BYTES_PER_VALUE = 2
# What the setting allows.
LEAST_CONTEXT = 512


def check(path: Path, context: int, limit: int | None = None, adapter: Path | None = None) -> None:
    """Raise ModelLoadFailed, with what to do, when the model with a cache of `context` tokens is over the memory.

    The weights of `adapter` count as well.
    """
    limit = limit if limit is not None else host.memory_bytes()
    try:
        cache = cache_bytes(gguf_header.read(path).values, context)
        weights = path.stat().st_size + (adapter.stat().st_size if adapter else 0)
    except (*UNREADABLE, TypeError, ArithmeticError):
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


def cache_bytes(values: Mapping[str, Any], context: int) -> int:
    """Of the keys and values of `context` tokens in all layers; TypeError where each layer has heads of its own."""
    kind = values["general.architecture"]
    heads = values[f"{kind}.attention.head_count"]
    kv_heads = values.get(f"{kind}.attention.head_count_kv", heads)
    width = values[f"{kind}.embedding_length"] // heads
    keys, vectors = (values.get(f"{kind}.attention.{name}_length", width) for name in ("key", "value"))
    return int(context * values[f"{kind}.block_count"] * kv_heads * (keys + vectors) * BYTES_PER_VALUE)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
