"""Training examples without end: pieces of articles and generated sentences, each with a set of labels to look for."""

import random
from collections.abc import Iterator, Sequence

from training.gliner_news.articles import Article, Exchange, coarse, pieces
from training.gliner_news.kinds import ABSENT, COARSE, FINE, OTHER, SYNONYMS
from training.gliner_small import corpus
from training.gliner_small.corpus import Example

MAX_WIDTH = 12
MAX_WORDS = 200
GENERATED_WORDS = 170
# Of the examples so many are generated sentences, and of the articles' pieces so many are varied.
GENERATED = 0.25
EXCHANGED, OF_NAMES = 0.5, 0.5
ALL_SMALL, ALL_CAPITALS = 0.05, 0.04

Label = tuple[str, str]


def examples(articles: Sequence[Article], rng: random.Random) -> Iterator[Example]:
    """Without end; every article comes once before one comes again."""
    exchange = Exchange(list(articles))
    while True:
        for article in rng.sample(articles, len(articles)):
            for piece in pieces(article, MAX_WORDS, rng):
                if rng.random() < EXCHANGED:
                    piece = exchange.vary(piece, rng, OF_NAMES)
                yield in_other_letters(example(piece, rng), rng)
                while rng.random() < GENERATED:
                    yield corpus.example(rng, GENERATED_WORDS)


def example(piece: Article, rng: random.Random) -> Example:
    labels = draw_labels(rng, fine=piece.fine)
    spans = {
        (first, last, number)
        for first, last, kind in piece.spans
        if last - first < MAX_WIDTH
        for number, (asked, _) in enumerate(labels)
        if asked in (kind, coarse(kind))
    }
    return Example(piece.words, tuple(label for _, label in labels), tuple(sorted(spans)))


def in_other_letters(example: Example, rng: random.Random) -> Example:
    """Now and then all small, or all capitals."""
    chance = rng.random()
    if chance < ALL_SMALL:
        return Example(tuple(word.lower() for word in example.words), example.labels, example.spans)
    if chance < ALL_SMALL + ALL_CAPITALS:
        return Example(tuple(word.upper() for word in example.words), example.labels, example.spans)
    return example


def draw_labels(rng: random.Random, *, fine: bool) -> list[Label]:
    """(kind, label) pairs without a label twice; `fine` texts are marked with every kind that is known."""
    chance = rng.random()
    if chance < 0.5:
        names = list(COARSE[:3])
        if chance < 0.35:
            names = list(COARSE) if chance < 0.25 else [*names, *rng.sample(COARSE[3:], rng.randint(1, 3))]
        if rng.random() < 0.3:
            rng.shuffle(names)
        style = rng.choice((str.capitalize, str.capitalize, str.capitalize, str.lower))
        labels = [(name, style(name)) for name in names]
        if fine and rng.random() < 0.3:
            labels += _worded(rng.sample(OTHER, rng.randint(1, 3)), rng, style)
    else:
        names = rng.sample(COARSE, rng.randint(1, 6))
        if fine:
            names = [kind for name in names for kind in _refined(name, rng)]
            names += rng.sample(OTHER, rng.choice((0, 0, 1, 2, 3)))
        style = rng.choice((str.lower, str.lower, str.capitalize, str.title, str.upper, str))
        labels = _worded(names, rng, style)
        rng.shuffle(labels)
    labels += [("", word) for word in rng.sample(ABSENT, rng.choice((0, 0, 0, 1, 2)))]
    return list({label.lower(): (kind, label) for kind, label in labels}.values())


def _refined(name: str, rng: random.Random) -> list[str]:
    """The class, or some kinds below it."""
    kinds = FINE[name]
    return rng.sample(kinds, rng.randint(1, 3)) if kinds and rng.random() < 0.5 else [name]


def _worded(names: Sequence[str], rng: random.Random, style: object) -> list[Label]:
    assert callable(style)
    worded = []
    for name in names:
        word = rng.choice(SYNONYMS[name])
        worded.append((name, word if word.isupper() else style(word)))
    return worded
