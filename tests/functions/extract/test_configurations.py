"""`gliner_config.json` as the package reads it: entries that are left out, or not set."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from common.errors import ModelLoadFailed
from functions.extract import engine
from functions.extract.gliner import GlinerConfig, GlinerEngine
from tests.functions.extract.conftest import extract

TEXT = "Apple Inc. announced that Tim Cook will visit Paris. " * 40


def changed(folder: Path, **entries: Any) -> None:
    """None takes an entry out."""
    path = folder / "gliner_config.json"
    config = json.loads(path.read_text()) | entries
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


@pytest.mark.parametrize(
    "entries",
    [
        {"class_token_index": -1, "vocab_size": -1},
        {"class_token_index": None, "vocab_size": None},
        {"class_token_index": 4711, "vocab_size": -1},
        {"max_width": None, "max_len": None},
        {"span_mode": "marker"},
        {"span_mode": None, "subtoken_pooling": None, "words_splitter_type": None, "labels_encoder": None},
    ],
    ids=str,
)
def test_what_is_left_out_is_what_the_package_takes(
    copied_model: Path, gliner: GlinerEngine, entries: dict[str, Any]
) -> None:
    changed(copied_model, **entries)
    loaded = engine.load(lambda _: None)
    expected, actual = extract(gliner, TEXT), extract(loaded, TEXT)
    assert (actual.windows, actual.entities) == (expected.windows, expected.entities)
    assert expected.windows > 1


@pytest.mark.parametrize(
    ("there", "index", "expected"),
    [
        ([], -1, [1, 2, 3]),
        (["[FLERT]", "<<ENT>>", "<<SEP>>", "more"], -1, [1, 2, 3]),
        (["<<ENT>>", "<<SEP>>"], -1, [None, 1, 2]),
        ([], 2, [None, None, None]),
    ],
    ids=["none", "all", "those of the prompt", "an index is set"],
)
def test_tokens_that_a_tokenizer_lacks_are_added_behind_its_own(
    tmp_path: Path, there: list[str], index: int, expected: list[int | None]
) -> None:
    (tmp_path / "gliner_config.json").write_text(json.dumps({"class_token_index": index}))
    tokenizer = Tokenizer(WordLevel({"word": 0}, "word"))
    tokenizer.add_tokens(there)
    GlinerConfig.read(tmp_path / "gliner_config.json").add_tokens(tokenizer)
    assert [tokenizer.token_to_id(token) for token in ("[FLERT]", "<<ENT>>", "<<SEP>>")] == expected


@pytest.mark.parametrize("mode", ["token_level", "token-level"])
def test_a_model_that_finds_tokens_and_no_spans_is_refused(copied_model: Path, mode: str) -> None:
    changed(copied_model, span_mode=mode)
    with pytest.raises(ModelLoadFailed, match=f"span_mode '{mode}' is not supported, only modes of spans"):
        engine.load(lambda _: None)


@pytest.mark.parametrize(
    "entries",
    [{"max_width": 9}, {"class_token_index": -1, "ent_token": "<<SEP>>", "sep_token": "<<ENT>>"}],
    ids=["width", "token"],
)
def test_a_graph_that_is_made_for_other_entries_is_refused(copied_model: Path, entries: dict[str, Any]) -> None:
    changed(copied_model, **entries)
    with pytest.raises(ModelLoadFailed, match=r"model\.onnx does not answer: "):
        engine.load(lambda _: None)
