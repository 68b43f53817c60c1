"""The embedded model on hand-written news sentences with real-world names (tests/data/README.md), and on articles.

`python -m tests.functions.extract.test_entity_quality` prints the table.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from common.settings import PREFIX, get_settings
from functions.extract import engine
from functions.extract.gliner import GlinerEngine
from tests.functions.extract.conftest import extract
from training.gliner_news import evaluate
from training.gliner_news.kinds import COARSE

ENTITIES = Path(__file__).resolve().parents[2] / "data" / "entities.jsonl"
TARGET_F1 = 0.85
# Of the distinct (text, label) of each article.
TARGET_F1_OF_ARTICLES = 0.80

Counts = tuple[int, int, int]


def count(gliner: GlinerEngine) -> dict[str, Counts]:
    """True positives, found and expected entities for each label, at threshold 0.5; a span must match exactly."""
    hits, found, expected = Counter[str](), Counter[str](), Counter[str]()
    for line in ENTITIES.read_text(encoding="utf-8").splitlines():
        sentence = json.loads(line)
        answer = extract(gliner, sentence["text"], labels=sentence["labels"])
        theirs = {(entity["start"], entity["end"], entity["label"]) for entity in sentence["entities"]}
        ours = {(entity.start, entity.end, entity.label) for entity in answer.entities}
        hits.update(label for _, _, label in ours & theirs)
        found.update(label for _, _, label in ours)
        expected.update(label for _, _, label in theirs)
    return {label: (hits[label], found[label], expected[label]) for label in sorted(expected)}


def scores(counts: Counts) -> tuple[float, float, float]:
    """Precision, recall, F1."""
    hits, found, expected = counts
    return hits / max(found, 1), hits / max(expected, 1), 2 * hits / max(found + expected, 1)


def total(counts: dict[str, Counts]) -> Counts:
    hits, found, expected = (sum(column) for column in zip(*counts.values(), strict=True))
    return hits, found, expected


@pytest.fixture(scope="module")
def embedded() -> GlinerEngine:
    return load("fp32")


def load(precision: str) -> GlinerEngine:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"{PREFIX}EXTRACT__MODEL", "embedded")
        patch.setenv(f"{PREFIX}EXTRACT__PRECISION", precision)
        get_settings.cache_clear()
        return engine.load(lambda _: None)


def test_the_embedded_model_is_rebuilt_and_takes_batches(embedded: GlinerEngine) -> None:
    assert embedded.facts["graph"] == "rebuilt"
    assert embedded.batch_tokens > 0


def test_the_embedded_model_finds_real_world_names_and_still_does_in_8_bits(embedded: GlinerEngine) -> None:
    exact, quantized = (scores(total(count(loaded)))[2] for loaded in (embedded, load("int8")))
    assert exact >= TARGET_F1
    assert quantized >= exact - 0.02


@pytest.mark.parametrize("kinds", [COARSE[:3], COARSE], ids=["three labels", "seven labels"])
def test_it_finds_the_entities_of_articles_that_no_training_saw(embedded: GlinerEngine, kinds: tuple[str, ...]) -> None:
    counts = evaluate.count(embedded, evaluate.held_back(), evaluate.canonical(kinds))
    assert evaluate.rates(evaluate.total(counts))[2] >= TARGET_F1_OF_ARTICLES


def main() -> None:
    counts = count(load("fp32"))
    print(f"{'label':<14}{'precision':>10}{'recall':>8}{'F1':>8}{'entities':>10}")
    for label, row in [*counts.items(), ("all", total(counts))]:
        precision, recall, f1 = scores(row)
        print(f"{label:<14}{precision:>10.3f}{recall:>8.3f}{f1:>8.3f}{row[2]:>10}")


if __name__ == "__main__":
    main()
