"""Records small exports of GLiNER's own exporter with other sizes than the tests' model: tests/data/gliner_shapes.

    python -m tests.functions.extract.record_shapes

Needs the reference environment (requirements/reference.txt). The weights are random.
"""

import tempfile
from pathlib import Path
from typing import Any

import onnx
import torch
from gliner.config import UniEncoderSpanConfig
from gliner.model import UniEncoderSpanGLiNER
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from tests.functions.extract.renaming import rename_everything

FOLDER = Path(__file__).resolve().parents[2] / "data" / "gliner_shapes"
VOCABULARY = 60
DEBERTA: dict[str, Any] = {
    "model_type": "deberta-v2",
    "vocab_size": VOCABULARY,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "relative_attention": True,
    "max_relative_positions": -1,
    "position_biased_input": False,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "layer_norm_eps": 1e-7,
    "type_vocab_size": 0,
}
BERT: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": VOCABULARY,
    "hidden_act": "gelu",
    "max_position_embeddings": 64,
    "layer_norm_eps": 1e-12,
    "type_vocab_size": 2,
}
# The large checkpoint has more heads and layers; one whose encoder is as wide as its head has no projection. BERT has
# two ways of attention, of which each is exported to other operators.
SHAPES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    # DeBERTa can have all that BERT has, beside its own.
    "all-positions": (
        {**DEBERTA, "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 20,
         "position_buckets": 16, "max_position_embeddings": 200, "position_biased_input": True, "type_vocab_size": 2},
        {"hidden_size": 8, "max_width": 2},
    ),
    "bert-eager": (
        {**BERT, "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 20,
         "attn_implementation": "eager"},
        {"hidden_size": 8, "max_width": 4},
    ),
    "bert-sdpa": (
        {**BERT, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24,
         "attn_implementation": "sdpa"},
        {"hidden_size": 16, "max_width": 5},
    ),
    "more-layers": (
        {**DEBERTA, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 40,
         "position_buckets": 32},
        {"hidden_size": 16, "max_width": 5},
    ),
    "no-projection": (
        {**DEBERTA, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 24,
         "position_buckets": 16},
        {"hidden_size": 16, "max_width": 12},
    ),
    "no-normed-positions": (
        {**DEBERTA, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
         "position_buckets": 64, "max_position_embeddings": 256, "norm_rel_ebd": "none"},
        {"hidden_size": 8, "max_width": 3},
    ),
}  # fmt: skip


def main() -> None:
    words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, **{f"w{number}": number for number in range(4, 58)}}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, "[UNK]")),
        pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]",
    )  # fmt: skip
    tokenizer.add_tokens(["<<ENT>>", "<<SEP>>"], special_tokens=True)
    FOLDER.mkdir(exist_ok=True)
    for name, (encoder, head) in SHAPES.items():
        torch.manual_seed(len(name))
        config = UniEncoderSpanConfig(
            model_name="local",
            encoder_config=dict(encoder),
            class_token_index=tokenizer.convert_tokens_to_ids("<<ENT>>"),
            vocab_size=VOCABULARY,
            max_len=384,
            num_rnn_layers=1,
            span_mode="markerV0",
            **head,
        )
        model = UniEncoderSpanGLiNER(config, tokenizer=tokenizer, backbone_from_pretrained=False)
        model.eval()
        for parameter in model.parameters():
            # Random biases and norms as well: what is mixed up must show.
            torch.nn.init.normal_(parameter, std=0.3)
        with tempfile.TemporaryDirectory() as folder:
            model.export_to_onnx(folder)
            model_proto = onnx.load(str(Path(folder) / "model.onnx"))
        # The names of modules, which torch writes for every tensor, are most of a small file.
        rename_everything(model_proto.graph)
        onnx.save(model_proto, str(FOLDER / f"{name}.onnx"))


if __name__ == "__main__":
    main()
