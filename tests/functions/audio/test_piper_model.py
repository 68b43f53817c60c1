"""A Piper voice cut in two: pieces together are the whole, and a file that is no such voice is told with a reason."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from common.errors import ModelLoadFailed
from functions.audio import piper_model
from functions.audio.piper_loading import PACKAGE, PACKAGED
from functions.audio.piper_model import LEVEL, MOST_GAIN, PIECE_FRAMES, PiperModel
from tests.doubles import tiny_voice

IDS = [1, *(3 + 7 * at % 50 for at in range(120)), 2]
STRIDES = {"hop 256": (16, 16), "hop 120": (8, 5, 3), "hop 2": (2,)}
# What one voice and another have between its pieces at most; sound is from -1 to 1.
EXACT = 1e-5


@pytest.fixture(scope="session")
def packaged() -> PiperModel:
    """The real voice, from its package."""
    found = importlib.util.find_spec(PACKAGE)
    assert found is not None
    assert found.origin is not None
    model = Path(found.origin).parent / "data" / f"{PACKAGED}.onnx"
    return PiperModel(model, model.with_name(f"{model.name}.json"), threads=2)


def tiny(
    folder: Path, speakers: int = 1, speaker: int | None = None, strides: Sequence[int] = (16, 16), **changed: object
) -> PiperModel:
    return load(
        folder,
        tiny_voice.voice(speakers, strides),
        tiny_voice.config(speakers, **changed),
        speaker,
    )


def load(folder: Path, model: bytes, config: bytes, speaker: int | None = None) -> PiperModel:
    (folder / "tiny.onnx").write_bytes(model)
    (folder / "tiny.onnx.json").write_bytes(config)
    return PiperModel(folder / "tiny.onnx", folder / "tiny.onnx.json", 1, speaker)


def sound(model: PiperModel, ids: Sequence[int] = IDS, speed: float = 1.0) -> NDArray[np.float32]:
    return np.concatenate(list(model.decode(model.encode(ids, speed))))


@pytest.mark.parametrize("strides", STRIDES.values(), ids=STRIDES)
@pytest.mark.parametrize("speaker", [None, 0, 2])
def test_the_pieces_are_what_the_uncut_model_says(
    tmp_path: Path, speaker: int | None, strides: tuple[int, ...]
) -> None:
    speakers = 1 if speaker is None else 3
    model = tiny(tmp_path, speakers, speaker, strides)
    uncut = onnxruntime.InferenceSession(str(tmp_path / "tiny.onnx"), providers=["CPUExecutionProvider"])
    feeds = {
        "input": np.array([IDS], np.int64),
        "input_lengths": np.array([len(IDS)], np.int64),
        "scales": np.array([0.667, 1.0, 0.8], np.float32),
        **({} if speaker is None else {"sid": np.array([speaker], np.int64)}),
    }
    whole = uncut.run(None, feeds)[0].reshape(-1)
    assert len(whole) > 2 * sum(PIECE_FRAMES)
    assert np.abs(whole).max() > 0.05
    np.testing.assert_allclose(sound(model), whole, atol=EXACT)


def test_speakers_differ(tmp_path: Path) -> None:
    first, second = (sound(tiny(tmp_path, 3, speaker)) for speaker in (0, 1))
    assert np.abs(first - second).max() > 0.01


def test_the_pieces_of_a_real_voice_are_its_whole_decoders(
    packaged: PiperModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    latent = packaged.encode(IDS)
    assert latent.length > sum(PIECE_FRAMES)
    pieces = list(packaged.decode(latent))
    monkeypatch.setattr(piper_model, "PIECE_FRAMES", (latent.length,))
    (whole,) = packaged.decode(latent)
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=EXACT)


def test_the_first_piece_is_short_and_all_have_a_bounded_length(tmp_path: Path) -> None:
    model = tiny(tmp_path)
    lengths = [len(piece) // 256 for piece in model.decode(model.encode(IDS * 3))]
    assert tuple(lengths[:3]) == PIECE_FRAMES
    assert set(lengths[3:-1]) == {PIECE_FRAMES[-1]}
    assert 0 < lengths[-1] <= PIECE_FRAMES[-1]


@pytest.mark.parametrize("ids", [[1], [1, 2], IDS[:9], IDS])
def test_the_time_of_the_ids_is_that_of_the_sound(tmp_path: Path, ids: list[int]) -> None:
    model = tiny(tmp_path, strides=(8, 5, 3))
    latent = model.encode(ids)
    assert len(latent.id_seconds) == len(ids)
    assert sum(latent.id_seconds) == pytest.approx(len(sound(model, ids)) / tiny_voice.SAMPLE_RATE)


@pytest.mark.parametrize("speed", [0.4, 0.8, 1.25, 2.0])
def test_speed_divides_the_length_though_each_id_is_rounded_up(tmp_path: Path, speed: float) -> None:
    model = tiny(tmp_path)
    model.try_out([IDS])
    assert len(sound(model, speed=speed)) == pytest.approx(len(sound(model)) / speed, rel=0.1)


def test_it_is_as_fast_as_a_frame_an_id_at_most(tmp_path: Path) -> None:
    model = tiny(tmp_path)
    model.try_out([IDS])
    assert model.encode(IDS, speed=100.0).length == len(IDS)


def test_the_length_scale_of_the_voice_counts(tmp_path: Path) -> None:
    inference = {"noise_scale": 0.667, "noise_w": 0.8}
    normal, slow = (tiny(tmp_path, inference=inference | {"length_scale": scale}) for scale in (1, 2))
    assert slow.encode(IDS).length == pytest.approx(2 * normal.encode(IDS).length, rel=0.2)


def test_voices_are_made_equally_loud(tmp_path: Path) -> None:
    levels = []
    for loudness in (0.05, 0.5):
        model = load(tmp_path, tiny_voice.voice(loudness=loudness), tiny_voice.config())
        model.try_out([IDS])
        levels.append(float(np.sqrt(np.mean((sound(model) * model.gain) ** 2))))
    assert levels == pytest.approx([LEVEL, LEVEL], rel=0.1)


def test_a_quiet_voice_is_not_made_louder_than_so_much(tmp_path: Path) -> None:
    model = load(tmp_path, tiny_voice.voice(loudness=0.003), tiny_voice.config())
    model.try_out([IDS])
    assert model.gain == MOST_GAIN


@pytest.mark.parametrize("loudness", [0.0, 1e-6, float("nan"), float("inf")])
def test_a_voice_that_makes_no_sound_is_none(tmp_path: Path, loudness: float) -> None:
    model = load(tmp_path, tiny_voice.voice(loudness=loudness), tiny_voice.config())
    with pytest.raises(ModelLoadFailed, match="makes no sound"):
        model.try_out([IDS])


def foreign(*operators: str, kernel: Sequence[int] = (3,)) -> bytes:
    """A model of these operators, one behind the other, which is no voice."""
    shape = [1, 4, *(8 for _ in kernel)]
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [4, 4, *kernel], [0.1] * (16 * int(np.prod(kernel))))
    nodes = [
        helper.make_node(
            operator, [f"t{at}", *(["weights"] if "Conv" in operator else [])], [f"t{at + 1}"], f"node {at}"
        )
        for at, operator in enumerate(operators)
    ]
    ends = [helper.make_tensor_value_info(f"t{at}", TensorProto.FLOAT, shape) for at in (0, len(nodes))]
    graph = helper.make_graph(nodes, "foreign", ends[:1], ends[1:], [weights])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    return bytes(made.SerializeToString())


@pytest.mark.parametrize(
    "model",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1",
        tiny_voice.voice()[:-1000],
        b"\0" * 1000,
        foreign("Relu"),
        foreign("ConvTranspose"),
        foreign("Conv", "ConvTranspose"),
        foreign("Ceil", "Conv", "Relu", "ConvTranspose", kernel=(3, 3)),
        foreign("Ceil", "Tanh", "ConvTranspose"),
    ],
    ids=["empty", "a pointer", "cut", "zeros", "no sound", "no encoder", "no durations", "images", "no convolution"],
)
def test_a_damaged_or_foreign_model_is_none(tmp_path: Path, model: bytes) -> None:
    with pytest.raises(ModelLoadFailed, match=r"tiny\.onnx"):
        load(tmp_path, model, tiny_voice.config())


def test_a_model_of_other_weights_at_the_same_places_is_none(tmp_path: Path) -> None:
    damaged = onnx.load_from_string(tiny_voice.voice())
    weights = next(value for value in damaged.graph.initializer if list(value.dims) == [8, 8, 7])
    weights.dims[:] = [7, 8, 8]
    with pytest.raises(ModelLoadFailed):
        load(tmp_path, damaged.SerializeToString(), tiny_voice.config()).try_out([IDS])


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"\xff\xfe{}",
        b"[]",
        b"{}",
        b"7",
        tiny_voice.config()[:-40],
        tiny_voice.config(audio={}),
        tiny_voice.config(audio={"sample_rate": "many"}),
        tiny_voice.config(num_speakers=None),
        tiny_voice.config(inference=[0.667, 1, 0.8]),
    ],
    ids=["empty", "not UTF-8", "a list", "nothing", "a number", "cut", "no rate", "a word", "no speakers", "no names"],
)
def test_a_damaged_configuration_is_none(tmp_path: Path, config: bytes) -> None:
    with pytest.raises(ModelLoadFailed, match=r"tiny\.onnx"):
        load(tmp_path, tiny_voice.voice(), config)


@pytest.mark.parametrize(
    ("speakers", "said", "speaker", "ids"),
    [(1, 1, None, [1, tiny_voice.SYMBOLS]), (3, 1, None, IDS), (3, 3, None, IDS), (3, 3, 3, IDS), (1, 1, None, [])],
    ids=["an id it has not", "it has speakers", "none is named", "one too many", "no ids"],
)
def test_a_configuration_of_another_voice_is_known_by_trying(
    tmp_path: Path, speakers: int, said: int, speaker: int | None, ids: list[int]
) -> None:
    model = load(tmp_path, tiny_voice.voice(speakers), tiny_voice.config(said), speaker)
    with pytest.raises(ModelLoadFailed):
        model.try_out([ids])


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match="No such file"):
        PiperModel(tmp_path / "a.onnx", tmp_path / "a.onnx.json", 1)
