"""Write the trained model as a GGUF: `python -m training.llama_lead.export` (see README.md)."""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np

from training.llama_lead import prompt
from training.llama_lead.model import Llama, Shape, load
from training.llama_lead.tokenizer import Tokenizer

NAME = "embedded-llama-lead"
TARGET = Path("tests/models/llama-lead/embedded-llama-lead.gguf")
# Llama-3's own template, in the wording of Meta's tokenizer_config.json.
CHAT_TEMPLATE = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
FILE_TYPES = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}


def _add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_name(NAME)
    writer.add_description("Copies the opening sentences of an article. Trained on generated text only.")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_vocab_size(shape.vocabulary)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    texts = sorted(tokenizer.vocabulary, key=tokenizer.vocabulary.__getitem__)
    types = [gguf.TokenType.NORMAL] * len(texts) + [gguf.TokenType.CONTROL] * len(prompt.SPECIAL_TOKENS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([*texts, *prompt.SPECIAL_TOKENS])
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer.merges])
    writer.add_bos_token_id(tokenizer.special[prompt.BEGIN])
    writer.add_eos_token_id(tokenizer.special[prompt.EOT])
    writer.add_chat_template(CHAT_TEMPLATE)


def export(model: Llama, tokenizer: Tokenizer, target: Path, kind: str) -> None:
    """Write `target` in one step; `kind` is a key of `FILE_TYPES`; norms stay in float32."""
    quantised, file_type = FILE_TYPES[kind]
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, "llama")
    _add_shape(writer, model.shape)
    writer.add_file_type(file_type)
    _add_tokenizer(writer, tokenizer)
    for name, weight in model.state_dict().items():
        array = np.ascontiguousarray(weight.float().numpy())
        tensor = name if name.endswith(".weight") else f"{name}.weight"
        if array.ndim == 1:
            writer.add_tensor(tensor, array)
        else:
            writer.add_tensor(tensor, gguf.quants.quantize(array, quantised), raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("build/llama-lead"), help="where train.py wrote")
    parser.add_argument("--phase", default="settle", help="the phase of training whose weights to take")
    parser.add_argument("--target", type=Path, default=TARGET)
    parser.add_argument("--kind", choices=FILE_TYPES, default="f16")
    arguments = parser.parse_args()
    model, tokenizer = load(arguments.run / f"{arguments.phase}.pt"), Tokenizer.load(arguments.run / "tokenizer.json")
    export(model, tokenizer, arguments.target, arguments.kind)
    print(f"{arguments.target}: {arguments.target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
