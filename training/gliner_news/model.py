"""The model: GLiNER's span head over a pre-trained encoder that is told the case of each word."""

import json
from pathlib import Path
from typing import Any

import torch
from gliner.config import UniEncoderSpanConfig
from gliner.model import UniEncoderSpanGLiNER
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedTokenizerFast

from training.gliner_news.examples import MAX_WIDTH
from training.gliner_news.tokenizer import CASES, ENT

HIDDEN = 256
# What the service cuts a text into: an article of 300 words is looked at once. Windows of 200 words, as long as the
# pieces in training, find a little more (F1 0.873 and 0.879, these 0.853 and 0.868), and take a quarter longer.
MAX_LEN = 384


class CasedEmbedding(nn.Module):
    """The vector of a piece, and one of its case: [.., hidden] of tokens [..]."""

    def __init__(self, pieces: nn.Embedding) -> None:
        super().__init__()
        self.size = pieces.num_embeddings
        self.pieces = pieces
        self.cases = nn.Embedding(CASES, pieces.embedding_dim)
        nn.init.zeros_(self.cases.weight)

    @property
    def weight(self) -> torch.Tensor:
        return self.pieces.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.pieces(tokens % self.size) + self.cases(tokens // self.size)
        return vectors


def build(tokenizer: PreTrainedTokenizerFast, encoder: Path, seed: int) -> Any:
    """A GLiNER whose encoder has the weights in the folder `encoder`; the rest is random."""
    encoder_config = json.loads((encoder / "config.json").read_text(encoding="utf-8"))
    encoder_config["_name_or_path"] = "all-MiniLM-L6-v2"
    # It costs a tenth of a step, and masked pieces and exchanged names do the same.
    encoder_config["attention_probs_dropout_prob"] = 0.0
    tokens = CASES * encoder_config["vocab_size"]
    config = UniEncoderSpanConfig(
        model_name="all-MiniLM-L6-v2",
        name="embedded-gliner",
        encoder_config=encoder_config,
        max_width=MAX_WIDTH,
        hidden_size=HIDDEN,
        dropout=0.1,
        max_len=MAX_LEN,
        vocab_size=encoder_config["vocab_size"],
        class_token_index=tokenizer.convert_tokens_to_ids(ENT),
        num_rnn_layers=1,
        span_mode="markerV0",
    )
    torch.manual_seed(seed)
    gliner = UniEncoderSpanGLiNER(config, tokenizer=tokenizer, backbone_from_pretrained=False)
    bert = gliner.model.token_rep_layer.bert_layer.model
    weights = load_file(encoder / "model.safetensors")
    weights.pop("embeddings.position_ids", None)
    bert.load_state_dict(weights)
    bert.embeddings.word_embeddings = CasedEmbedding(bert.embeddings.word_embeddings)
    gliner.config.vocab_size = tokens
    return gliner


def encoder_of(model: Any) -> nn.Module:
    found: nn.Module = model.token_rep_layer.bert_layer
    return found
