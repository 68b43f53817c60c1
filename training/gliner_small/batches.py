"""Endless training batches of similar length, encoded as gliner's own processor would."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from training.gliner_small import corpus
from training.gliner_small.model import MAX_WIDTH
from training.gliner_small.tokenizer import ENT, SEP

CHUNK = 20_000
REMEMBERED = 300_000
Row = tuple[corpus.Example, list[int], list[int]]


def collate(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """The model's inputs, and `targets` [B, W, 12, C]."""
    size, longest = len(rows), max(len(ids) for _, ids, _ in rows)
    words, labels = max(len(e.words) for e, _, _ in rows), max(len(e.labels) for e, _, _ in rows)
    keys = ("input_ids", "attention_mask", "words_mask")
    batch = {key: torch.zeros(size, longest, dtype=torch.long) for key in keys}
    targets = torch.zeros(size, words, MAX_WIDTH, labels)
    for row, (example, ids, mask) in enumerate(rows):
        batch["input_ids"][row, : len(ids)] = torch.tensor(ids)
        batch["attention_mask"][row, : len(ids)] = 1
        batch["words_mask"][row, : len(ids)] = torch.tensor(mask)
        for first, last, label in example.spans:
            targets[row, first, last - first, label] = 1.0
    batch["text_lengths"] = torch.tensor([[len(e.words)] for e, _, _ in rows])
    return batch | {"targets": targets}


class Batches:
    """Batches of at most `tokens` sub-tokens; words and labels are tokenised once and remembered."""

    def __init__(self, tokenizer: Any, seed: int, tokens: int) -> None:
        self.backend, self.seed, self.tokens = tokenizer.backend_tokenizer, seed, tokens
        self.ent, self.sep = tokenizer.convert_tokens_to_ids([ENT, SEP])
        self.pieces: dict[str, list[int]] = {}

    def ids(self, word: str) -> list[int]:
        if word not in self.pieces:
            if len(self.pieces) > REMEMBERED:
                self.pieces.clear()
            self.pieces[word] = self.backend.encode(word, add_special_tokens=False).ids
        return self.pieces[word]

    def encode(self, example: corpus.Example) -> tuple[list[int], list[int]]:
        """input_ids and words_mask: [CLS] (<<ENT>> label)* <<SEP>> words [SEP], words numbered from 1."""
        ids = [1]
        for label in example.labels:
            ids += [self.ent, *self.ids(label)]
        ids.append(self.sep)
        mask = [0] * len(ids)
        for number, word in enumerate(example.words, start=1):
            pieces = self.ids(word)
            ids += pieces
            mask += [number] + [0] * (len(pieces) - 1) if pieces else []
        return [*ids, 2], [*mask, 0]

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        chunk = 0
        while True:
            rng = random.Random(f"{self.seed}/{chunk}")
            rows = [(e, *self.encode(e)) for e in (corpus.example(rng) for _ in range(CHUNK))]
            rows.sort(key=lambda row: len(row[1]) + 4 * rng.random())
            batches: list[list[Row]] = []
            current: list[Row] = []
            for row in rows:
                if current and (len(current) + 1) * len(row[1]) > self.tokens:
                    batches.append(current)
                    current = []
                current.append(row)
            batches.append(current)
            rng.shuffle(batches)
            for rows_of_batch in batches:
                yield collate(rows_of_batch)
            chunk += 1
