"""The rebuilt graph: found by structure, equal to the export, kept beside it, and never used unproved."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from common.settings import ROOT
from functions.extract import engine
from functions.extract.feeds import Text, feeds
from functions.extract.graph import prepare
from functions.extract.graph.convert import NotEqual, convert
from functions.extract.graph.prepare import Prepared, prepared
from functions.extract.graph.walk import NotRecognised
from functions.extract.graph.write.deberta import buckets
from tests.conftest import MINIATURE, SettingsEnv
from tests.functions.extract.conftest import extract
from tests.functions.extract.renaming import rename_everything

MODEL = MINIATURE / "model.onnx"
SHAPES = sorted((Path(__file__).resolve().parents[2] / "data" / "gliner_shapes").glob("*.onnx"))
SMALL, BERT = (next(path for path in SHAPES if path.stem == name) for name in ("more-layers", "bert-sdpa"))
CLASS_TOKEN, MAX_WIDTH = 58, 5


def logits(path: Path, inputs: dict[str, Any]) -> Any:
    return onnxruntime.InferenceSession(str(path)).run(["logits"], inputs)[0]


def assert_equal(left: Path, right: Path, inputs: dict[str, Any]) -> None:
    """The same logits for every span that ends within its text."""
    ours, theirs = logits(left, inputs), logits(right, inputs)
    within = inputs["span_mask"].reshape(theirs.shape[:3])
    np.testing.assert_allclose(ours[within], theirs[within], rtol=1e-4, atol=1e-4)


def texts(*lengths: int, labels: int = 2, max_width: int = MAX_WIDTH) -> dict[str, Any]:
    random = np.random.default_rng(sum(lengths))
    made = []
    for length in lengths:
        ids = [1, *[CLASS_TOKEN, 5] * labels, 59, *random.integers(4, 58, length).tolist(), 2]
        made.append(Text(ids, [0] * (2 + 2 * labels) + list(range(1, length + 1)) + [0], length))
    return feeds(made, max_width, 0)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Callable[[onnx.GraphProto], None]], Path]:
    """The small model after a change of its graph."""

    def change(mutate: Callable[[onnx.GraphProto], None]) -> Path:
        model = onnx.load(str(SMALL))
        mutate(model.graph)
        onnx.save(model, str(tmp_path / "changed.onnx"))
        return tmp_path / "changed.onnx"

    return change


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_exports_of_other_sizes_are_rebuilt(path: Path, tmp_path: Path) -> None:
    convert(path, tmp_path / "out.onnx", "fp32")
    operators = [node.op_type for node in onnx.load(str(tmp_path / "out.onnx"), load_external_data=False).graph.node]
    assert "Einsum" not in operators
    assert len(operators) < len(onnx.load(str(path)).graph.node) / 3


def test_weights_are_found_by_structure_and_not_by_name(
    changed: Callable[[Callable[[onnx.GraphProto], None]], Path], tmp_path: Path
) -> None:
    convert(changed(rename_everything), tmp_path / "out.onnx", "fp32")
    assert_equal(tmp_path / "out.onnx", SMALL, texts(30))


@pytest.mark.parametrize("lengths", [(1,), (3, 1, 40), (200,), (300, 20)])
@pytest.mark.parametrize("labels", [1, 7])
def test_logits_are_those_of_the_export(lengths: tuple[int, ...], labels: int, tmp_path: Path) -> None:
    convert(SMALL, tmp_path / "out.onnx", "fp32")
    assert_equal(tmp_path / "out.onnx", SMALL, texts(*lengths, labels=labels))


@pytest.mark.parametrize("lengths", [(1,), (3, 1, 40), (57,), (57, 20)])
def test_so_are_those_of_an_encoder_with_absolute_positions(lengths: tuple[int, ...], tmp_path: Path) -> None:
    """Of which there are 64: with its labels a text of 57 words fills them."""
    convert(BERT, tmp_path / "out.onnx", "fp32")
    assert_equal(tmp_path / "out.onnx", BERT, texts(*lengths))


def test_distances_beyond_every_bucket_are_those_of_the_export(tmp_path: Path) -> None:
    convert(SMALL, tmp_path / "out.onnx", "fp32")
    assert_equal(tmp_path / "out.onnx", SMALL, texts(900))


def test_buckets_are_exact_nearby_symmetric_and_never_fall() -> None:
    distances = np.arange(-600, 601)
    found = buckets(distances, 256, 512)
    near = np.abs(distances) <= 128
    assert (found[near] == distances[near]).all()
    assert (found == -found[::-1]).all()
    assert (np.diff(found) >= 0).all()
    assert found[distances == 511] == 255


def remove_scores(graph: onnx.GraphProto) -> None:
    """As an export of a token-level model might be: no product of spans and labels."""
    node = next(node for node in graph.node if node.op_type == "Einsum")
    node.op_type = "Add"
    del node.attribute[:]


def replace_softmax(graph: onnx.GraphProto) -> None:
    next(node for node in graph.node if node.op_type == "Softmax").op_type = "LogSoftmax"


def replace_gelu(graph: onnx.GraphProto) -> None:
    next(node for node in graph.node if node.op_type == "Erf").op_type = "Tanh"


def add_a_step(graph: onnx.GraphProto) -> None:
    """A change that the recognition does not see, since it looks past divisions."""
    node = next(node for node in graph.node if node.op_type == "Softmax")
    graph.initializer.append(numpy_helper.from_array(np.array([1.5], np.float32), "odd"))
    index = list(graph.node).index(node)
    graph.node.insert(index, helper.make_node("Div", [node.input[0], "odd"], ["colder"]))
    node.input[0] = "colder"


def mislead_about_labels(graph: onnx.GraphProto) -> None:
    """A comparison with another token, which changes no number, stands before the one that marks the labels."""
    numbers = {"other": np.array(7), "zero": np.array(0, np.float32), "one": np.array(1, np.float32)}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in numbers.items())
    softmax = next(node for node in graph.node if node.op_type == "Softmax")
    steps = [
        helper.make_node("Equal", ["input_ids", "other"], ["is_other"]),
        helper.make_node("Cast", ["is_other"], ["as_number"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["as_number"], ["any"], keepdims=0),
        helper.make_node("Mul", ["any", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "one"], ["ones"]),
    ]
    for index, step in enumerate(steps):
        graph.node.insert(index, step)
    graph.node.insert(list(graph.node).index(softmax), helper.make_node("Mul", [softmax.input[0], "ones"], ["same"]))
    softmax.input[0] = "same"


@pytest.mark.parametrize("mutate", [remove_scores, replace_softmax, replace_gelu])
def test_a_graph_of_another_kind_is_not_recognised(
    changed: Callable[[Callable[[onnx.GraphProto], None]], Path], mutate: Any, tmp_path: Path
) -> None:
    with pytest.raises(NotRecognised):
        convert(changed(mutate), tmp_path / "out.onnx", "fp32")
    assert not list(tmp_path.glob("out*"))


def pass_negative_numbers(graph: onnx.GraphProto) -> None:
    """The recognition looks past a ReLU, and past what stands in its place."""
    node = next(node for node in graph.node if node.op_type == "Relu")
    node.op_type = "Identity"


def test_a_token_that_marks_no_label_does_not_mislead(
    changed: Callable[[Callable[[onnx.GraphProto], None]], Path], tmp_path: Path
) -> None:
    convert(changed(mislead_about_labels), tmp_path / "out.onnx", "fp32")
    assert_equal(tmp_path / "out.onnx", SMALL, texts(30))


@pytest.mark.parametrize("mutate", [add_a_step, pass_negative_numbers])
def test_a_graph_that_computes_something_else_is_not_used(
    changed: Callable[[Callable[[onnx.GraphProto], None]], Path], mutate: Any, tmp_path: Path
) -> None:
    with pytest.raises(NotEqual):
        convert(changed(mutate), tmp_path / "out.onnx", "fp32")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(("name", "max_width"), [("more-layers", 5), ("bert-eager", 4)])
def test_less_precise_forms_are_smaller_and_near(name: str, max_width: int, tmp_path: Path) -> None:
    source = next(path for path in SHAPES if path.stem == name)
    inputs = texts(50, max_width=max_width)
    within = inputs["span_mask"].reshape(1, 50, max_width)
    exact = logits(source, inputs)[within]
    sizes, errors = [], []
    for precision in ("fp32", "fp32-half-embeddings", "int8"):
        path = tmp_path / f"{precision}.onnx"
        convert(MODEL, path, precision)
        sizes.append(Path(f"{path}.weights").stat().st_size)
        convert(source, path, precision)
        errors.append(np.abs(logits(path, inputs)[within] - exact).mean() / exact.std())
    assert sizes[0] > sizes[1] > sizes[2] * 2
    assert errors[0] < errors[1] < 0.01 < errors[2] < 0.5


def test_what_was_made_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(shutil.copy(SMALL, tmp_path / "model.onnx"))
    made = prepared(source, "fp32", tmp_path / "cache", make=True)
    assert made.state == "rebuilt"
    assert made.path.is_relative_to(tmp_path / "prepared")

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(subprocess, "run", fail)
    assert prepared(source, "fp32", tmp_path / "cache", make=True) == made
    # Another content under the same name is another model.
    source.write_bytes(SHAPES[1].read_bytes())
    with pytest.raises(AssertionError, match="made again"):
        prepared(source, "fp32", tmp_path / "cache", make=True)
    left = prepared(source, "fp32", tmp_path / "cache", make=False)
    assert left == Prepared(source, "as exported: it has not been rebuilt, and is not to be here")


def test_services_that_start_together_make_it_once(tmp_path: Path) -> None:
    source = Path(shutil.copy(SMALL, tmp_path / "model.onnx"))
    program = """
