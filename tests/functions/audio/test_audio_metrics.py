"""What is counted of recordings, whoever makes them."""

import httpx
import pytest

from common.metrics import registry
from functions.audio import service
from functions.audio.pieces import BYTES_PER_SECOND
from tests.conftest import wait_until
from tests.doubles.edge_server import Fault, SpeechCloud
from tests.functions.audio.conftest import SetAudio

TEXT = "The committee met on Tuesday to talk about the new bridge over the river."


def value(name: str, **labels: str) -> float:
    return registry.get_sample_value(f"factory_audio_{name}_total", labels) or 0.0


def recordings(engine: str) -> dict[str, float]:
    return {outcome: value("recordings", engine=engine, outcome=outcome) for outcome in ("whole", "failed", "left")}


def test_a_recording_of_the_cloud_is_counted_with_its_sound(client: httpx.Client, cloud: SpeechCloud) -> None:
    before, turns = recordings("edge-tts"), value("cloud_turns", outcome="whole")
    sound, seconds = value("sound_bytes", engine="edge-tts"), value("sound_seconds", engine="edge-tts")
    made = client.post("/audio", json={"text": TEXT}).content
    assert recordings("edge-tts") == before | {"whole": before["whole"] + 1}
    assert value("cloud_turns", outcome="whole") == turns + len(cloud.turns)
    assert value("sound_bytes", engine="edge-tts") == sound + len(made)
    assert value("sound_seconds", engine="edge-tts") == pytest.approx(seconds + len(made) / BYTES_PER_SECOND)


def test_a_kept_recording_is_given_again_and_not_counted_as_made(client: httpx.Client, cloud: SpeechCloud) -> None:
    first = client.post("/audio", json={"text": TEXT})
    before, kept = recordings("edge-tts"), service.studio.cache_status
    assert (kept.hits, kept.misses, kept.answers) == (0, 1, 1)
    assert kept.bytes >= len(first.content)
    assert client.post("/audio", json={"text": TEXT}).content == first.content
    assert client.get(first.headers["content-location"]).content == first.content
    assert service.studio.cache_status.hits == 2
    assert recordings("edge-tts") == before
    assert len(cloud.turns) == 1


@pytest.mark.parametrize(
    ("fault", "outcome", "tries"),
    [
        (Fault.RESET, "failed", 2),
        (Fault.FORBIDDEN, "refused", 1),
        (Fault.NO_AUDIO, "silent", 2),
        (Fault.MUTE, "timeout", 2),
    ],
)
def test_a_failure_of_the_cloud_is_counted_with_each_try_and_who_spoke_instead(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio, fault: Fault, outcome: str, tries: int
) -> None:
    set_audio(connect_seconds=0.2, first_audio_seconds=0.2)
    cloud.fault = fault
    turns, again, spoken = value("cloud_turns", outcome=outcome), value("cloud_retries"), recordings("espeak-ng")
    client.post("/audio", json={"text": TEXT})
    assert value("cloud_turns", outcome=outcome) == turns + tries
    assert value("cloud_retries") == again + tries - 1
    assert recordings("espeak-ng") == spoken | {"whole": spoken["whole"] + 1}


def test_a_cloud_that_is_left_alone_is_counted_as_that(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(breaker_failures=1)
    cloud.fault = Fault.FORBIDDEN
    client.post("/audio", json={"text": TEXT})
    before = value("cloud_turns", outcome="unavailable")
    client.post("/audio", json={"text": f"Again. {TEXT}"})
    assert value("cloud_turns", outcome="unavailable") == before + 1


def test_a_recording_that_breaks_is_counted_as_failed_and_the_request_with_its_problem(
    client: httpx.Client, cloud: SpeechCloud
) -> None:
    cloud.fault = Fault.CLOSE_AFTER_AUDIO
    before = recordings("edge-tts")
    name, labels = "factory_problems_total", {"route": "/audio", "problem": "upstream-failed"}
    problems = registry.get_sample_value(name, labels) or 0.0
    with pytest.raises(httpx.RemoteProtocolError):
        client.post("/audio", json={"text": TEXT})
    wait_until(lambda: registry.get_sample_value(name, labels) == problems + 1, "the request has ended")
    assert recordings("edge-tts") == before | {"failed": before["failed"] + 1}


def test_a_recording_that_its_listener_leaves_is_counted_as_left(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.fault = Fault.DRIP
    before = recordings("edge-tts")
    with client.stream("POST", "/audio", json={"text": TEXT * 20}) as response:
        next(response.iter_raw())
    wait_until(lambda: recordings("edge-tts")["left"] == before["left"] + 1, "it is known that nobody listens")
    assert recordings("edge-tts") == before | {"left": before["left"] + 1}


def test_what_stood_in_before_and_is_kept_is_given_again(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.fault = Fault.FORBIDDEN
    client.post("/audio", json={"text": TEXT})
    before = recordings("espeak-ng")
    client.post("/audio", json={"text": TEXT})
    assert recordings("espeak-ng") == before
    assert service.studio.cache_status.hits == 1
