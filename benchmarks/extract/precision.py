"""What the less precise forms cost: entities of the embedded model on its held-out sentences.

    python -m benchmarks.extract.precision

It says something about this model alone: how a model takes to 8 bits depends on its weights.
"""

import asyncio
import json
import os
import statistics
from typing import get_args

from benchmarks.harness.folders import ROOT
from benchmarks.harness.table import head, line
from common.settings import Precision, get_settings

SENTENCES = ROOT / "tests/data/entities.jsonl"
# Low, so that spans that fall below the usual threshold on one side only are seen with both scores.
THRESHOLD, LOW = 0.5, 0.05

Key = tuple[int, int, int, str]


def scores(precision: str) -> dict[Key, float]:
    """Of each span with a score over `LOW`, by sentence, start, end and label."""
    os.environ["FACTORY_EXTRACT__PRECISION"] = precision
    get_settings.cache_clear()
    from functions.extract import engine, service
    from functions.extract.schemas import Options

    loaded = engine.load(lambda _: None)

    found: dict[Key, float] = {}
    for number, text in enumerate(SENTENCES.read_text(encoding="utf-8").splitlines()):
        sentence = json.loads(text)
        options = Options(labels=sentence["labels"], threshold=LOW)
        extraction = asyncio.run(service.extract(sentence["text"], options, loaded))
        for entity in json.loads(b"[" + extraction.entities + b"]"):
            found[number, entity["start"], entity["end"], entity["label"]] = entity["score"]
    return found


def expected() -> set[Key]:
    sentences = [json.loads(text) for text in SENTENCES.read_text(encoding="utf-8").splitlines()]
    return {
        (number, entity["start"], entity["end"], entity["label"])
        for number, sentence in enumerate(sentences)
        for entity in sentence["entities"]
    }


def main() -> None:
    truth = expected()
    exact = scores("fp32")
    kept = {key for key, score in exact.items() if score > THRESHOLD}
    print(head(["precision", "F1", "spans lost", "spans new", "score, mean difference", "largest"]))
    for precision in get_args(Precision):
        found = exact if precision == "fp32" else scores(precision)
        over = {key for key, score in found.items() if score > THRESHOLD}
        f1 = 2 * len(over & truth) / (len(over) + len(truth))
        differences = [abs(found[key] - exact[key]) for key in found.keys() & exact.keys()]
        lost, new = len(kept - over), len(over - kept)
        mean, largest = statistics.mean(differences), max(differences)
        print(line([precision, f"{f1:.3f}", lost, new, f"{mean:.5f}", f"{largest:.4f}"]))


if __name__ == "__main__":
    main()
