"""Writes a GLiNER of the shape of gliner_small-v2.1 with random weights, as torch checkpoint and as ONNX exports.

    .venv-bench-extract/bin/python -m benchmarks.models.gliner FOLDER

The encoder is deberta-v3-small's (6 layers, 768, 12 heads, 128,004 tokens), the head the library's for markerV0; the
exports are the library's own, fp32 and int8. Random weights take as long to multiply as trained ones. Two things are
made so on purpose: the tokenizer makes four tokens of three words, about what DeBERTa's makes of news, and one span in
a thousand scores over 0.5; otherwise a large part of all would, and decoding would cost more than it does for anyone.
"""

import argparse
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.harness.news import words

VOCABULARY = 128_000
SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
# Of the words that texts are made of, every so many is in the vocabulary only in two halves or in four letters.
SPLIT_EVERY = 3
OVER_THRESHOLD = 0.001
ENCODER: dict[str, Any] = {
    "model_type": "deberta-v2",
    "vocab_size": VOCABULARY + 4,
    "hidden_size": 768,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "layer_norm_eps": 1e-7,
    "max_relative_positions": -1,
    "position_biased_input": False,
    "type_vocab_size": 0,
}


def tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = dict.fromkeys(SPECIAL)
    for number, word in enumerate(words()):
        for form in (word, word.capitalize()):
            if number % SPLIT_EVERY:
                pieces[f"▁{form}"] = None
            else:
                half = (len(form) + 1) // 2
                pieces |= dict.fromkeys([f"▁{form[:half]}", form[half:]])
    letters = [chr(code) for code in range(33, 127)]
    pieces |= dict.fromkeys([*letters, *(f"▁{letter}" for letter in letters), "▁"])
    random = Random(1)
    while len(pieces) < VOCABULARY:
        pieces[f"▁{''.join(random.choices('bcdfghjklmnpqrstvwxz', k=9))}"] = None
    # Longer pieces are likelier than what they are made of.
    vocabulary = [(piece, 0.0 if piece in SPECIAL else -20.0 / len(piece)) for piece in pieces]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )
    wrapped.add_tokens(["[MASK]", "[FLERT]", "<<ENT>>", "<<SEP>>"], special_tokens=True)
    return wrapped


def model() -> Any:
    import torch
    from gliner.config import UniEncoderSpanConfig
    from gliner.model import UniEncoderSpanGLiNER

    torch.manual_seed(1)
    made = tokenizer()
    config = UniEncoderSpanConfig(
        model_name="local",
        encoder_config=ENCODER,
        max_width=12,
        hidden_size=512,
        max_len=384,
        vocab_size=VOCABULARY + 4,
        class_token_index=made.convert_tokens_to_ids("<<ENT>>"),
        num_rnn_layers=1,
        span_mode="markerV0",
    )
    gliner = UniEncoderSpanGLiNER(config, tokenizer=made, backbone_from_pretrained=False)
    gliner.eval()
    _lower_scores(gliner)
    return gliner


def _lower_scores(gliner: Any) -> None:
    """Shift all logits by the same amount: one dimension of a label's vector is 1, of a span's minus that amount."""
    import torch

    text = " ".join(Random(2).choices(words(), k=300))
    shift = torch.quantile(_logits(gliner, text).flatten(), 1 - OVER_THRESHOLD).item()
    label, span = gliner.model.prompt_rep_layer[-1], gliner.model.span_rep_layer.span_rep_layer.out_project[-1]
    with torch.no_grad():
        for layer, value in ((label, 1.0), (span, -shift)):
            layer.weight[0] = 0
            layer.bias[0] = value


def _logits(gliner: Any, text: str) -> Any:
    labels = ["Person", "Organization", "Location"]
    return gliner.run_batch(gliner.collate_batch(gliner.prepare_batch([text], labels)["input_x"], labels)).logits


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes a GLiNER of the shape of gliner_small-v2.1.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    gliner = model()
    gliner.save_pretrained(folder)
    gliner.export_to_onnx(folder, quantize=True)


if __name__ == "__main__":
    main()
