"""Is the rebuilt graph the same model? Logits and entities beside the `gliner` package's own, on random texts.

.venv-bench-extract/bin/python -m benchmarks.extract.exactness [--texts 200]
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from benchmarks.extract.compare import MODEL, text
from benchmarks.harness.news import words

MOST_DIFFERENCE = 1e-4
THRESHOLD = 0.5


def logits(gliner: Any, sample: str, labels: Sequence[str]) -> Any:
    batch = gliner.collate_batch(gliner.prepare_batch([sample], list(labels))["input_x"], list(labels))
    return gliner.run_batch(batch).logits.numpy()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare logits and entities with the gliner package.")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--texts", type=int, default=200)
    options = parser.parse_args()
    os.environ["FACTORY_EXTRACT__MODEL"] = str(options.model)
    from gliner import GLiNER

    from functions.extract import engine, service
    from functions.extract.feeds import feeds
    from functions.extract.schemas import Options

    loaded = engine.load(lambda _: None)
    gliner = GLiNER.from_pretrained(str(options.model), local_files_only=True)
    random = Random(5)
    worst, found, different = 0.0, 0, 0

    for _ in range(options.texts):
        sample = text(random, random.randint(1, 380))
        labels = [word.capitalize() for word in random.sample(words(), random.randint(1, 8))]
        piece = loaded.read(sample, loaded.prompt(labels), labels, THRESHOLD).take()
        assert piece
        inputs = feeds([piece.row], loaded._config.max_width, 0)
        ours = loaded._session.run(["logits"], inputs)[0][0]
        theirs = logits(gliner, sample, labels)
        within = inputs["span_mask"].reshape(ours.shape[:2])
        worst = max(worst, float(np.abs(ours - theirs)[within].max()))
        wish = Options(labels=labels, threshold=THRESHOLD, flat_ner=random.random() < 0.5)
        entities = json.loads(b"[" + asyncio.run(service.extract(sample, wish, loaded)).entities + b"]")
        expected = gliner.predict_entities(sample, labels, threshold=THRESHOLD, flat_ner=wish.flat_ner)
        left = {(entity["start"], entity["end"], entity["label"]) for entity in entities}
        right = {(entity["start"], entity["end"], entity["label"]) for entity in expected}
        found += len(right)
        different += len(left ^ right)
    print(f"{options.texts} texts of 1 to 380 words, 1 to 8 labels")
    print(f"largest difference of a logit: {worst:.2g} (bound {MOST_DIFFERENCE:g})")
    print(f"entities of the package: {found}; found by one side only: {different}")
    sys.exit(worst > MOST_DIFFERENCE or different > 0)


if __name__ == "__main__":
    main()
