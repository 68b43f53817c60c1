"""POST /extract through HTTP."""

import json
from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest

from common.errors import InvalidInput, ModelLoadFailed
from functions.extract import engine
from functions.extract.gliner import GlinerEngine
from tests.conftest import Runner, SettingsEnv, problem
from tests.functions.extract.conftest import extract, windows

APPLE = "Apple Inc. announced that Tim Cook will visit Paris."


def post(runner: Runner, **body: object) -> httpx.Response:
    return httpx.post(f"{runner.url}/extract", json=body, timeout=60)


def test_the_example_of_the_contract_gives_its_entities_with_offsets(runner: Runner) -> None:
    response = post(runner, text=APPLE, labels=["Person", "Organization", "Location"], threshold=0.5)
    assert response.status_code == 200
    body = response.json()
    found = [(entity["text"], entity["label"], entity["start"], entity["end"]) for entity in body["entities"]]
    assert found == [
        ("Apple Inc.", "Organization", 0, 10),
        ("Tim Cook", "Person", 26, 34),
        ("Paris", "Location", 46, 51),
    ]
    assert all(0.5 < entity["score"] <= 1 for entity in body["entities"])
    assert body["model"] == "embedded-gliner"
    assert isinstance(body["inference_time_ms"], int)
    assert (body["words"], body["windows"]) == (11, 1)


def test_labels_and_threshold_have_the_defaults_of_the_contract(runner: Runner) -> None:
    full = post(runner, text=APPLE, labels=["Person", "Organization", "Location"], threshold=0.5).json()
    assert post(runner, text=APPLE).json()["entities"] == full["entities"]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"labels": []}, "labels"),
        ({"labels": ["Person", " "]}, "labels[1]"),
        ({"labels": [f"label {number}" for number in range(200)]}, "labels"),
        ({"labels": ["x" * 1000]}, "labels[0]"),
        ({"labels": ["Person", "Person"]}, "labels"),
        ({"labels": ["Person", 7]}, "labels[1]"),
        ({"labels": "Person"}, "labels"),
        ({"labels": ["a\0b"]}, "labels[0]"),
        ({"labels": ["Person", "<<ENT>> Paris"]}, "labels[1]"),
        ({"labels": ["Person <<SEP>>"]}, "labels[0]"),
        ({"threshold": 2}, "threshold"),
        ({"threshold": 0}, "threshold"),
        ({"threshold": -0.5}, "threshold"),
        ({"threshold": "high"}, "threshold"),
        ({"flat_ner": "maybe"}, "flat_ner"),
        ({"multi_label": 2}, "multi_label"),
    ],
    ids=str,
)
def test_bad_field_is_named(runner: Runner, fields: dict[str, Any], names: str) -> None:
    response = post(runner, text=APPLE, **fields)
    assert response.status_code == 422, response.text
    assert names in [error["field"] for error in problem(response)["errors"]]


