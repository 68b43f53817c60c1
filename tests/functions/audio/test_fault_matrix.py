"""Whatever the speech cloud does: a whole recording, an honest error, or a connection that is seen to break."""

import httpx
import pytest

from tests.conftest import wait_until
from tests.doubles.edge_server import STRIKES, Fault, SpeechCloud
from tests.functions.audio.conftest import SetAudio
from tests.functions.audio.fault_matrix import AFTER, BOUND_SECONDS, Row, listen, prepare, rows, whole_bytes

FRAMES_BYTES = 720


def test_no_fault_is_forgotten_here() -> None:
    assert {row.fault for row in rows()} == set(Fault)
    assert {row.fault for row in rows() if row.when == AFTER} == STRIKES


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: row.name)
def test_a_fault(client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio, row: Row) -> None:
    set_audio(**prepare(cloud, row))
    outcome = listen(client)
    assert outcome.kind == row.expected
    assert outcome.seconds < BOUND_SECONDS
    if outcome.kind == "200 edge-tts":
        assert outcome.sound_bytes == pytest.approx(whole_bytes(), abs=2 * FRAMES_BYTES)
    if outcome.kind == "cut":
        assert 0 < outcome.sound_bytes < whole_bytes() - FRAMES_BYTES
    wait_until(lambda: all(turn.closed.is_set() for turn in cloud.turns), "no connection is left open")
