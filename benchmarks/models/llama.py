"""Write a GGUF of a published model's true shape with random weights: `python -m benchmarks.models.llama SHAPE OUT`.

Architecture, quantisation mix (Q4_K_M) and file size are the model's, so that speed, memory and load time are real.
The text is noise. The shapes are in `shapes.py`. The tokenizer is that of the tests' model, with the control tokens of
the family's chat template (`chat.py`), padded with unused ones to the size of the model's own vocabulary.

Shaped in two ways, so that every server does the same amount of work:

- The output rows of all but the plainest tokens (a space and letters, and the full stop) are zero. So a zero logit is
  what every end-of-generation token has (`<|eot_id|>`, `<|im_end|>` and whatever else a build of llama.cpp counts
  among them), every unused token, and every token that is only part of a character; the best of a thousand random
  logits is always above zero. Every answer is as long as `max_tokens` lets it be, and each token is a piece of text.
  Where embedding and output are one tensor, the same tokens are zero as input, too: harmless, since a layer makes as
  many operations of zeros.
- The output row of the full stop is longer than the others, so that it is chosen once in 12 to 20 tokens: the service
  ends an answer at a finished sentence.

For that to hold with any prompt, each state has to depend on the token before it (the first feed-forward part is long,
the first attention short) and on the others in a way that changes quickly (queries and keys are long, so that attention
is sharp): the same greedy model would otherwise run into loops, or say only full stops. Embeddings are short, since a
token that shows through to a tied output asks for itself again. `check.py` shows how it does. All this was found for
the shapes of Llama 3; the others may do worse, which changes nothing for their speed.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from benchmarks.models.blocks import random_rows, shape_output
from benchmarks.models.chat import CHATS
from benchmarks.models.shapes import SHAPES, Shape, Value
from benchmarks.models.tensors import Tensor, matrices, vectors
from tests.doubles import lead_model


def add_tokenizer(writer: gguf.GGUFWriter, shape: Shape) -> list[str]:
    """The tokenizer of the tests' model, padded; returns the text of every token."""
    fields = gguf.GGUFReader(lead_model.FILE).fields

    def value(name: str) -> Any:
        return fields[f"tokenizer.{name}"].contents()

    tokens: list[str] = value("ggml.tokens")
    types: list[int] = value("ggml.token_type")
    template, begin, end = value("chat_template"), value("ggml.bos_token_id"), value("ggml.eos_token_id")
    if (chat := CHATS.get(shape.chat)) is not None:
        control = [token for token in (chat.end, chat.begin, *chat.others) if token and token not in tokens]
        tokens += control
        types += [gguf.TokenType.CONTROL] * len(control)
        template, end = chat.template, tokens.index(chat.end)
        # Without one of its own, a family has the end of a text at its beginning, which nobody adds.
        begin = tokens.index(chat.begin or chat.end)
        writer.add_add_bos_token(chat.begin is not None)
    padding = range(len(tokens), shape.vocabulary)
    tokens += [f"<|unused_{number}|>" for number in padding]
    types += [gguf.TokenType.UNUSED] * len(padding)
    writer.add_tokenizer_model(value("ggml.model"))
    writer.add_tokenizer_pre(value("ggml.pre"))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(value("ggml.merges"))
    writer.add_bos_token_id(begin)
    writer.add_eos_token_id(end)
    writer.add_chat_template(template)
    return tokens


def add_shape(writer: gguf.GGUFWriter, name: str, shape: Shape) -> None:
    writer.add_name(f"random-{name}")
    writer.add_description("Random weights in the true shape, for measurements of speed and memory only.")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    attends = set(shape.attention_layers)
    kv_heads = [shape.kv_heads if layer in attends else 0 for layer in range(shape.layers)]
    values: dict[str, Value] = {
        "context_length": shape.context,
        "embedding_length": shape.width,
        "block_count": shape.layers,
        "feed_forward_length": shape.feed_forward,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads if len(attends) == shape.layers else kv_heads,
        "attention.key_length": shape.head_width,
        "attention.value_length": shape.head_width,
        "attention.layer_norm_rms_epsilon": shape.epsilon,
        "rope.freq_base": shape.rope_base,
        "rope.dimension_count": shape.rope_width or shape.head_width,
        "vocab_size": shape.vocabulary,
        **shape.values,
    }
    for key, value in values.items():
        add_value(writer, f"{shape.architecture}.{key}", value)


def add_value(writer: gguf.GGUFWriter, key: str, value: Value) -> None:
    """Whole numbers as llama.cpp reads them: without a sign."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def add_info(writer: gguf.GGUFWriter, tensor: Tensor) -> None:
    size = tensor.rows * tensor.row_bytes
    if tensor.kind == "F32":
        dimensions = (tensor.rows, tensor.columns) if tensor.columns else (tensor.rows,)
        writer.add_tensor_info(tensor.name, dimensions, np.dtype(np.float32), size)
    else:
        kind = gguf.GGMLQuantizationType[tensor.kind]
        writer.add_tensor_info(tensor.name, (tensor.rows, tensor.row_bytes), np.dtype(np.uint8), size, kind)


def write(name: str, target: Path, seed: int) -> None:
    """One tensor after the other, so that no more than one is in memory."""
    random, shape = np.random.default_rng(seed), SHAPES[name]
    writer = gguf.GGUFWriter(target, shape.architecture)
    add_shape(writer, name, shape)
    tokens = add_tokenizer(writer, shape)
    for tensor in (*vectors(shape), *matrices(shape)):
        add_info(writer, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for vector in vectors(shape):
        writer.write_tensor_data(np.full(vector.weights, vector.length, dtype=np.float32))
    output = "token_embd.weight" if shape.tied else "output.weight"
    for matrix in matrices(shape):
        rows = random_rows(matrix, random)
        if matrix.name == output:
            shape_output(rows, matrix.kind, tokens)
        writer.write_tensor_data(rows)
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a GGUF of a model's true shape with random weights.")
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    # Under another name until it is whole, so that an interrupted run leaves no broken model behind.
    part = options.out.with_suffix(".part")
    write(options.shape, part, options.seed)
    part.replace(options.out)
    gigabytes = options.out.stat().st_size / 1e9
    print(f"{options.out}: {gigabytes:.2f} GB in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
