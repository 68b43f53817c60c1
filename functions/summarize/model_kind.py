"""What a GGUF is, told from its header before it is loaded: only decoders that write text can summarise.

llama.cpp loads many other files as well and fails later, or ends the process: both tell an operator nothing.
Sources: src/llama-arch.cpp, src/llama-model.cpp in llama.cpp's repository.
"""

from pathlib import Path
from typing import Any

from common.errors import ModelLoadFailed
from functions.summarize import gguf_header
from functions.summarize.gguf_header import UNREADABLE, Header

NEEDED = "/summarize needs a decoder that was tuned to follow instructions"

_ENCODER = "an encoder, which reads text and writes none"
_OTHERS = {
    **dict.fromkeys(("bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert"), _ENCODER),
    **dict.fromkeys(("jina-bert-v2", "jina-bert-v3", "t5encoder"), _ENCODER),
    **dict.fromkeys(("gemma-embedding", "llama-embed"), "an embedding model"),
    **dict.fromkeys(("clip", "mmproj"), "a projector of images or sound, the companion of another model"),
    **dict.fromkeys(("wavtokenizer-dec", "pockettts", "qwen3tts"), "a model for speech"),
    **dict.fromkeys(("dream", "llada", "llada-moe", "rnd1"), "a diffusion model, which does not write word by word"),
    **dict.fromkeys(("eagle3", "dflash", "gemma4-assistant"), "a draft model, the companion of another model"),
    "t5": "an encoder-decoder",
}
# llama.h, enum llama_pooling_type.
_POOLING = {1: "mean", 2: "cls", 3: "last"}
_RANK = 4
# llama-hparams.h: llama.cpp ends the process at more.
_MOST_LAYERS, _MOST_EXPERTS = 512, 1024


def check(path: Path) -> None:
    """Raise ModelLoadFailed, with what the file is, unless it is a decoder. Of a damaged file llama.cpp tells."""
    try:
        header = gguf_header.read(path)
    except UNREADABLE:
        return
    if reason := _file(header) or _part(header) or _model(header):
        raise ModelLoadFailed(f"{path.name} is {reason}")
    if reason := _impossible(header):
        raise ModelLoadFailed(f"{path.name} is damaged: {reason}")


def _file(header: Header) -> str | None:
    """What it is if it is no model of its own."""
    kind = header.text("general.type")
    if kind == "adapter":
        return (
            "an adapter, which FACTORY_SUMMARIZE__ADAPTER takes: FACTORY_SUMMARIZE__MODEL is the model it was made for"
        )
    if kind == "mmproj":
        return f"{_OTHERS['mmproj']}: {NEEDED}"
    if kind not in ("", "model"):
        return f"a file of type {kind!r} and no model: {NEEDED}"
    return None


def _part(header: Header) -> str | None:
    number, count = (header.values.get(f"split.{name}", 0) for name in ("no", "count"))
    if count > 1 and number > 0:
        return f"part {number + 1} of {count}: give the first one, with the others beside it"
    if not header.tensors and header.architecture not in _OTHERS:
        return f"a vocabulary without a model: {NEEDED}"
    return None


def _model(header: Header) -> str | None:
    name, pooling = header.architecture, header.of_architecture("pooling_type")
    if pooling == _RANK or "cls.output.weight" in header.tensors or "cls.weight" in header.tensors:
        return f"a reranker ({name}), which gives numbers and no text: {NEEDED}"
    if pooling in _POOLING:
        return f"an embedding model ({name}, pooling: {_POOLING[pooling]}): {NEEDED}"
    if name in _OTHERS:
        return f"{_OTHERS[name]} ({name}): {NEEDED}"
    if header.of_architecture("attention.causal") is False:
        return f"{_ENCODER} ({name}): {NEEDED}"
    return None


def _impossible(header: Header) -> str | None:
    """Numbers at which llama.cpp would end the process."""
    layers, experts, used = (_most(header, name) for name in ("block_count", "expert_count", "expert_used_count"))
    if header.of_architecture("block_count") is not None and not 0 < layers <= _MOST_LAYERS:
        return f"it has {layers} layers"
    if experts > _MOST_EXPERTS or used > experts or (experts and not used):
        return f"it has {experts} experts and uses {used}"
    if used == 0 and _most(header, "expert_group_count"):
        return "it has groups of experts and no experts"
    if _most(header, "nextn_predict_layers") > layers:
        return "it has more layers to predict with than layers"
    return None


def _most(header: Header, name: str) -> int:
    """The number of this name, or the largest where each layer has its own; 0 if there is none."""
    value: Any = header.of_architecture(name)
    numbers = [number for number in (value if isinstance(value, list) else [value]) if isinstance(number, int)]
    return max(numbers, default=0)
