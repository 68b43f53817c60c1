"""A model through the service's own engine, on articles: `python -m training.gliner_news.evaluate [--model MODEL]`.

It prints precision, recall and F1 of the distinct (text, label) of each article, as a client gets them: on the articles
that were held back from training, for three and for seven labels; for synonyms of the labels; in small letters and in
capitals; and on `check-*.txt`, for the kinds below and beside the seven classes and for other languages.

It needs the service's environment, not torch.
"""

import argparse
import asyncio
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from functions.extract import engine, service
from functions.extract.gliner import GlinerEngine
from functions.extract.schemas import Options, TextResult
from training.gliner_news import articles
from training.gliner_news.kinds import ABSENT, CLASS, COARSE, FINE, OTHER, SYNONYMS
from training.news.split import HELD_BACK, SEED

Entity = tuple[str, str]
Counts = dict[str, Counter[str]]


@dataclass(frozen=True)
class Text:
    """A text, and its distinct (written form, kind)."""

    text: str
    entities: frozenset[Entity]


def held_back() -> list[Text]:
    """The articles that no training saw."""
    names = {article.name for article in articles.split(articles.of_news(), HELD_BACK, SEED)[1]}
    return [
        Text(record["text"], frozenset((form, label.lower()) for form, label in record["entities"]))
        for record in articles.records()
        if record["id"] in names
    ]


def marked(path: Path) -> list[Text]:
    """Texts in which every mention is marked as `{written form|kind}`."""
    found = []
    for part in articles.parts(path):
        text, marks = articles.unmarked(part)
        found.append(Text(text, frozenset((text[start:end], kind) for start, end, kind in marks)))
    return found


def extract(gliner: GlinerEngine, text: str, labels: Sequence[str], threshold: float) -> Iterator[Entity]:
    """The (text, label) of every entity that the service answers with."""
    found = asyncio.run(service.extract(text, Options(labels=list(labels), threshold=threshold), gliner))
    for entity in TextResult.model_validate_json(b"{" + found.members() + b"}").entities:
        yield entity.text, entity.label


def count(gliner: GlinerEngine, texts: Sequence[Text], asked: Mapping[str, str], threshold: float = 0.5) -> Counts:
    """Counts of "hit", "found" and "gold" by kind; `asked` is the label for each kind that is asked for, all at once.

    A class stands for the kinds below it, unless they are asked for as well.
    """
    kinds = {label: kind for kind, label in asked.items()}
    counts = {kind: Counter[str]() for kind in asked}
    for text in texts:
        gold = {(form, _as_asked(kind, asked)) for form, kind in text.entities}
        found = {(form, kinds[label]) for form, label in extract(gliner, text.text, list(kinds), threshold)}
        for kind in asked:
            mine, theirs = ({entity for entity in entities if entity[1] == kind} for entities in (found, gold))
            counts[kind].update(found=len(mine), gold=len(theirs), hit=len(mine & theirs))
    return counts


def _as_asked(kind: str, asked: Mapping[str, str]) -> str:
    return kind if kind in asked else CLASS[kind]


def rates(counts: Counter[str]) -> tuple[float, float, float]:
    """Precision, recall, F1."""
    hit, found, gold = counts["hit"], counts["found"], counts["gold"]
    return hit / max(1, found), hit / max(1, gold), 2 * hit / max(1, found + gold)


def total(counts: Counts) -> Counter[str]:
    return sum(counts.values(), Counter())


def in_letters(texts: Sequence[Text], change: Callable[[str], str]) -> list[Text]:
    return [Text(change(text.text), frozenset((change(form), kind) for form, kind in text.entities)) for text in texts]


def show(title: str, counts: Counts, *, by_kind: bool = True) -> None:
    print(f"\n{title}\n| | precision | recall | F1 | entities |\n|---|---|---|---|---|")
    rows = [(kind, row) for kind, row in counts.items() if by_kind and row["gold"]]
    for kind, row in [*rows, ("**all**", total(counts))]:
        precision, recall, f1 = rates(row)
        print(f"| {kind} | {precision:.3f} | {recall:.3f} | {f1:.3f} | {row['gold']} |")


def canonical(kinds: Sequence[str]) -> dict[str, str]:
    return {kind: kind.capitalize() for kind in kinds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="as the setting FACTORY_EXTRACT__MODEL")
    parser.add_argument("--all", action="store_true", help="all articles, for a model that was trained on none of them")
    options = parser.parse_args()
    os.environ["FACTORY_EXTRACT__MODEL"] = options.model
    gliner = engine.load(lambda _: None)
    texts = held_back()
    if options.all:
        texts = [
            Text(record["text"], frozenset((form, label.lower()) for form, label in record["entities"]))
            for record in articles.records()
        ]
    show(f"{len(texts)} articles, three labels", count(gliner, texts, canonical(COARSE[:3])))
    show(f"{len(texts)} articles, seven labels", count(gliner, texts, canonical(COARSE)))
    for number in range(3):
        words = {kind: SYNONYMS[kind][1:][number % (len(SYNONYMS[kind]) - 1)] for kind in COARSE}
        show(f"as {', '.join(words.values())}", count(gliner, texts, words), by_kind=False)
    small = {kind: kind for kind in COARSE}
    show("labels in small letters", count(gliner, texts, small), by_kind=False)
    for name, change in (("small letters", str.lower), ("capitals", str.upper)):
        show(f"texts in {name}", count(gliner, in_letters(texts, change), canonical(COARSE)), by_kind=False)
    with_absent = count(gliner, texts, {**canonical(COARSE), **{word: word for word in ABSENT[:8]}})
    absent = sum(with_absent[word]["found"] for word in ABSENT[:8])
    show(f"with eight labels that nothing is of: {absent} found as one of them", with_absent, by_kind=False)
    for path in sorted(articles.NEWS.glob("check-*.txt")):
        others = marked(path)
        name = re.sub(r"^check-|\.txt$", "", path.name)
        show(f"{name}: {len(others)} texts, seven labels", count(gliner, others, canonical(COARSE)))
        if name == "kinds":
            fine = [kind for kinds in FINE.values() for kind in kinds] + list(OTHER)
            counts: Counts = {}
            # People ask for a handful of labels at a time.
            for at in range(0, len(fine), 6):
                some = {kind: SYNONYMS[kind][0].capitalize() for kind in fine[at : at + 6]}
                counts |= count(gliner, others, some)
            show(f"{name}: kinds below and beside the seven, six at a time", counts)


if __name__ == "__main__":
    main()
