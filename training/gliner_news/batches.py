"""Batches of examples of like length, encoded as the `gliner` package encodes them."""

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch

from training.gliner_news.articles import Article
from training.gliner_news.examples import examples
from training.gliner_news.tokenizer import ENT, SEP
from training.gliner_small.batches import Row, collate
from training.gliner_small.corpus import Example

AT_A_TIME = 512
REMEMBERED = 300_000
MASKED = 0.03


class Encoder:
    """Words and labels are tokenised once and remembered."""

    def __init__(self, tokenizer: Any) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._ent, self._sep = tokenizer.convert_tokens_to_ids([ENT, SEP])
        self._first, self._last = tokenizer.cls_token_id, tokenizer.sep_token_id
        self.mask = tokenizer.mask_token_id
        self._pieces: dict[str, list[int]] = {}

    def __call__(self, example: Example) -> Row:
        """The example, its input_ids [CLS] (<<ENT>> label)* <<SEP>> words [SEP], its words_mask with words from 1."""
        ids = [self._first]
        for label in example.labels:
            ids += [self._ent, *self._ids(label)]
        ids.append(self._sep)
        mask = [0] * len(ids)
        for number, word in enumerate(example.words, 1):
            pieces = self._ids(word)
            ids += pieces
            mask += [number, *[0] * (len(pieces) - 1)] if pieces else []
        return example, [*ids, self._last], [*mask, 0]

    def _ids(self, word: str) -> list[int]:
        if word not in self._pieces:
            if len(self._pieces) > REMEMBERED:
                self._pieces.clear()
            self._pieces[word] = self._backend.encode(word, add_special_tokens=False).ids
        return self._pieces[word]


def batches(encoder: Encoder, articles: Sequence[Article], seed: int, tokens: int) -> Iterator[dict[str, torch.Tensor]]:
    """Without end: batches of at most `tokens` sub-tokens, with some of the words' pieces masked."""
    rng = random.Random(seed)
    stream = examples(articles, rng)
    while True:
        rows = [encoder(example) for example in islice(stream, AT_A_TIME)]
        rows.sort(key=lambda row: len(row[1]) + 8 * rng.random())
        groups: list[list[Row]] = [[]]
        for row in rows:
            if groups[-1] and (len(groups[-1]) + 1) * len(row[1]) > tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            batch = collate(group)
            ids, text = batch["input_ids"], batch["words_mask"].cumsum(1) > 0
            hidden = torch.rand(ids.shape, generator=torch.Generator().manual_seed(rng.randrange(1 << 30))) < MASKED
            ids[hidden & text & batch["attention_mask"].bool()] = encoder.mask
            yield batch