def test_not_a_number_is_refused_as_a_threshold(runner: Runner) -> None:
    body = '{"text": "hello", "threshold": NaN}'
    response = httpx.post(f"{runner.url}/extract", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "threshold"


def test_long_text_is_looked_at_whole_and_offsets_are_those_of_the_text(runner: Runner) -> None:
    filler = "It was a quiet day 🙂 and the shops were open as usual. "
    text = filler * 90 + APPLE + " " + filler * 90 + APPLE + " " + filler * 90 + APPLE
    body = post(runner, text=text, threshold=0.4).json()
    assert body["windows"] > 5
    assert all(text[entity["start"] : entity["end"]] == entity["text"] for entity in body["entities"])
    cooks = [entity["start"] for entity in body["entities"] if entity["text"] == "Tim Cook"]
    assert cooks == [text.index("Tim Cook"), text.index("Tim Cook", cooks[0] + 1), text.rindex("Tim Cook")]


def test_an_entity_on_the_seam_of_two_windows_is_found_once(gliner: GlinerEngine) -> None:
    filler = "it was a quiet day and the shops were open as usual and "
    for words_before in range(330, 400, 7):
        before = " ".join((filler * 40).split()[:words_before])
        text = f"{before} . {APPLE} {filler * 20}"
        found = [entity.text for entity in extract(gliner, text).entities]
        assert found.count("Tim Cook") == 1, words_before


def test_writing_without_spaces_is_no_way_to_exhaust_the_memory(runner: Runner) -> None:
    text = "今天天气很好" * 1_000
    body = post(runner, text=text).json()
    assert body["words"] == 63
    assert body["windows"] > 2


def test_a_span_may_carry_several_labels_only_when_that_is_asked_for(runner: Runner) -> None:
    fields = {"text": APPLE, "labels": ["Person", "person", "PERSON"], "threshold": 0.05}
    spans = [(entity["start"], entity["end"]) for entity in post(runner, **fields).json()["entities"]]
    assert len(set(spans)) == len(spans)
    several = [(e["start"], e["end"]) for e in post(runner, **fields, multi_label=True).json()["entities"]]
    assert len(set(several)) < len(several)


def test_special_tokens_in_a_text_are_only_text(gliner: GlinerEngine) -> None:
    text = f"<<ENT>> Location <<SEP>> [SEP] {APPLE}"
    assert "Tim Cook" in [entity.text for entity in extract(gliner, text).entities]


@pytest.mark.parametrize(
    "text",
    ["It was so. " * 60, "x" * 2000, "\ufdfa " * 40, f"{'Llanfairpwllgwyngyll ' * 9} \ufdfa"],
    ids=["sentences", "one word", "characters of many tokens", "words of many tokens"],
)
def test_windows_keep_within_few_positions(copied_model: Path, text: str) -> None:
    """Whatever a text and the longest labels are made of."""
    path = copied_model / "gliner_config.json"
    config = json.loads(path.read_text())
    config["encoder_config"] |= {"position_biased_input": True, "max_position_embeddings": 64}
    path.write_text(json.dumps(config))
    gliner = engine.load(lambda _: None)
    for labels in (["Person"], ["Person", "xq" * 17]):
        found = windows(gliner, text, labels, 0.5)
        assert max(len(window.row.tokens) for window in found) <= 64
        assert found[-1].window.stop == extract(gliner, text, labels=labels).words
    prompt = gliner.prompt(labels)
    assert 40 < prompt.tokens <= gliner.max_label_tokens == 48
    with pytest.raises(InvalidInput, match="may have 48"):
        extract(gliner, text, labels=["xq" * 24])


def test_a_missing_file_is_a_clear_reason(copied_model: Path) -> None:
    (copied_model / "tokenizer.json").unlink()
    with pytest.raises(ModelLoadFailed, match=r"there is no file .*tokenizer\.json"):
        engine.load(lambda _: None)


@pytest.mark.parametrize("file", ["model.onnx", "tokenizer.json", "gliner_config.json"])
@pytest.mark.parametrize("damage", ["empty", "cut", "garbage"])
def test_a_damaged_file_is_a_clear_reason(copied_model: Path, file: str, damage: str) -> None:
    whole = (copied_model / file).read_bytes()
    broken = {"empty": b"", "cut": whole[: len(whole) // 2], "garbage": b"\x00garbage" * 100}[damage]
    (copied_model / file).write_bytes(broken)
    with pytest.raises(ModelLoadFailed, match=file.replace(".", r"\.")):
        engine.load(lambda _: None)


def test_a_tokenizer_of_another_model_is_refused(copied_model: Path) -> None:
    path = copied_model / "tokenizer.json"
    path.write_text(path.read_text().replace("<<ENT>>", "<<CLASS>>"))
    with pytest.raises(ModelLoadFailed, match="has no ent_token '<<ENT>>': it is another model's"):
        engine.load(lambda _: None)


def test_a_label_token_of_another_number_is_refused(copied_model: Path) -> None:
    path = copied_model / "gliner_config.json"
    path.write_text(path.read_text().replace('"class_token_index": 4998', '"class_token_index": 4711'))
    with pytest.raises(ModelLoadFailed, match="'<<ENT>>' is token 4998, but 4711 for the model"):
        engine.load(lambda _: None)


@pytest.mark.parametrize("odd", ["span_idx", "labels_embeddings"])
def test_a_model_with_other_inputs_is_refused(copied_model: Path, odd: str) -> None:
    model = onnx.load(str(copied_model / "model.onnx"))
    if odd == "span_idx":
        # A token-level model has none.
        for node in model.graph.node:
            node.input[:] = ["words_mask" if name in ("span_idx", "span_mask") else name for name in node.input]
        del model.graph.input[4:]
    else:
        model.graph.input.append(onnx.helper.make_tensor_value_info(odd, onnx.TensorProto.FLOAT, [1]))
    onnx.save(model, str(copied_model / "model.onnx"))
    with pytest.raises(ModelLoadFailed, match=rf"model\.onnx is no span model of GLiNER: its inputs differ in .*{odd}"):
        engine.load(lambda _: None)


def test_the_reference_engine_says_what_it_needs(settings_env: SettingsEnv) -> None:
    settings_env(EXTRACT__ENGINE="gliner")
    with pytest.raises(ModelLoadFailed, match=r"pip install --require-hashes -r requirements/reference\.txt"):
        engine.load(lambda _: None)
