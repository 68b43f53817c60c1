"""The engine on the `gliner` package, which is played by a double: what it finds is decided on once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.settings import ExtractSettings
from functions.extract.gliner import GlinerConfig, GlinerEngine
from functions.extract.model import CONFIG
from functions.extract.reference import ReferenceEngine
from tests.conftest import MINIATURE
from tests.functions.extract.conftest import extract

Words = list[dict[str, Any]]


class Package:
    """Stands for a model of the package that gives these logits to spans, by first and last word."""

    def __init__(self, logits: dict[tuple[int, int], float]) -> None:
        self._logits = logits
        self.asked: list[tuple[list[str], list[str]]] = []

    def prepare_base_input(self, texts: list[list[str]]) -> Words:
        return [{"tokenized_text": words} for words in texts]

    def collate_batch(self, texts: Words, labels: list[str]) -> tuple[list[str], list[str]]:
        (text,) = texts
        return text["tokenized_text"], labels

    def run_batch(self, batch: tuple[list[str], list[str]]) -> Sequence[NDArray[Any]]:
        words, labels = batch
        self.asked.append(batch)
        logits = np.full((1, len(words), 12, len(labels)), -9.0)
        for (first, last), logit in self._logits.items():
            logits[0, first, last - first] = logit
        return [logits]


def engine(gliner: GlinerEngine, package: Package) -> ReferenceEngine:
    config = GlinerConfig.read(MINIATURE / CONFIG)
    return ReferenceEngine("reference", config, gliner._tokenizer, package, ExtractSettings(model="embedded"))


def test_a_span_that_another_ruled_out_rules_out_nothing(gliner: GlinerEngine) -> None:
    """`b` rules out `a b c`, which would rule out `c d` if it were kept as one that may hold others."""
    package = Package({(1, 1): 3.0, (0, 2): 2.0, (2, 3): 1.0})
    found = extract(engine(gliner, package), "a b c d", labels=["Person"])
    assert [entity.text for entity in found.entities] == ["b", "c d"]
    nested = extract(engine(gliner, package), "a b c d", labels=["Person"], flat_ner=False)
    assert [entity.text for entity in nested.entities] == ["a b c", "b"]


def test_the_package_is_given_words_and_labels_as_the_other_engine_sees_them(gliner: GlinerEngine) -> None:
    package = Package({(0, 0): 3.0})
    text = "Jose\u0301 left."
    (entity,) = extract(engine(gliner, package), text, labels=["pe\u0301re"]).entities
    assert (entity.text, entity.label, entity.start, entity.end) == ("Jose\u0301", "pe\u0301re", 0, 5)
    assert package.asked == [(["José", "left", "."], ["pére"])]
