"""The inputs of a GLiNER graph: texts of tokens, side by side, as padded arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Text:
    """`word_of_token` numbers each word, from 1, at its first token; 0 elsewhere. `words` is how many there are."""

    tokens: Sequence[int]
    word_of_token: Sequence[int]
    words: int


def feeds(texts: Sequence[Text], max_width: int, pad_token: int) -> dict[str, NDArray[Any]]:
    """Arrays by the names of the graph's inputs; every text is padded to the longest."""
    shape = (len(texts), max(len(text.tokens) for text in texts))
    input_ids = np.full(shape, pad_token, np.int64)
    attention_mask = np.zeros(shape, np.int64)
    words_mask = np.zeros(shape, np.int64)
    for row, text in enumerate(texts):
        size = len(text.tokens)
        input_ids[row, :size] = text.tokens
        attention_mask[row, :size] = 1
        words_mask[row, :size] = text.word_of_token
    lengths = np.array([[text.words] for text in texts], np.int64)
    longest = int(lengths.max())
    firsts = np.repeat(np.arange(longest), max_width)
    lasts = firsts + np.tile(np.arange(max_width), longest)
    span_mask = lasts[None, :] < lengths
    span_idx = np.stack([firsts, lasts], axis=-1)[None] * span_mask[:, :, None]
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "words_mask": words_mask,
        "text_lengths": lengths,
        "span_idx": span_idx.astype(np.int64),
        "span_mask": span_mask,
    }
