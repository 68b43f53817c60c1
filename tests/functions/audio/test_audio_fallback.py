"""When the speech cloud fails before its first sound: espeak-ng speaks, or the answer is an honest 502 or 504."""

import asyncio
import math

import httpx
import pytest

from functions.audio import service
from functions.audio.catalogue import catalogue
from functions.audio.espeak import EspeakSpeech, manner, speakers
from functions.audio.espeak_process import Manner
from functions.audio.schemas import AudioRequest
from functions.audio.service import Studio
from tests.conftest import problem
from tests.doubles.edge_server import Fault, SpeechCloud
from tests.functions.audio.conftest import SetAudio, mp3

NO_LIMIT = math.inf
TEXT = "The committee met on Tuesday to talk about the new bridge over the river."
FAILURES = [
    Fault.RESET,
    Fault.FORBIDDEN,
    Fault.SERVER_ERROR,
    Fault.NO_AUDIO,
    Fault.CLOSE_BEFORE_AUDIO,
]
STALLS = [Fault.MUTE, Fault.MUTE_HANDSHAKE]


@pytest.fixture
def impatient(set_audio: SetAudio) -> None:
    set_audio(connect_seconds=0.2, first_audio_seconds=0.2)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", FAILURES + STALLS)
def test_espeak_ng_speaks_when_the_cloud_cannot(client: httpx.Client, cloud: SpeechCloud, fault: Fault) -> None:
    cloud.fault = fault
    response = client.post("/audio", json={"text": TEXT})
    assert response.status_code == 200
    assert response.headers["content-type"] == "audio/mpeg"
    assert response.headers["x-audio-engine"] == "espeak-ng"
    assert response.headers["x-audio-voice"] == "espeak-ng:en-us"
    # About 175 words a minute.
    assert 2.5 < mp3(response.content).info.length < 7
    assert response.elapsed.total_seconds() < 5


