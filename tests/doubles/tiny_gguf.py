"""Tiny GGUFs of random weights, one of each architecture: what llama.cpp does with them is what it does with real ones.

They write nonsense, but the same nonsense for the same prompt. Shapes are those that llama.cpp's loader asks for
(src/models in its repository); a vocabulary of bytes and the control tokens of several families is enough for any text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from benchmarks.models.llama import add_value

WIDTH, FEED, HEADS, KV_HEADS, HEAD = 64, 96, 4, 2, 16
WINDOW = 24
INNER, STATE, TAPS, STEP_RANK = 128, 16, 4, 4
TRAINED_TOKENS = 4096
LLAMA_3 = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
CONTROL = (*LLAMA_3, "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<|end|>", "<|endoftext|>")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

Shapes = dict[str, tuple[int, ...]]
Values = Mapping[str, Any] | None


@dataclass(frozen=True)
class Kind:
    """An architecture: what its header says beside what all say, and its tensors, columns first as numpy has them."""

    values: Mapping[str, Any]
    shapes: Callable[[int], Shapes]
    layers: int = 2
    vocabulary: str = "gpt2"


def _attention(layer: int, *, qk_norm: bool = False, bias: bool = False, width: int = WIDTH) -> Shapes:
    prefix = f"blk.{layer}."
    out = {"attn_q": HEADS * HEAD, "attn_k": KV_HEADS * HEAD, "attn_v": KV_HEADS * HEAD}
    shapes: Shapes = {f"{prefix}attn_norm.weight": (width,), f"{prefix}attn_output.weight": (width, HEADS * HEAD)}
    shapes |= {f"{prefix}{name}.weight": (size, width) for name, size in out.items()}
    if bias:
        shapes |= {f"{prefix}{name}.bias": (size,) for name, size in out.items()}
    if qk_norm:
        shapes |= {f"{prefix}{name}_norm.weight": (HEAD,) for name in ("attn_q", "attn_k")}
    return shapes


def _feed(layer: int) -> Shapes:
    prefix = f"blk.{layer}."
    gates: Shapes = {f"{prefix}{name}.weight": (FEED, WIDTH) for name in ("ffn_gate", "ffn_up")}
    return gates | {f"{prefix}ffn_norm.weight": (WIDTH,), f"{prefix}ffn_down.weight": (WIDTH, FEED)}


def _llama(layer: int) -> Shapes:
    return _attention(layer) | _feed(layer)


def _qwen2(layer: int) -> Shapes:
    return _attention(layer, bias=True) | _feed(layer)


def _qwen3(layer: int) -> Shapes:
    return _attention(layer, qk_norm=True) | _feed(layer)


def _gemma3(layer: int) -> Shapes:
    norms = {f"blk.{layer}.{name}.weight": (WIDTH,) for name in ("post_attention_norm", "post_ffw_norm")}
    return _qwen3(layer) | norms


def _phi3(layer: int) -> Shapes:
    prefix = f"blk.{layer}."
    return {
        f"{prefix}attn_norm.weight": (WIDTH,),
        f"{prefix}attn_qkv.weight": ((HEADS + 2 * KV_HEADS) * HEAD, WIDTH),
        f"{prefix}attn_output.weight": (WIDTH, WIDTH),
        f"{prefix}ffn_norm.weight": (WIDTH,),
        f"{prefix}ffn_up.weight": (2 * FEED, WIDTH),
        f"{prefix}ffn_down.weight": (WIDTH, FEED),
    }


def _mamba(layer: int) -> Shapes:
    prefix = f"blk.{layer}."
    return {
        f"{prefix}attn_norm.weight": (WIDTH,),
        f"{prefix}ssm_in.weight": (2 * INNER, WIDTH),
        f"{prefix}ssm_conv1d.weight": (INNER, TAPS),
        f"{prefix}ssm_conv1d.bias": (INNER,),
        f"{prefix}ssm_x.weight": (STEP_RANK + 2 * STATE, INNER),
        f"{prefix}ssm_dt.weight": (INNER, STEP_RANK),
        f"{prefix}ssm_dt.bias": (INNER,),
        f"{prefix}ssm_a": (INNER, STATE),
        f"{prefix}ssm_d": (INNER,),
        f"{prefix}ssm_out.weight": (WIDTH, INNER),
    }


def _mamba2(layer: int) -> Shapes:
    prefix = f"blk.{layer}."
    mixed = INNER + 2 * STATE
    return {
        f"{prefix}attn_norm.weight": (WIDTH,),
        f"{prefix}ssm_in.weight": (INNER + mixed + HEADS, WIDTH),
        f"{prefix}ssm_conv1d.weight": (mixed, TAPS),
        f"{prefix}ssm_conv1d.bias": (mixed,),
        f"{prefix}ssm_dt.bias": (HEADS,),
        f"{prefix}ssm_a": (HEADS, 1),
        f"{prefix}ssm_d": (HEADS, 1),
        f"{prefix}ssm_norm.weight": (1, INNER),
        f"{prefix}ssm_out.weight": (WIDTH, INNER),
    }


def _lfm2(layer: int) -> Shapes:
    if layer == 1:
        return _qwen3(layer)
    prefix = f"blk.{layer}."
    return _feed(layer) | {
        f"{prefix}attn_norm.weight": (WIDTH,),
        f"{prefix}shortconv.conv.weight": (WIDTH, TAPS - 1),
        f"{prefix}shortconv.in_proj.weight": (3 * WIDTH, WIDTH),
        f"{prefix}shortconv.out_proj.weight": (WIDTH, WIDTH),
    }


_ATTENTION = {"attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS}
_WIDE = {"attention.key_length": HEAD, "attention.value_length": HEAD}
_SSM = {
    "attention.head_count": 0,
    "feed_forward_length": 0,
    "ssm.conv_kernel": TAPS,
    "ssm.inner_size": INNER,
    "ssm.state_size": STATE,
}

KINDS: dict[str, Kind] = {
    "llama": Kind({**_ATTENTION, "rope.dimension_count": HEAD}, _llama),
    "qwen2": Kind(_ATTENTION, _qwen2),
    "qwen3": Kind({**_ATTENTION, **_WIDE}, _qwen3),
    # Every third layer sees all; its window is smaller than any prompt of a test.
    "gemma3": Kind(
        {**_ATTENTION, **_WIDE, "attention.sliding_window": WINDOW, "attention.sliding_window_pattern": 3},
        _gemma3,
        layers=4,
        vocabulary="llama",
    ),
    "phi3": Kind({**_ATTENTION, "rope.dimension_count": HEAD}, _phi3, vocabulary="llama"),
    "granite": Kind(
        {
            **_ATTENTION,
            "rope.dimension_count": HEAD,
            "logit_scale": 0.5,
            "residual_scale": 0.5,
            "embedding_scale": 4.0,
            "attention.scale": 0.25,
        },
        _llama,
    ),
    "mamba": Kind({**_SSM, "ssm.time_step_rank": STEP_RANK}, _mamba),
    "mamba2": Kind({**_SSM, "ssm.time_step_rank": HEADS, "ssm.group_count": 1}, _mamba2),
    # Attention in one layer of three.
    "lfm2": Kind(
        {"attention.head_count": HEADS, "attention.head_count_kv": [0, KV_HEADS, 0], "shortconv.l_cache": TAPS - 1},
        _lfm2,
        layers=3,
    ),
}


def write(
    path: Path,
    architecture: str,
    *,
    values: Values = None,
    template: str | None = CHATML,
    tied: bool = False,
    pre: str = "llama-bpe",
) -> Path:
    """A model of this architecture; `values` stand above those of its header.

    `tied`: the table of embeddings is the output matrix as well. `pre` is how a text is split into words.
    """
    kind = KINDS[architecture]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(f"tiny {architecture}")
    words = _vocabulary(writer, kind.vocabulary, pre)
    if template is not None:
        writer.add_chat_template(template)
    common = {
        "vocab_size": words,
        "context_length": TRAINED_TOKENS,
        "embedding_length": WIDTH,
        "feed_forward_length": FEED,
        "block_count": kind.layers,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 10_000.0,
    }
    for name, value in {**common, **kind.values, **(values or {})}.items():
        add_value(
            writer, name if name.startswith(("general.", "tokenizer.", "split.")) else f"{architecture}.{name}", value
        )
    norm = "token_embd_norm" if architecture == "lfm2" else "output_norm"
    shapes: Shapes = {"token_embd.weight": (words, WIDTH), f"{norm}.weight": (WIDTH,)}
    for layer in range(kind.layers):
        shapes |= kind.shapes(layer)
    if not tied:
        shapes["output.weight"] = (words, WIDTH)
    source = np.random.default_rng(len(architecture))
    for name, shape in shapes.items():
        writer.add_tensor(name, _weights(name, shape, source))
    return finish(writer, path)


def write_header(path: Path, architecture: str, tensor: str = "token_embd.weight", values: Values = None) -> Path:
    """A file of this architecture that holds one tensor, or none; names with a leading dot are the architecture's."""
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in (values or {}).items():
        add_value(writer, f"{architecture}{name}" if name.startswith(".") else name, value)
    if tensor:
        writer.add_tensor(tensor, np.ones((4, 4), np.float32))
    return finish(writer, path)


