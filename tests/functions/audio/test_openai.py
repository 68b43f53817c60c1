"""The door for clients of OpenAI's API, with the real SDK: only `base_url` is changed."""

from collections.abc import Iterator

import httpx
import pytest
from openai import OpenAI, UnprocessableEntityError

from functions.audio.catalogue import catalogue
from functions.audio.schemas import OPENAI_VOICES
from tests.conftest import problem
from tests.doubles.edge_server import Fault, SpeechCloud, seconds_of
from tests.functions.audio.conftest import seconds

TEXT = "The committee met on Tuesday to talk about the new bridge over the river."


@pytest.fixture
def sdk(base_url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def test_the_sdk_gets_its_recording(sdk: OpenAI, cloud: SpeechCloud) -> None:
    recording = sdk.audio.speech.create(model="tts-1", voice="onyx", input=TEXT)
    assert seconds(recording.content) == pytest.approx(seconds_of(TEXT), abs=0.15)
    [turn] = cloud.turns
    assert turn.text == TEXT
    assert turn.voice.endswith("(en-US, ChristopherNeural)")
    assert turn.prosody["rate"] == "+0%"


def test_the_sdk_may_stream(sdk: OpenAI, cloud: SpeechCloud) -> None:
    cloud.fault = Fault.DRIP
    create = sdk.audio.speech.with_streaming_response.create
    with create(model="gpt-4o-mini-tts", voice="alloy", input=TEXT, response_format="mp3") as response:
        pieces = response.iter_bytes(720)
        sound = next(pieces)
        assert not cloud.turns[0].ended.is_set()
        cloud.drip_seconds = 0
        sound += b"".join(pieces)
    assert seconds(sound) == pytest.approx(seconds_of(TEXT), abs=0.15)


@pytest.mark.parametrize(("speed", "rate"), [(0.25, "-75%"), (0.9, "-10%"), (1, "+0%"), (1.5, "+50%"), (4.0, "+300%")])
def test_speed_becomes_the_rate(sdk: OpenAI, cloud: SpeechCloud, speed: float, rate: str) -> None:
    sdk.audio.speech.create(model="tts-1", voice="alloy", input=TEXT, speed=speed)
    assert cloud.turns[-1].prosody["rate"] == rate


def test_openais_voices_are_all_known_to_the_cloud() -> None:
    assert set(OPENAI_VOICES.values()) <= set(catalogue)
    assert len(set(OPENAI_VOICES.values())) == len(OPENAI_VOICES)


def test_a_voice_of_the_cloud_may_be_named(sdk: OpenAI, cloud: SpeechCloud) -> None:
    sdk.audio.speech.create(model="tts-1", voice="de-DE-KatjaNeural", input="Guten Tag.")
    assert cloud.turns[0].voice.endswith("(de-DE, KatjaNeural)")


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("voice", "alooy"),
        ("speed", 0.2),
        ("speed", 4.1),
        ("speed", True),
        ("speed", "1.5"),
        ("response_format", "opus"),
        ("response_format", "wav"),
        ("stream_format", "sse"),
        ("instructions", "Whisper."),
        ("input", " "),
        ("input", "x" * 20_001),
    ],
)
def test_what_cannot_be_done_is_a_422_that_the_sdk_shows(sdk: OpenAI, field: str, value: object) -> None:
    wish = {"model": "tts-1", "voice": "alloy", "input": TEXT, field: value}
    with pytest.raises(UnprocessableEntityError, match=f"422 - {field}: ") as refused:
        sdk.audio.speech.create(**wish)  # type: ignore[arg-type]
    assert [error["field"] for error in problem(refused.value.response)["errors"]] == [field]
    assert refused.value.param == field


def test_the_refusal_of_a_voice_names_the_nearest(client: httpx.Client) -> None:
    response = client.post("/v1/audio/speech", json={"model": "tts-1", "input": "Hello", "voice": "alooy"})
    assert "alloy" in problem(response)["errors"][0]["detail"]


def test_the_refusal_of_a_format_names_the_one_there_is(client: httpx.Client) -> None:
    wish = {"model": "tts-1", "input": "Hello", "voice": "alloy", "response_format": "flac"}
    assert "mp3" in problem(client.post("/v1/audio/speech", json=wish))["errors"][0]["detail"]


def test_without_the_cloud_the_sdk_hears_the_fallback(sdk: OpenAI, cloud: SpeechCloud) -> None:
    cloud.stop()
    recording = sdk.audio.speech.with_raw_response.create(model="tts-1", voice="nova", input=TEXT)
    assert recording.headers["x-audio-engine"] == "espeak-ng"


def test_the_models_are_listed(sdk: OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == ["tts-1"]
