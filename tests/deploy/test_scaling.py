"""The documents have the tables that benchmarks/scaling.py prints, and what they say hangs together."""

import re

import pytest
from samtranslator.yaml_helper import yaml_parse

from benchmarks.scaling import (
    BATCH_BYTES,
    BATCH_CONCURRENCY,
    DOCUMENT,
    DOCUMENTS,
    EXTRACT_BATCH,
    LEAST_MEMORY_MB,
    MB_PER_CPU,
    MODELS,
    TABLES,
    TIMEOUT_SECONDS,
    USD_PER_GB_SECOND,
    Model,
    filled,
    places,
)
from functions.summarize.model import PRESETS
from tests.conftest import ROOT

TEXT = DOCUMENT.read_text(encoding="utf-8")


def test_the_tables_in_the_documents_are_those_that_the_script_prints() -> None:
    texts = [document.read_text(encoding="utf-8") for document in DOCUMENTS]
    assert sorted(name for text in texts for name in places(text)) == sorted(TABLES)
    for text in texts:
        assert filled(text) == text, "python -m benchmarks.scaling --write puts them there"


def test_a_figure_that_was_changed_by_hand_would_be_found() -> None:
    changed = TEXT.replace("| 1.14 |", "| 1.13 |", 1)
    assert changed != TEXT
    assert filled(changed) == TEXT


def test_every_llama_has_its_rows_and_what_was_not_measured_is_marked() -> None:
    assert {model.preset for model in MODELS} == {name for name in PRESETS if name.startswith("llama-")}
    rows = [line for line in TABLES["lambda"]().splitlines() if "llama-3.2-3b" in line and "does not fit" not in line]
    assert rows
    assert all(re.search(r"\| ~\d+\.\d† \|", row) for row in rows)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.preset)
def test_an_article_costs_what_its_memory_costs_for_its_time(model: Model) -> None:
    for memory in (3008, 10240):
        seconds = model.cpu_seconds / (memory / MB_PER_CPU)
        usd = 1000 * seconds * memory / 1024 * USD_PER_GB_SECOND
        assert model.usd_per_thousand == pytest.approx(usd, rel=0.001)


def test_the_run_over_a_corpus_is_that_of_the_template() -> None:
    template = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    parameters = template["Parameters"]
    assert parameters["TimeoutSeconds"]["Default"] == TIMEOUT_SECONDS
    assert parameters["BatchConcurrency"]["Default"] == BATCH_CONCURRENCY
    states = template["Resources"]["CorpusRun"]["Properties"]["Definition"]["States"]
    assert states["Extract"]["Parameters"]["items"] == EXTRACT_BATCH
    assert all(
        states[name]["ItemBatcher"]["MaxInputBytesPerBatch"] == BATCH_BYTES for name in ("Every line", "Every row")
    )
    assert LEAST_MEMORY_MB.keys() == template["Mappings"]["Presets"].keys()
    for model in MODELS:
        assert model.needed_bytes <= LEAST_MEMORY_MB[model.preset] << 20
