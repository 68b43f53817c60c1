"""What was learned, as an adapter that llama.cpp reads.

Source of the names: llama.cpp, src/llama-adapter.cpp.
"""

from pathlib import Path

import numpy as np
from gguf import GGUFWriter

from training.smollm2_news.model import Llama


def write(model: Llama, path: Path, name: str = "News summaries", kind: type = np.float16) -> None:
    """Tensors `<weight>.lora_a` [rank, in] and `.lora_b` [out, rank]; the scale is alpha / rank."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", model.alpha)
    writer.add_name(name)
    writer.add_license("apache-2.0")
    for tensor, value in model.adapters().items():
        writer.add_tensor(tensor, value.detach().numpy().astype(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
