"""Write a Llama-3 GGUF of the true shape with random weights: `python -m benchmarks.models.llama SHAPE OUT`.

Architecture, quantisation mix (Q4_K_M) and file size are those of Llama-3-8B (`8b`, 4.92 GB) and Llama-3.2-1B (`1b`,
0.81 GB, embedding and output tied), so that speed, memory and load time are real. The text is noise. The tokenizer is
the one of the tests' model, padded with unused tokens to Llama-3's 128,256.

Shaped in two ways, so that every server does the same amount of work:

- The output rows of all but the plainest tokens (a space and letters, and the full stop) are zero. So a zero logit is
  what every end-of-generation token has (`<|eot_id|>`, `<|end_of_text|>` and whatever else a build of llama.cpp counts
  among them), every unused token, and every token that is only part of a character; the best of a thousand random
  logits is always above zero. Every answer is as long as `max_tokens` lets it be, and each token is a piece of text.
  Where embedding and output are one tensor, the same tokens are zero as input, too: harmless, since a layer makes as
  many operations of zeros.
- The output row of the full stop is longer than the others, so that it is chosen once in 12 to 20 tokens: the service
  ends an answer at a finished sentence.

For that to hold with any prompt, each state has to depend on the token before it (the first feed-forward part is long,
the first attention short) and on the others in a way that changes quickly (queries and keys are long, so that attention
is sharp): the same greedy model would otherwise run into loops, or say only full stops. Embeddings are short, since a
token that shows through to a tied output asks for itself again. `check.py` shows how it does.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.doubles import lead_model

VOCABULARY = 128_256
HEADS_KV = 8
SPACE = "Ġ"
FULL_STOP = "."
# All found by trial, with `check.py`.
FULL_STOP_LENGTH = 2.2
QUERY_KEY_LENGTH = 2.0
LOGIT_DEVIATION = 0.5
FIRST_ATTENTION_LENGTH = 0.003
FIRST_FEED_FORWARD_LENGTH = 8.0
CHUNK_BLOCKS = 1 << 17

Q4, Q6, F32 = gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q6_K, gguf.GGMLQuantizationType.F32
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Shape:
    name: str
    layers: int
    width: int
    heads: int
    feed_forward: int
    tied: bool
    context: int

    @property
    def kv_width(self) -> int:
        return self.width // self.heads * HEADS_KV


@dataclass(frozen=True)
class Matrix:
    """A tensor to come; `length` is what each output is multiplied with, 1 keeps the length of the input."""

    name: str
    rows: int
    columns: int
    kind: gguf.GGMLQuantizationType
    length: float = 1.0


SHAPES = {
    "1b": Shape("random-llama-1b", 16, 2048, 32, 8192, tied=True, context=131_072),
    # For trying the scripts out: no model of this shape exists.
    "tiny": Shape("random-llama-tiny", 2, 256, 8, 1024, tied=True, context=131_072),
    "8b": Shape("random-llama-8b", 32, 4096, 32, 14_336, tied=False, context=8192),
}


def matrices(shape: Shape) -> Iterator[Matrix]:
    """Every tensor but the norms, with the type that llama.cpp's Q4_K_M gives it."""
    width, kv, wide = shape.width, shape.kv_width, shape.feed_forward
    yield Matrix("token_embd.weight", VOCABULARY, width, Q6 if shape.tied else Q4, LOGIT_DEVIATION)
    if not shape.tied:
        yield Matrix("output.weight", VOCABULARY, width, Q6, LOGIT_DEVIATION)
    for layer in range(shape.layers):
        better = Q6 if _has_more_bits(layer, shape.layers) else Q4
        attention, feed_forward = (1.0, 1.0) if layer else (FIRST_ATTENTION_LENGTH, FIRST_FEED_FORWARD_LENGTH)
        yield Matrix(f"blk.{layer}.attn_q.weight", width, width, Q4, QUERY_KEY_LENGTH)
        yield Matrix(f"blk.{layer}.attn_k.weight", kv, width, Q4, QUERY_KEY_LENGTH)
        yield Matrix(f"blk.{layer}.attn_v.weight", kv, width, better)
        yield Matrix(f"blk.{layer}.attn_output.weight", width, width, Q4, attention)
        yield Matrix(f"blk.{layer}.ffn_gate.weight", wide, width, Q4)
        yield Matrix(f"blk.{layer}.ffn_up.weight", wide, width, Q4)
        yield Matrix(f"blk.{layer}.ffn_down.weight", width, wide, better, feed_forward)


