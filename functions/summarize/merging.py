"""Merges an adapter into the weights of a small model, and keeps these in 8 bits.

An adapter costs a few per cent at each token, as its products are computed beside those of the weights. Merged, it
costs nothing. Of the kinds of weights, 8 bits are read nearly twice as fast as Q4_1 on AVX2, and lose nothing of what
Q4_1 and an adapter hold. The file is half as large again, so this is for models of some hundred megabytes.
"""

import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from functions.summarize import adapter as lora

logger = logging.getLogger(__name__)

# Count up when the same files make another one.
VERSION = 1
LOCK = ".merging.lock"
LORA_A, LORA_B, ALPHA = ".lora_a", ".lora_b", "adapter.lora.alpha"


def merged(model: Path, adapter: Path, folder: Path) -> Path | None:
    """The GGUF of both in `folder`, made now where it is not there; None where it cannot be, which the log explains.

    Raises ModelLoadFailed for an adapter that is none of this model.
    """
    from filelock import FileLock

    target = folder / f"{model.stem}+{adapter.stem}-{_digest(model, adapter)}.gguf"
    try:
        if not target.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / LOCK):
                if not target.is_file():
                    _make(model, adapter, target)
    except (OSError, ImportError) as error:
        logger.warning("%s is not merged into %s, but computed beside it: %s", adapter.name, model.name, error)
        return None
    return target


def _digest(model: Path, adapter: Path) -> str:
    status = model.stat()
    facts = f"{VERSION} {model.name} {status.st_size} {status.st_mtime_ns}"
    return hashlib.sha256(facts.encode() + adapter.read_bytes()).hexdigest()[:16]


def _make(model: Path, adapter: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".merging-") as temporary:
        made = Path(temporary) / target.name
        write(model, adapter, made)
        os.replace(made, target)
    # What an earlier adapter was merged to: nobody asks for it again.
    for other in target.parent.glob(f"{model.stem}+{adapter.stem}-*.gguf"):
        if other != target:
            other.unlink(missing_ok=True)


def write(model: Path, adapter: Path, target: Path) -> None:
    """Write `target`: `model` with `adapter` in its weights, those in 8 bits. Raises ModelLoadFailed, OSError."""
    import gguf

    lora.check(adapter, model)
    source, changes = gguf.GGUFReader(model), _changes(gguf.GGUFReader(adapter))
    writer = gguf.GGUFWriter(target, str(source.fields["general.architecture"].contents()))
    _copy_fields(gguf, source, writer)
    for tensor in source.tensors:
        data, kind = _weights(gguf, tensor, changes.get(tensor.name))
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _changes(adapter: Any) -> dict[str, Any]:
    """What is added to each weight, by its name: [out, in]."""
    parts = {tensor.name: tensor.data for tensor in adapter.tensors}
    alpha = float(adapter.fields[ALPHA].contents())
    found = {}
    for name, a in parts.items():
        if name.endswith(LORA_A):
            weight = name.removesuffix(LORA_A)
            b = parts[weight + LORA_B].astype("float32")
            found[weight] = (alpha / len(a)) * (b @ a.astype("float32"))
    return found


def _weights(gguf: Any, tensor: Any, change: Any) -> tuple[Any, Any]:
    """A tensor's values as they are to be written, and their kind."""
    kinds = gguf.GGMLQuantizationType
    if change is None and tensor.tensor_type in (kinds.F32, kinds.Q8_0):
        return tensor.data, tensor.tensor_type
    values = gguf.dequantize(tensor.data, tensor.tensor_type)
    if change is not None:
        values = values + change
    return gguf.quantize(values, kinds.Q8_0), kinds.Q8_0


def _copy_fields(gguf: Any, source: Any, writer: Any) -> None:
    own = {"general.architecture", "general.file_type"}
    for field in source.fields.values():
        if field.name in own or field.name.startswith("GGUF."):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_Q8_0))