def write_adapter(
    path: Path, architecture: str = "llama", *, values: Values = None, rank: int = 4, scale: float = 1.0
) -> Path:
    """A LoRA for the queries of every layer of `write`'s model; `values` stand above those of its header."""
    writer = gguf.GGUFWriter(path, architecture)
    header = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": float(rank), **(values or {})}
    for name, value in header.items():
        add_value(writer, name, value)
    source = np.random.default_rng(5)
    for layer in range(KINDS[architecture].layers):
        rows, columns = KINDS[architecture].shapes(layer)[f"blk.{layer}.attn_q.weight"]
        for side, shape in (("a", (rank, columns)), ("b", (rows, rank))):
            weights = (scale * source.standard_normal(shape)).astype(np.float32)
            writer.add_tensor(f"blk.{layer}.attn_q.weight.lora_{side}", weights)
    return finish(writer, path)


def finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    """Write everything to `path`."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _weights(name: str, shape: tuple[int, ...], source: np.random.Generator) -> Any:
    if name.endswith(("norm.weight", "ssm_d")):
        return np.ones(shape, np.float32)
    if name.endswith("ssm_a"):
        # A state fades.
        return -np.abs(source.standard_normal(shape)).astype(np.float32)
    # Each layer adds about as much as there is; the logits are spread wide, so that no two are near the top.
    spread = {"token_embd.weight": 1.0, "output.weight": 1.0}.get(name, 1.5 / np.sqrt(shape[-1]))
    return (spread * source.standard_normal(shape)).astype(np.float32)


def _vocabulary(writer: gguf.GGUFWriter, model: str, pre: str) -> int:
    control = list(CONTROL)
    if model == "gpt2":
        words = [_gpt2_character(byte) for byte in range(256)] + ["th", "he", "in", "er"]
        merges = ["t h", "h e", "i n", "e r"]
        kinds = [gguf.TokenType.NORMAL] * len(words)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges(merges)
    else:
        pieces = ["▁", "▁t", "▁the", *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,:;'\"-0123456789"]
        words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
        kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
        kinds += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * len(pieces)
        writer.add_tokenizer_model("llama")
    words, kinds = words + control, kinds + [gguf.TokenType.CONTROL] * len(control)
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    if model != "gpt2":
        writer.add_token_scores([-float(index) for index in range(len(words))])
        writer.add_unk_token_id(0)
    writer.add_bos_token_id(words.index("<|begin_of_text|>" if model == "gpt2" else "<s>"))
    writer.add_eos_token_id(words.index("<|im_end|>"))
    writer.add_add_bos_token(True)
    return len(words)


def _gpt2_character(byte: int) -> str:
    """How GPT-2's vocabulary writes a byte: printable ones as they are, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return chr(byte) if byte in printable else chr(256 + [b for b in range(256) if b not in printable].index(byte))
