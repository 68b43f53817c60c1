"""The model's shape (a GLiNER-small-v2.1 in miniature) and its training-time forward pass."""

from typing import Any

import torch
from gliner.config import UniEncoderSpanConfig
from gliner.model import UniEncoderSpanGLiNER
from transformers import PreTrainedTokenizerFast

from training.gliner_small.tokenizer import ENT

MAX_WIDTH = 12


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> UniEncoderSpanGLiNER:
    """A randomly initialised model: DeBERTa-v2 4 x 160, BiLSTM and markerV0 span head at 128."""
    encoder = {
        "model_type": "deberta-v2",
        "vocab_size": len(tokenizer),
        "hidden_size": 160,
        "num_hidden_layers": 4,
        "num_attention_heads": 5,
        "intermediate_size": 480,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": 512,
        "relative_attention": True,
        "position_buckets": 64,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "layer_norm_eps": 1e-7,
        "max_relative_positions": -1,
        "position_biased_input": False,
        "type_vocab_size": 0,
        "pad_token_id": 0,
    }
    config = UniEncoderSpanConfig(
        model_name="embedded-gliner",
        name="embedded-gliner",
        encoder_config=encoder,
        max_width=MAX_WIDTH,
        hidden_size=128,
        dropout=0.1,
        max_len=384,
        vocab_size=len(tokenizer),
        class_token_index=tokenizer.convert_tokens_to_ids(ENT),
        num_rnn_layers=1,
        span_mode="markerV0",
    )
    torch.manual_seed(seed)
    return UniEncoderSpanGLiNER(config, tokenizer=tokenizer, backbone_from_pretrained=False)


def span_logits(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [B, W, 12, C] and the mask of real (span, label) pairs, with the span head in factored form.

    Equal to the module's own forward: the first layer of `out_project` splits into a start and an end product per word,
    and its last layer folds into the label side, which makes a training step several times cheaper.
    """
    representations = model.get_representations(
        batch["input_ids"], batch["attention_mask"], batch["text_lengths"], batch["words_mask"]
    )
    words, labels = representations.words_embedding, model.prompt_rep_layer(representations.prompts_embedding)
    marker = model.span_rep_layer.span_rep_layer
    first, _, _, last = marker.out_project
    width = words.size(-1)
    start = torch.relu(marker.project_start(words)) @ first.weight[:, :width].T + first.bias
    end = torch.relu(marker.project_end(words)) @ first.weight[:, width:].T
    ends = torch.nn.functional.pad(end, (0, 0, 0, MAX_WIDTH - 1)).unfold(1, MAX_WIDTH, 1).transpose(2, 3)
    hidden = torch.relu(start.unsqueeze(2) + ends)
    logits = torch.einsum("bwkh,bch->bwkc", hidden, labels @ last.weight) + (labels @ last.bias)[:, None, None, :]
    last_word = torch.arange(words.size(1))[:, None] + torch.arange(MAX_WIDTH)[None, :]
    valid = last_word[None] < batch["text_lengths"][:, :, None]
    return logits, valid.unsqueeze(-1) & representations.prompts_embedding_mask[:, None, None, :].bool()
