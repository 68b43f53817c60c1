"""Training examples: generated texts split to words, with a label set that varies from example to example."""

import random
import re
from dataclasses import dataclass

from training.gliner_small import grammar
from training.gliner_small.lexicon import table

WORDS = re.compile(r"\w+(?:[-_]\w+)*|\S")

FINE = {
    "organization": ("company", "government agency", "political party", "sports team", "newspaper", "university"),
    "location": ("city", "country"),
}
COARSE = ("person", "organization", "location", "date", "money", "product", "event", "nationality", "percentage")
CANONICAL = {concept: concept.capitalize() for concept in COARSE[:7]}


@dataclass(frozen=True)
class Example:
    """Words, the label strings asked for, and the (first word, last word, label index) of every entity."""

    words: tuple[str, ...]
    labels: tuple[str, ...]
    spans: tuple[tuple[int, int, int], ...]


def draw_labels(rng: random.Random) -> list[tuple[str, str]]:
    """(concept, label string) pairs: half of the time the canonical labels, else synonyms in mixed case."""
    if rng.random() < 0.5:
        concepts = ["person", "organization", "location"]
        if rng.random() < 0.08:
            concepts = rng.sample(concepts, rng.randint(1, 2))
        extra = rng.choices((0, 1, 2, 3, 4), (0.45, 0.15, 0.15, 0.15, 0.10))[0]
        concepts += rng.sample(("date", "money", "product", "event"), extra)
        if rng.random() < 0.5:
            rng.shuffle(concepts)
        style = rng.choice((str, str, str, str.lower))
        return [(concept, style(CANONICAL[concept])) for concept in concepts]
    concepts = rng.sample(COARSE, rng.randint(1, 7))
    for parent, children in FINE.items():
        if parent in concepts and rng.random() < 0.35:
            concepts.remove(parent)
            concepts += rng.sample(children, rng.randint(1, 2))
    if rng.random() < 0.8 and not set(concepts) & {"person", "organization", "location"}:
        concepts.append(rng.choice(("person", "organization", "location")))
    rng.shuffle(concepts)
    style = rng.choice((str, str, str.lower, str.upper, str.title))
    labels = [(concept, style(rng.choice(table(concept, "synonyms")))) for concept in concepts]
    labels += [("", rng.choice(table("labels", "absent"))) for _ in range(rng.choice((0, 0, 1, 2)))]
    rng.shuffle(labels)
    return list({label: (concept, label) for concept, label in labels}.values())


def example(rng: random.Random, max_words: int = 170) -> Example:
    """One random example."""
    count = rng.choices((1, 2, 3, 5, 7), (0.80, 0.10, 0.05, 0.035, 0.015))[0]
    text = grammar.document(rng, count)
    spans = [match.span() for match in WORDS.finditer(text.value)]
    starts = {start: index for index, (start, _) in enumerate(spans)}
    ends = {end: index for index, (_, end) in enumerate(spans)}
    words = tuple(text.value[start:end] for start, end in spans)[:max_words]
    labels = draw_labels(rng)
    marked = set()
    for start, end, types in text.entities:
        first, last = starts.get(start), ends.get(end)
        if first is None or last is None or last >= len(words) or last - first >= 12:
            continue
        marked |= {(first, last, index) for index, (concept, _) in enumerate(labels) if concept in types}
    return Example(words, tuple(label for _, label in labels), tuple(sorted(marked)))


def build(size: int, seed: int) -> list[Example]:
    """`size` examples, the same for the same seed."""
    rng = random.Random(seed)
    return [example(rng) for _ in range(size)]
