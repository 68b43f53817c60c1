"""Training examples without end: pieces of articles and generated sentences, each with a set of labels to look for."""

import random
from collections.abc import Callable, Iterator, Sequence

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

# Of the pieces that are marked with every kind, so many are asked for kinds and not for classes.
KINDS = 0.7
STYLES: tuple[Callable[[str], str], ...] = (str.lower, str.lower, str.capitalize, str.capitalize, str.title, str.upper)

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
    labels = draw_kinds(piece, rng) if piece.fine and rng.random() < KINDS else draw_classes(rng)
    spans = {
        (first, last, number)
        for first, last, kind in piece.spans
        if last - first < MAX_WIDTH
        for number, (asked, _) in enumerate(labels)
        if asked and asked in (kind, coarse(kind))
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


def draw_classes(rng: random.Random) -> list[Label]:
    """(kind, label) pairs, no label twice, of the seven classes: as most clients ask, or in other words."""
    chance = rng.random()
    if chance < 0.6:
        names = list(COARSE[:3])
        if chance < 0.4:
            names = list(COARSE) if chance < 0.3 else [*names, *rng.sample(COARSE[3:], rng.randint(1, 3))]
        if rng.random() < 0.3:
            rng.shuffle(names)
        style = rng.choice((str.capitalize, str.capitalize, str.capitalize, str.lower))
        labels = [(name, style(name)) for name in names]
    else:
        labels = _worded(rng.sample(COARSE, rng.randint(1, 6)), rng, rng.choice(STYLES))
    return _once([*labels, *_absent(rng)])


def draw_kinds(piece: Article, rng: random.Random) -> list[Label]:
    """Of kinds below and beside the classes: most that the piece has, and some that it does not have."""
    present = sorted({kind for _, _, kind in piece.spans if kind not in COARSE})
    asked = rng.sample(present, rng.randint(min(1, len(present)), min(6, len(present))))
    others = [kind for kind in (*OTHER, *(kind for kinds in FINE.values() for kind in kinds)) if kind not in asked]
    asked += rng.sample(others, rng.randint(1, 4))
    # A class is asked for beside kinds of other classes.
    classes = [name for name in COARSE if name not in {coarse(kind) for kind in asked}]
    asked += rng.sample(classes, rng.choice((0, 0, 1, 2)) if len(classes) > 1 else 0)
    rng.shuffle(asked)
    return _once([*_worded(asked, rng, rng.choice(STYLES)), *_absent(rng)])


def _absent(rng: random.Random) -> list[Label]:
    return [("", word) for word in rng.sample(ABSENT, rng.choice((0, 0, 0, 1, 3)))]


def _once(labels: list[Label]) -> list[Label]:
    return list({label.lower(): (kind, label) for kind, label in labels}.values())


def _worded(names: Sequence[str], rng: random.Random, style: Callable[[str], str]) -> list[Label]:
    worded = []
    for name in names:
        word = rng.choice(SYNONYMS[name])
        worded.append((name, word if word.isupper() else style(word)))
    return worded
