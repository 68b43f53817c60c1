"""A byte-level BPE of 2,048 tokens that splits text as Llama-3 does (`llama-bpe` in llama.cpp)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as BpeTokenizer

from training.llama_lead.prompt import SPECIAL_TOKENS

VOCABULARY = 2048
# Llama-3's pre-tokenizer: llama.cpp, src/llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_LLAMA3.
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _with_splitter(model: models.BPE) -> BpeTokenizer:
    bpe = BpeTokenizer(model)
    split = pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    bpe.decoder = decoders.ByteLevel()
    return bpe


class Tokenizer:
    """Ids 0..2042 are text, the last five are Llama-3's special tokens in the order of `SPECIAL_TOKENS`."""

    def __init__(self, vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> None:
        self.vocabulary, self.merges = vocabulary, merges
        # llama.cpp takes a whole pre-token that is in the vocabulary as it is: ignore_merges.
        self._bpe = _with_splitter(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
        self.text_size = len(vocabulary)
        self.special = {text: self.text_size + index for index, text in enumerate(SPECIAL_TOKENS)}

    @classmethod
    def train(cls, texts: Iterable[str]) -> Tokenizer:
        """Learn merges from `texts`."""
        bpe = _with_splitter(models.BPE())
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        size = VOCABULARY - len(SPECIAL_TOKENS)
        trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
        bpe.train_from_iterator(texts, trainer)
        model = json.loads(bpe.to_str())["model"]
        return cls(model["vocab"], [tuple(pair) for pair in model["merges"]])

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read what `save` wrote."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(data["vocabulary"], [tuple(pair) for pair in data["merges"]])

    def save(self, path: Path) -> None:
        """Write vocabulary and merges as JSON."""
        data = {"vocabulary": self.vocabulary, "merges": self.merges}
        path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; the text of a special token is no special token."""
        return self._bpe.encode(text).ids

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of text in which special tokens count as such."""
        ids: list[int] = []
        while text:
            starts = [(text.find(token), token) for token in SPECIAL_TOKENS if token in text]
            position, token = min(starts, default=(len(text), ""))
            ids += self.encode(text[:position])
            if token:
                ids.append(self.special[token])
            text = text[position + len(token) :]
        return ids

    def decode(self, ids: list[int]) -> str:
        """Text of `ids`, special tokens left out."""
        return self._bpe.decode([token for token in ids if token < self.text_size])