def _has_more_bits(layer: int, layers: int) -> bool:
    """`use_more_bits` of llama.cpp's quantisation."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def norms(shape: Shape) -> Iterator[str]:
    yield "output_norm.weight"
    for layer in range(shape.layers):
        yield f"blk.{layer}.attn_norm.weight"
        yield f"blk.{layer}.ffn_norm.weight"


def random_blocks(matrix: Matrix, random: np.random.Generator) -> Bytes:
    """Rows of quantised blocks with random weights of mean zero and one standard deviation."""
    block_size, block_bytes = gguf.GGML_QUANT_SIZES[matrix.kind]
    blocks = np.empty((matrix.rows * matrix.columns // block_size, block_bytes), dtype=np.uint8)
    for start in range(0, len(blocks), CHUNK_BLOCKS):
        chunk = blocks[start : start + CHUNK_BLOCKS]
        chunk[:] = np.frombuffer(random.bytes(chunk.size), dtype=np.uint8).reshape(chunk.shape)
    deviation = matrix.length / np.sqrt(matrix.columns)
    if matrix.kind == Q4:
        # 16 levels around 7.5; the scale and the offset of each sub-block are 32, six bits packed over three bytes.
        scale = deviation / 32 / np.sqrt((16**2 - 1) / 12)
        blocks[:, 0:2] = _half(scale)
        blocks[:, 2:4] = _half(scale * 7.5)
        blocks[:, 4:12] = 0b10_100000
        blocks[:, 12:16] = 0
    else:
        # 64 levels around 31.5; the scale of each of the 16 sub-blocks is 8.
        scale = deviation / 8 / np.sqrt((64**2 - 1) / 12)
        blocks[:, 192:208] = 8
        blocks[:, 208:210] = _half(scale)
    return blocks.reshape(matrix.rows, -1)


def _half(number: float) -> Bytes:
    return np.frombuffer(np.float16(number).tobytes(), dtype=np.uint8)


def shape_output(rows: Bytes, kind: gguf.GGMLQuantizationType, tokens: list[str]) -> None:
    """Zero the rows of what shall not be generated, and lengthen the full stop's (both in place)."""
    _, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    keep = np.array([token == FULL_STOP or _is_plain(token) for token in tokens])
    # A scale of zero makes a block zero whatever its levels are.
    scales = rows.reshape(len(rows), -1, block_bytes)[:, :, 208:210]
    scales[~keep] = 0
    stop = tokens.index(FULL_STOP)
    scales[stop] = _half(float(np.frombuffer(scales[stop, 0].tobytes(), np.float16)[0]) * FULL_STOP_LENGTH)


def _is_plain(token: str) -> bool:
    return len(token) > 2 and token[0] == SPACE and token[1:].isascii() and token[1:].isalpha()


def add_tokenizer(writer: gguf.GGUFWriter) -> list[str]:
    """The tokenizer of the tests' model, padded; returns the text of every token."""
    fields = gguf.GGUFReader(lead_model.FILE).fields

    def value(name: str) -> Any:
        return fields[name].contents()

    tokens: list[str] = value("tokenizer.ggml.tokens")
    types: list[int] = value("tokenizer.ggml.token_type")
    padding = range(len(tokens), VOCABULARY)
    tokens += [f"<|unused_{number}|>" for number in padding]
    types += [gguf.TokenType.UNUSED] * len(padding)
    writer.add_tokenizer_model(value("tokenizer.ggml.model"))
    writer.add_tokenizer_pre(value("tokenizer.ggml.pre"))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(value("tokenizer.ggml.merges"))
    writer.add_bos_token_id(value("tokenizer.ggml.bos_token_id"))
    writer.add_eos_token_id(value("tokenizer.ggml.eos_token_id"))
    writer.add_chat_template(value("tokenizer.chat_template"))
    return tokens


def add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_name(shape.name)
    writer.add_description("Random weights in the true shape, for measurements of speed and memory only.")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(HEADS_KV)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500_000.0)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)


def write(shape: Shape, target: Path, seed: int) -> None:
    """One tensor after the other, so that no more than one is in memory."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(target, "llama")
    add_shape(writer, shape)
    tokens = add_tokenizer(writer)
    for name in norms(shape):
        writer.add_tensor_info(name, (shape.width,), np.dtype(np.float32), 4 * shape.width)
    for matrix in matrices(shape):
        block_size, block_bytes = gguf.GGML_QUANT_SIZES[matrix.kind]
        row_bytes = matrix.columns // block_size * block_bytes
        writer.add_tensor_info(
            matrix.name, (matrix.rows, row_bytes), np.dtype(np.uint8), matrix.rows * row_bytes, matrix.kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _ in norms(shape):
        writer.write_tensor_data(np.ones(shape.width, dtype=np.float32))
    output = "token_embd.weight" if shape.tied else "output.weight"
    for matrix in matrices(shape):
        rows = random_blocks(matrix, random)
        if matrix.name == output:
            shape_output(rows, matrix.kind, tokens)
        writer.write_tensor_data(rows)
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a Llama-3 GGUF of the true shape with random weights.")
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    # Under another name until it is whole, so that an interrupted run leaves no broken model behind.
    part = options.out.with_suffix(".part")
    write(SHAPES[options.shape], part, options.seed)
    part.replace(options.out)
    gigabytes = options.out.stat().st_size / 1e9
    print(f"{options.out}: {gigabytes:.2f} GB in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
