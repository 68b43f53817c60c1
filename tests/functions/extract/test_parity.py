"""The same spans, labels and scores as the `gliner` package, recorded by record_goldens.py."""

import json
from pathlib import Path
from typing import Any

import pytest

from functions.extract.gliner import GlinerEngine
from functions.extract.words import Splitter
from tests.functions.extract.conftest import decode, spans_of, windows
from tests.functions.extract.golden_cases import CASES, Case

GOLDENS = Path(__file__).resolve().parents[2] / "data" / "gliner_goldens.jsonl"
RECORDED = [json.loads(line) for line in GOLDENS.read_text(encoding="utf-8").splitlines()]


def test_every_case_is_recorded() -> None:
    assert [golden["text"] for golden in RECORDED] == [case.text for case in CASES]
    assert len(CASES) >= 60
    assert sum(len(golden["entities"]) for golden in RECORDED) >= 300


@pytest.mark.parametrize(
    ("case", "golden"), list(zip(CASES, RECORDED, strict=True)), ids=[f"case {number}" for number in range(len(CASES))]
)
def test_entities_are_those_of_the_gliner_package(
    gliner: GlinerEngine, case: Case, golden: dict[str, list[list[Any]]]
) -> None:
    words = Splitter(case.text).take(len(case.text))
    pieces = windows(gliner, case.text, case.labels, case.threshold)
    candidates = [span for piece in pieces for span in spans_of(gliner.spans([piece])[0])]
    spans = decode(candidates, flat=case.flat_ner, multi_label=case.multi_label)
    found = [(words[s.first].start, words[s.last].end, case.labels[s.label], s.score) for s in spans]
    expected = [(start, end, label) for start, end, label, _ in golden["entities"]]
    assert sorted(span[:3] for span in found) == sorted(expected)
    scores = {span[:3]: span[3] for span in found}
    for start, end, label, score in golden["entities"]:
        assert scores[start, end, label] == pytest.approx(score, abs=1e-4)
