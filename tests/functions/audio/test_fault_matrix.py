"""Whatever the speech cloud does: a whole recording, an honest error, or a connection that is seen to break."""

from collections.abc import Iterator

import httpx
import pytest

from functions.audio.confined_process import CannotSpeak
from functions.audio.piper_loading import voices
from functions.audio.piper_model import Latent, PiperModel
from functions.audio.piper_phonemes import phonemizer
from tests.conftest import wait_until
from tests.doubles.edge_server import STRIKES, Fault, SpeechCloud
from tests.functions.audio.conftest import SetAudio
from tests.functions.audio.fault_matrix import AFTER, BOUND_SECONDS, Row, listen, prepare, rows, whole_bytes

FRAMES_BYTES = 720


def test_no_fault_is_forgotten_here() -> None:
    assert {row.fault for row in rows()} == set(Fault)
    assert {row.fault for row in rows() if row.when == AFTER} == STRIKES


@pytest.mark.usefixtures("human")
@pytest.mark.parametrize("row", list(rows()), ids=lambda row: row.name)
def test_a_fault(client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio, row: Row) -> None:
    set_audio(**prepare(cloud, row))
    outcome = listen(client, row.voice)
    assert outcome.kind == row.expected
    assert outcome.seconds < BOUND_SECONDS
    if outcome.kind == "200 edge-tts":
        assert outcome.sound_bytes == pytest.approx(whole_bytes(), abs=2 * FRAMES_BYTES)
    if outcome.kind == "cut":
        assert 0 < outcome.sound_bytes < whole_bytes() - FRAMES_BYTES
    wait_until(lambda: all(turn.closed.is_set() for turn in cloud.turns), "no connection is left open")


# What goes wrong with Piper while the cloud is away, and what a listener gets.
FAULTS_OF_PIPER = [
    ("encode", 0, "200 espeak-ng"),
    ("decode", 0, "200 espeak-ng"),
    ("decode", 1, "cut"),
    ("phonemes", 0, "200 espeak-ng"),
]


@pytest.mark.parametrize(("what", "after", "expected"), FAULTS_OF_PIPER)
def test_a_fault_of_piper(
    client: httpx.Client,
    cloud: SpeechCloud,
    human: PiperModel,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    after: int,
    expected: str,
) -> None:
    cloud.fault = Fault.FORBIDDEN
    real = human.decode

    def fails(*_: object) -> Iterator[object]:
        raise RuntimeError("onnxruntime says no")

    def fails_later(latent: Latent) -> Iterator[object]:
        for number, samples in enumerate(real(latent)):
            if number == after:
                raise RuntimeError("onnxruntime says no")
            yield samples

    def cannot(*_: object) -> None:
        raise CannotSpeak("the phonemizer says no")

    if what == "encode":
        monkeypatch.setattr(human, "encode", fails)
    elif what == "decode":
        monkeypatch.setattr(human, "decode", fails_later)
    else:
        monkeypatch.setattr(phonemizer, "ask", cannot)
    outcome = listen(client)
    assert outcome.kind == expected
    assert outcome.seconds < BOUND_SECONDS


def test_a_voice_that_is_not_there_yet_is_waited_for_by_nobody(
    client: httpx.Client, cloud: SpeechCloud, human: PiperModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.fault = Fault.FORBIDDEN
    assert human.sample_rate
    model = next(iter(voices._models.values()))
    monkeypatch.setattr(type(model), "loaded", property(lambda _: None))
    assert listen(client).kind == "200 espeak-ng"
