"""Precision, recall and F1 of a model while it is trained, on the distinct (text, label) of each article."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from functions.extract.decoding import Span, accepting
from training.gliner_news.articles import Article, coarse, pieces
from training.gliner_news.batches import Encoder
from training.gliner_news.examples import MAX_WORDS
from training.gliner_small.batches import collate
from training.gliner_small.corpus import Example
from training.gliner_small.model import span_logits

Counts = dict[str, Counter[str]]


@torch.no_grad()
def score(
    model: Any, encoder: Encoder, articles: Sequence[Article], names: Sequence[str], threshold: float = 0.5
) -> Counts:
    """Counts of "hit", "found" and "gold" by class, all `names` asked for at once."""
    model.eval()
    labels = tuple(name.capitalize() for name in names)
    counts = {name: Counter[str]() for name in names}
    for article in articles:
        gold, found = set(), set()
        for piece in pieces(article, MAX_WORDS):
            gold |= {
                (piece.words[f : last + 1], coarse(kind)) for f, last, kind in piece.spans if coarse(kind) in names
            }
            logits, valid = span_logits(model, collate([encoder(Example(piece.words, labels, ()))]))
            scores = (logits.sigmoid() * valid)[0]
            spans = [
                Span(first, first + width, label, scores[first, width, label].item())
                for first, width, label in (scores > threshold).nonzero().tolist()
            ]
            accepts = accepting(flat=True, multi_label=False)
            for span in sorted(spans, key=lambda span: -span.score):
                if accepts(span):
                    found.add((piece.words[span.first : span.last + 1], names[span.label]))
        for name in names:
            of_name = [{entity for entity in entities if entity[1] == name} for entities in (gold, found)]
            counts[name].update(gold=len(of_name[0]), found=len(of_name[1]), hit=len(of_name[0] & of_name[1]))
    return counts


def rates(counts: Counts) -> dict[str, tuple[float, float, float]]:
    """Precision, recall, F1 by class, and over all under "micro"."""

    def of(count: Counter[str]) -> tuple[float, float, float]:
        hit, found, gold = count["hit"], count["found"], count["gold"]
        return hit / max(1, found), hit / max(1, gold), 2 * hit / max(1, found + gold)

    return {name: of(count) for name, count in counts.items()} | {"micro": of(sum(counts.values(), Counter()))}
