"""Whether a GGUF fits into memory, told before it is loaded: a process that is killed tells nothing.

The file's header says what llama.cpp will allocate for each layer: keys and values of all tokens, or of a window of
them for each sequence, or one state for each sequence. Sources: llama-model.cpp (create_memory), llama-hparams.cpp and
llama-kv-cache-iswa.cpp in llama.cpp's repository.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import host
from common.errors import ModelLoadFailed
from functions.summarize import gguf_header
from functions.summarize.context import BATCH_ROWS
from functions.summarize.gguf_header import UNREADABLE

# Beside weights and cache: the process itself, llama.cpp's buffers, the answers under way.
MARGIN_BYTES = 400_000_000
# Keys and values are kept in 16 bits.
BYTES_PER_VALUE = 2
# States are kept in 32 bits.
BYTES_PER_STATE = 4
# llama.cpp rounds the cells of windows up to it.
WINDOW_CELLS = 256
# Architectures with sliding windows: of so many layers in a row the last one sees all, or the first one.
WINDOWED = {
    **dict.fromkeys(("gemma2", "gpt-oss"), (2, False)),
    **dict.fromkeys(("cohere2", "exaone4", "exaone-moe", "olmo2", "llama4", "afmoe", "mellum"), (4, False)),
    **dict.fromkeys(("smallthinker", "cohere2moe", "laguna"), (4, True)),
    "gemma3n": (5, False),
    "gemma3": (6, False),
    "plamo3": (8, False),
}
# More layers mean a damaged file.
MOST_LAYERS = 512
# What the setting allows.
LEAST_CONTEXT = 512


def check(
    path: Path,
    context: int,
    limit: int | None = None,
    adapter: Path | None = None,
    sequences: int = 1,
) -> None:
    """Raise ModelLoadFailed, with what to do, when the model is over the memory.

    Counted are its weights, those of `adapter`, and a cache of `context` tokens for so many `sequences`.
    """
    limit = limit if limit is not None else host.memory_bytes()
    try:
        values = gguf_header.read(path).values
        cache = cache_bytes(values, context, sequences)
        weights = _weights_bytes(path) + (adapter.stat().st_size if adapter else 0)
    except (*UNREADABLE, TypeError, ArithmeticError):
        # No GGUF that this reads: llama.cpp has the last word.
        return
    needed = weights + cache + MARGIN_BYTES
    if needed > limit:
        rest = limit - weights - MARGIN_BYTES
        room = bisect_right(range(context), rest, lo=1, key=lambda tokens: cache_bytes(values, tokens, sequences)) - 1
        lower = f"FACTORY_SUMMARIZE__CONTEXT to {room} or less, " if room >= LEAST_CONTEXT else ""
        raise ModelLoadFailed(
            f"{path.name} needs {_gigabytes(needed)} of memory (weights {_gigabytes(weights)}, a cache of {context} "
            f"tokens {_gigabytes(cache)}), there are {_gigabytes(limit)}: set {lower}"
            "FACTORY_SUMMARIZE__QUANTIZATION to Q3_K_M, or FACTORY_SUMMARIZE__MODEL to a smaller preset "
            "(llama-3.2-3b, llama-3.2-1b)"
        )


def needed_bytes(path: Path, context: int, adapter: Path | None = None, sequences: int = 1) -> int:
    """Weights and cache of a model; 0 where its header does not tell."""
    try:
        cache = cache_bytes(gguf_header.read(path).values, context, sequences)
        return cache + _weights_bytes(path) + (adapter.stat().st_size if adapter else 0)
    except (*UNREADABLE, TypeError, ArithmeticError):
        return 0


def trained_tokens(path: Path) -> int | None:
    """The longest text that the model was trained for, in tokens; None where its header does not tell."""
    try:
        tokens = gguf_header.read(path).of_architecture("context_length")
    except UNREADABLE:
        return None
    return tokens if isinstance(tokens, int) and tokens > 0 else None


def cache_bytes(values: Mapping[str, Any], context: int, sequences: int = 1) -> int:
    """What a cache of `context` tokens for so many sequences takes; where that is not known for sure, rather more.

    Raises KeyError, TypeError or ValueError for a header that does not tell.
    """
    layers = values[f"{values['general.architecture']}.block_count"]
    if not 0 < layers <= MOST_LAYERS:
        raise ValueError("a damaged header")
    kv_heads = _kv_heads(values, layers)
    windowed = _windowed(values, layers)
    window = _of(values, "attention.sliding_window", 0)
    least = min(context, window * sequences + BATCH_ROWS)
    window_cells = -(-least // WINDOW_CELLS) * WINDOW_CELLS
    cells = sum(heads * (window_cells if slides else context) for heads, slides in zip(kv_heads, windowed, strict=True))
    # Layers without keys and values have a state; where all have both, each has.
    states = kv_heads.count(0) or layers
    total = cells * _values_per_head(values, layers) * BYTES_PER_VALUE
    total += states * _state(values) * BYTES_PER_STATE * sequences
    if not total:
        raise ValueError("a header without a cache")
    return int(total)


def _of(values: Mapping[str, Any], name: str, default: Any) -> Any:
    return values.get(f"{values['general.architecture']}.{name}", default)


def _each(value: Any, layers: int) -> list[int]:
    """One number for each layer."""
    numbers = value if isinstance(value, list) else [value] * layers
    if len(numbers) != layers or not all(isinstance(number, int) for number in numbers):
        raise ValueError("a damaged header")
    return numbers


def _kv_heads(values: Mapping[str, Any], layers: int) -> list[int]:
    """Heads of keys and values that each layer keeps."""
    heads = _of(values, "attention.head_count", 0)
    found = _each(_of(values, "attention.head_count_kv", heads), layers)
    interval = _of(values, "full_attention_interval", 1)
    own = layers - _of(values, "attention.shared_kv_layers", 0)
    return [count if layer < own and (layer + 1) % interval == 0 else 0 for layer, count in enumerate(found)]


def _values_per_head(values: Mapping[str, Any], layers: int) -> int:
    """Numbers of a key and a value together."""
    heads = max(_each(_of(values, "attention.head_count", 0), layers))
    width = _of(values, "embedding_length", 0) // heads if heads else 0
    return sum(_of(values, f"attention.{name}_length", width) for name in ("key", "value"))


def _windowed(values: Mapping[str, Any], layers: int) -> list[bool]:
    """Whether each layer has a sliding window."""
    kind = values["general.architecture"]
    if kind not in WINDOWED or not _of(values, "attention.sliding_window", 0):
        return [False] * layers
    period, first = WINDOWED[kind]
    pattern = _of(values, "attention.sliding_window_pattern", period)
    if isinstance(pattern, list):
        return [bool(slides) for slides in _each([int(slides) for slides in pattern], layers)]
    whole = 0 if first else pattern - 1
    return [pattern == 0 or layer % pattern != whole for layer in range(layers)]


def _state(values: Mapping[str, Any]) -> int:
    """Numbers of the state of one sequence in one layer; 0 for a model without."""
    width = _of(values, "embedding_length", 0)
    if head := _of(values, "wkv.head_size", 0):
        return int(width * (_of(values, "token_shift_count", 2) + head))
    if taps := _of(values, "shortconv.l_cache", 0):
        return int(width * (taps - 1))
    inner, state = _of(values, "ssm.inner_size", 0), _of(values, "ssm.state_size", 0)
    taps, groups = _of(values, "ssm.conv_kernel", 1), _of(values, "ssm.group_count", 0)
    return int((taps - 1) * (inner + 2 * groups * state) + state * inner)


def _weights_bytes(path: Path) -> int:
    """Of the file, or of all its parts, as far as they are there."""
    parts = re.fullmatch(r"(.+)-00001-of-(\d{5})\.gguf", path.name)
    names = [path.name]
    if parts:
        names = [f"{parts[1]}-{number:05}-of-{parts[2]}.gguf" for number in range(1, int(parts[2]) + 1)]
    return sum(path.with_name(name).stat().st_size for name in names if path.with_name(name).is_file())


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
