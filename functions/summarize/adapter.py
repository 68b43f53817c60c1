"""A LoRA adapter as llama.cpp loads it: a GGUF with two thin matrices for each weight that it changes.

Source: https://arxiv.org/abs/2106.09685. The file is looked at before llama.cpp has it, which ends the process at
some of what a foreign or damaged one holds.
"""

import logging
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

from common import model_files
from common.errors import ModelLoadFailed
from common.lazy import Report
from common.model_files import ModelFile
from common.remote_files import HubFile
from common.settings import Settings, SummarizeSettings
from functions.summarize import gguf_header
from functions.summarize.gguf_header import UNREADABLE, Header, Tensor

logger = logging.getLogger(__name__)

NONE = ("", "none")
SETTING = "FACTORY_SUMMARIZE__ADAPTER"
# Bytes of a number by ggml.h's enum ggml_type: F32, F16, Q8_0 and BF16 are what adapters are converted to.
_BYTES = {0: 4.0, 1: 2.0, 8: 34 / 32, 30: 2.0}
# The adapter of a whole table of embeddings is stored the other way around.
_EMBEDDINGS, _OUTPUT = "token_embd.weight", "output.weight"


def resolve(settings: SummarizeSettings) -> ModelFile | None:
    """The file that the setting `adapter` names. Raises ModelLoadFailed for an address that means nothing."""
    wanted = (settings.adapter or "").strip()
    if wanted in NONE:
        return None
    # There are no presets of adapters: a bare word is a path.
    address = wanted if "/" in wanted else f"./{wanted}"
    try:
        found = model_files.parse(address, (), "a GGUF")
    except ModelLoadFailed as error:
        raise ModelLoadFailed(f"{SETTING}: {error}") from None
    if isinstance(found, HubFile) and not found.file:
        raise ModelLoadFailed(f"{SETTING}: {wanted} names no file; hf://owner/name/file.gguf does")
    return found


def local(wanted: ModelFile | None, settings: Settings, report: Report) -> Path | None:
    """Where the adapter is on this machine; downloads it if it is not there. Raises ModelLoadFailed."""
    try:
        return model_files.local(wanted, settings, report) if wanted else None
    except ModelLoadFailed as error:
        raise ModelLoadFailed(f"{SETTING}: {error}") from None


def check(path: Path, model: Path) -> None:
    """Raise ModelLoadFailed, with the reason, unless `path` is a LoRA adapter for `model`."""
    try:
        header = gguf_header.read(path)
    except UNREADABLE as error:
        raise ModelLoadFailed(f"{SETTING}: {path.name} cannot be read as a GGUF: {error}") from None
    try:
        base = gguf_header.read(model)
    except UNREADABLE:
        # Of the model llama.cpp says what is wrong.
        return
    if reason := _kind(header, base) or _tensors(header, base) or _cut(header, path):
        raise ModelLoadFailed(f"{SETTING}: {path.name} {reason}")


def _kind(header: Header, base: Header) -> str | None:
    kind, form = header.text("general.type"), header.text("adapter.type")
    if kind != "adapter":
        return f"is no adapter but a {kind or 'model'}: its general.type has to be 'adapter'"
    if form != "lora":
        return f"is an adapter of type {form!r}; only 'lora' can be used"
    if header.architecture != base.architecture:
        return f"is an adapter for architecture {header.architecture!r}; the model is {base.architecture!r}"
    if not isinstance(header.values.get("adapter.lora.alpha", 0.0), float):
        return "has an adapter.lora.alpha that is no floating-point number"
    if "adapter.alora.invocation_tokens" in header.values:
        return "is an activated LoRA, which would have to be switched on within a prompt"
    return None


def _tensors(header: Header, base: Header) -> str | None:
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in header.tensors.items():
        weight, _, side = name.rpartition(".lora_")
        if side in ("a", "b"):
            found.setdefault(weight, {})[side] = tensor
        elif name.endswith("_norm.weight"):
            logger.warning("%s: llama.cpp leaves out what the adapter has for %s", SETTING, name)
        else:
            return f"holds {name}, which is no matrix of a LoRA"
    reasons = (_pair(weight, pair, base) for weight, pair in sorted(found.items()))
    return next((reason for reason in reasons if reason), None) if found else "holds no matrices"


def _cut(header: Header, path: Path) -> str | None:
    # What is missing at its end llama.cpp would fill with whatever its memory holds.
    ends = (t.offset + prod(t.shape) * _BYTES.get(t.kind, 0) for t in header.tensors.values())
    missing = header.data + max(ends) - path.stat().st_size
    return f"was cut off: {missing:.0f} bytes of its matrices are missing" if missing > 0 else None


def _pair(name: str, pair: Mapping[str, Tensor], base: Header) -> str | None:
    if len(pair) < 2:
        return f"lacks one of the two matrices for {name}"
    if name not in base.tensors and base.values.get("split.count", 0) > 1:
        # It may be in another part of the model: llama.cpp finds it.
        return None
    if name not in base.tensors:
        return f"changes {name}, which the model does not have"
    if name == _EMBEDDINGS and _OUTPUT not in base.tensors:
        return f"changes {name}, which is the output matrix of this model as well: llama.cpp cannot do that"
    a, b, weight = pair["a"], pair["b"], base.tensors[name]
    if not {a.kind, b.kind} <= set(_BYTES):
        return f"has a matrix for {name} of numbers that are none of F32, F16, BF16 and Q8_0"
    if not _fits(name, _sizes(weight), _sizes(a), _sizes(b)):
        shapes = " and ".join("x".join(map(str, side.shape)) for side in (a, b))
        return f"has matrices of {shapes} for {name}, which is {'x'.join(map(str, weight.shape))} in the model"
    return None


def _fits(name: str, weight: Sequence[int], a: Sequence[int], b: Sequence[int]) -> bool:
    if name == _EMBEDDINGS:
        # Rows of A are looked up by token, then multiplied with B.
        joined = (a[0], b[1], a[1]) == (b[0], weight[0], weight[1])
    else:
        joined = (a[1], a[0], b[1]) == (b[0], weight[0], weight[1])
    # Experts have a third dimension.
    return joined and a[2:] == b[2:] == weight[2:]


def _sizes(tensor: Tensor) -> Sequence[int]:
    return (*tensor.shape, 1, 1, 1, 1)[:4]