import sys
from pathlib import Path
from functions.extract.graph import prepare
run, source = prepare._run, Path(sys.argv[1])
prepare._run = lambda *arguments: print("made") or run(*arguments)
print(prepare.prepared(source, "fp32", source.parent, make=True).path)
"""
    command = [sys.executable, "-c", program, str(source)]
    together = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=60)[0].splitlines() for process in together]
    assert sum(lines.count("made") for lines in said) == 1
    assert {lines[-1] for lines in said} == {str(prepared(source, "fp32", tmp_path, make=False).path)}
    assert Path(said[0][-1]).parent.parent == tmp_path / "prepared"


def test_what_a_killed_service_left_behind_is_removed(tmp_path: Path) -> None:
    source = Path(shutil.copy(SMALL, tmp_path / "model.onnx"))
    left_behind = tmp_path / "prepared" / ".making-0815" / "made" / "model.onnx.weights"
    left_behind.parent.mkdir(parents=True)
    left_behind.write_bytes(b"half")
    prepared(source, "fp32", tmp_path, make=True)
    assert not list((tmp_path / "prepared").glob(".making-*"))


def test_a_folder_that_cannot_be_written_is_no_hindrance(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    source = Path(shutil.copy(SMALL, folder / "model.onnx"))
    # Root may write anywhere, so a file stands in the folder's place.
    (folder / "prepared").write_text("in the way")
    made = prepared(source, "fp32", tmp_path / "cache", make=True)
    assert made.state == "rebuilt"
    assert made.path.is_relative_to(tmp_path / "cache")
    (tmp_path / "nothing").write_text("in the way")
    left = prepared(source, "int8", tmp_path / "nothing", make=True)
    assert left == Prepared(source, "as exported: no folder for the rebuilt graph can be written")


def test_an_export_that_is_left_alone_is_asked_once_and_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings_env: SettingsEnv, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MINIATURE, folder, ignore=shutil.ignore_patterns("prepared"))
    model = onnx.load(str(MODEL))
    add_a_step(model.graph)
    onnx.save(model, str(folder / "model.onnx"))
    settings_env(EXTRACT__MODEL=folder)
    first = engine.load(lambda _: None)
    assert "used as it is: not equal after rebuilding: logits that differ by" in caplog.text
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("asked again"))
    engine.load(lambda _: None)
    assert extract(first, "Tim Cook of Apple", threshold=0.01).words == 4


def test_a_failing_converter_leaves_the_export_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = Path(shutil.copy(SMALL, tmp_path / "model.onnx"))
    monkeypatch.setattr(prepare, "TIME_LIMIT_SECONDS", 0.01)
    left = prepared(source, "fp32", tmp_path / "cache", make=True)
    assert left.path == source
    assert "timed out" in left.state
    assert "is used as it is: rebuilding failed: Command" in caplog.text
    assert not [path for path in (tmp_path / "prepared").iterdir() if path.is_dir()]


def test_by_hand(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "functions.extract.graph"]
    for source, code, says in [(SMALL, 0, "gives the same logits"), (MINIATURE / "tokenizer.json", 1, "")]:
        done = subprocess.run(
            [*command, str(source), str(tmp_path / "out.onnx")], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == code
        assert says in done.stdout