def test_espeak_ng_speaks_when_nothing_listens(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.stop()
    response = client.post("/audio", json={"text": TEXT, "voice": "fr-FR-DeniseNeural"})
    assert response.headers["x-audio-engine"] == "espeak-ng"
    assert response.headers["x-audio-voice"] == "espeak-ng:fr+f2"


@pytest.mark.parametrize("fault", FAILURES)
def test_without_the_fallback_a_failure_is_a_502(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio, fault: Fault
) -> None:
    set_audio(engine="edge-tts")
    cloud.fault = fault
    response = client.post("/audio", json={"text": TEXT})
    assert response.status_code == 502
    assert problem(response)["type"] == "urn:problem-type:factory:upstream-failed"


def test_without_the_fallback_an_unreachable_cloud_is_a_502(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(engine="edge-tts")
    cloud.stop()
    assert problem(client.post("/audio", json={"text": TEXT}))["status"] == 502


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", STALLS)
def test_without_the_fallback_silence_is_a_504_in_time(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio, fault: Fault
) -> None:
    set_audio(engine="edge-tts")
    cloud.fault = fault
    response = client.post("/audio", json={"text": TEXT})
    assert problem(response)["status"] == 504
    assert response.elapsed.total_seconds() < 5


def test_a_passing_failure_is_tried_again_unnoticed(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.upcoming.append(Fault.CLOSE_BEFORE_AUDIO)
    response = client.post("/audio", json={"text": TEXT})
    assert response.headers["x-audio-engine"] == "edge-tts"
    assert cloud.handshakes == 2


def test_a_lasting_failure_is_tried_twice_only(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.fault = Fault.SERVER_ERROR
    client.post("/audio", json={"text": TEXT})
    assert cloud.handshakes == 2


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("patience", "tries"), [(0.6, 1), (3.0, 2)])
def test_silence_is_tried_again_only_within_the_patience(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio, patience: float, tries: int
) -> None:
    set_audio(patience_seconds=patience)
    cloud.fault = Fault.MUTE
    client.post("/audio", json={"text": TEXT})
    assert cloud.handshakes == tries


def test_the_etag_tells_the_engines_apart(
    client: httpx.Client, cloud: SpeechCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken = client.post("/audio", json={"text": TEXT})
    # Nothing of it is kept.
    monkeypatch.setattr(service, "studio", Studio())
    cloud.stop()
    stand_in = client.post("/audio", json={"text": TEXT})
    assert spoken.headers["etag"] != stand_in.headers["etag"]


def test_when_espeak_ng_is_absent_too_the_answer_is_a_502(
    client: httpx.Client, cloud: SpeechCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    import espeakng_loader

    monkeypatch.setattr(espeakng_loader, "get_library_path", lambda: "/nowhere/libespeak-ng.so")
    speakers.end()
    cloud.fault = Fault.SERVER_ERROR
    response = client.post("/audio", json={"text": TEXT})
    monkeypatch.undo()
    speakers.end()
    assert problem(response)["status"] == 502


async def _spoken(**wish: str) -> bytes:
    pieces = [
        piece async for piece in EspeakSpeech().stream(AudioRequest.model_validate({"text": TEXT, **wish}), NO_LIMIT)
    ]
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


def test_the_fallback_follows_the_rate() -> None:
    slow, normal, fast = (mp3(asyncio.run(_spoken(rate=rate))).info.length for rate in ("-40%", "+0%", "+100%"))
    assert slow > 1.3 * normal
    assert fast < 0.7 * normal


def test_the_fallback_follows_the_length_of_the_text() -> None:
    once, thrice = (mp3(asyncio.run(_spoken(text=text))).info.length for text in (TEXT, f"{TEXT} {TEXT} {TEXT}"))
    assert thrice == pytest.approx(3 * once, rel=0.25)


def test_the_fallback_speaks_in_the_units_of_espeak_ng() -> None:
    wish = AudioRequest(text="a", voice="en-GB-SoniaNeural", rate="+20%", volume="-25%", pitch="+100Hz")
    assert manner(wish) == Manner(voice="en+f2", rate=210, volume=75, pitch=100)
    slowest = AudioRequest(text="a", rate="-90%", volume="+100%", pitch="-100Hz")
    assert manner(slowest) == Manner(voice="en-us", rate=80, volume=200, pitch=0)


def test_each_stand_in_exists_and_is_heard() -> None:
    async def lengths() -> dict[str, float]:
        by_stand_in = {voice.espeak: voice.name for voice in catalogue.values()}
        return {
            stand_in: mp3(await _spoken(text="1, 2, 3, 4", voice=name)).info.length
            for stand_in, name in by_stand_in.items()
        }

    assert {stand_in for stand_in, length in asyncio.run(lengths()).items() if length < 0.5} == set()


def test_recordings_made_at_once_do_not_mix() -> None:
    wishes = [
        {"voice": "en-US-AriaNeural", "rate": "+50%"},
        {"voice": "de-DE-ConradNeural", "pitch": "-50Hz"},
        {"voice": "es-ES-ElviraNeural", "volume": "-50%"},
        {},
    ]

    async def together() -> list[bytes]:
        return await asyncio.gather(*(_spoken(**wish) for wish in wishes))

    async def one_by_one() -> list[bytes]:
        return [await _spoken(**wish) for wish in wishes]

    together_lengths = [len(recording) for recording in asyncio.run(together())]
    assert together_lengths == pytest.approx([len(recording) for recording in asyncio.run(one_by_one())], rel=0.02)


def test_a_recording_that_nobody_wants_any_more_is_not_finished() -> None:
    async def next_one_begins() -> float:
        loop = asyncio.get_running_loop()
        abandoned = EspeakSpeech().stream(AudioRequest(text=(TEXT * 300)[:20_000], rate="-45%"), NO_LIMIT)
        await anext(abandoned)
        await abandoned.aclose()
        begun = loop.time()
        await _spoken()
        return loop.time() - begun

    assert asyncio.run(next_one_begins()) < 2.5
