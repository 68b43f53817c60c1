"""The door for clients of OpenAI's API, with the real SDK: only `base_url` is changed."""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, NotFoundError, OpenAI, UnprocessableEntityError

from functions.audio.catalogue import catalogue
from functions.audio.formats import SOUNDS
from functions.audio.openai_schemas import OPENAI_VOICES
from tests.conftest import problem
from tests.doubles.edge_server import Fault, SpeechCloud, seconds_of
from tests.functions.audio.conftest import seconds
from tests.functions.audio.sounds import decoded

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
        ("response_format", "ogg"),
        ("response_format", 3),
        ("stream_format", "chunks"),
        ("voice", {"id": "alooy"}),
        ("voice", {}),
        ("voice", 3),
        ("model", 3),
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


def test_the_refusal_of_a_format_names_those_there_are(client: httpx.Client) -> None:
    wish = {"model": "tts-1", "input": "Hello", "voice": "alloy", "response_format": "ogg"}
    detail = problem(client.post("/v1/audio/speech", json=wish))["errors"][0]["detail"]
    assert all(name in detail for name in SOUNDS)


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("name", SOUNDS)
def test_the_sdk_gets_each_format(sdk: OpenAI, name: Any) -> None:
    recording = sdk.audio.speech.create(model="tts-1", voice="alloy", input=TEXT, response_format=name)
    assert recording.response.headers["content-type"] == SOUNDS[name].media_type
    assert decoded(recording.content, name).seconds == pytest.approx(seconds_of(TEXT), abs=0.15)


@pytest.mark.parametrize("name", SOUNDS)
def test_the_asynchronous_sdk_gets_each_format_while_it_is_made(base_url: str, cloud: SpeechCloud, name: Any) -> None:
    cloud.fault = Fault.DRIP

    async def heard() -> bytes:
        async with AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0) as opened:
            create = opened.audio.speech.with_streaming_response.create
            async with create(model="tts-1", voice="alloy", input=TEXT, response_format=name) as response:
                pieces = response.iter_bytes()
                sound = await anext(pieces)
                assert not cloud.turns[0].ended.is_set()
                cloud.drip_seconds = 0
                return sound + b"".join([piece async for piece in pieces])

    assert decoded(asyncio.run(heard()), name).seconds == pytest.approx(seconds_of(TEXT), abs=0.15)


def events(response: httpx.Response) -> list[dict[str, Any]]:
    blocks = response.text.strip().split("\n\n")
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("name", ["mp3", "wav"])
def test_the_sound_may_come_as_events(client: httpx.Client, name: str) -> None:
    wish = {"input": TEXT, "stream_format": "sse", "response_format": name}
    response = client.post("/v1/audio/speech", json=wish)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    *deltas, done = events(response)
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    sound = b"".join(base64.b64decode(event["audio"]) for event in deltas)
    assert decoded(sound, name).seconds == pytest.approx(seconds_of(TEXT), abs=0.15)
    assert done["type"] == "speech.audio.done"
    assert set(done["usage"]) == {"input_tokens", "output_tokens", "total_tokens"}


def test_events_of_a_recording_that_breaks_have_no_end(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.fault, cloud.messages_before = Fault.CLOSE_AFTER_AUDIO, 3
    with client.stream("POST", "/v1/audio/speech", json={"input": TEXT, "stream_format": "sse"}) as response:
        received: list[bytes] = []
        with pytest.raises(httpx.RemoteProtocolError):
            received.extend(response.iter_raw())
    assert b"speech.audio.delta" in b"".join(received)
    assert b"speech.audio.done" not in b"".join(received)


@pytest.mark.parametrize(
    "more",
    [
        {"instructions": "Whisper.", "stream": True, "user": "someone", "lang_code": "a", "volume_multiplier": 2},
        dict.fromkeys(["model", "voice", "speed", "response_format", "stream_format", "instructions"]),
        {"voice": "Alloy", "response_format": "MP3", "stream_format": "Audio", "model": "kokoro"},
        {"voice": {"id": "alloy"}},
        {"voice": {"id": "alloy", "name": "Alloy"}},
        {"voice": {"name": "en-us-avamultilingualneural"}},
    ],
    ids=str,
)
def test_what_clients_send_besides_is_taken(client: httpx.Client, cloud: SpeechCloud, more: dict[str, Any]) -> None:
    response = client.post("/v1/audio/speech", json={"input": TEXT, **more})
    assert response.status_code == 200
    assert cloud.turns[0].voice.endswith("(en-US, AvaMultilingualNeural)")


@pytest.mark.usefixtures("cloud")
def test_many_unknown_fields_cost_little(client: httpx.Client) -> None:
    more = {f"unknown{number}": number for number in range(52_000)}
    response = client.post("/v1/audio/speech", json={"input": TEXT, **more})
    assert response.status_code in (200, 413, 422)
    assert len(response.content) < 100_000


def test_without_the_cloud_the_sdk_hears_the_fallback(sdk: OpenAI, cloud: SpeechCloud) -> None:
    cloud.stop()
    recording = sdk.audio.speech.with_raw_response.create(model="tts-1", voice="nova", input=TEXT)
    assert recording.headers["x-audio-engine"] == "espeak-ng"


def test_the_models_are_listed(sdk: OpenAI, client: httpx.Client) -> None:
    names = [model.id for model in sdk.models.list()]
    assert names == ["tts-1", "tts-1-hd", "gpt-4o-mini-tts"]
    assert [sdk.models.retrieve(name).id for name in names] == names
    assert [model["id"] for model in client.get("/v1/audio/models").json()["models"]] == names


def test_another_model_is_not_found_as_the_sdk_expects_it(sdk: OpenAI) -> None:
    with pytest.raises(NotFoundError, match="there is no model 'whisper-1'"):
        sdk.models.retrieve("whisper-1")


@pytest.mark.usefixtures("cloud")
def test_each_voice_that_is_listed_may_be_sent_back(client: httpx.Client) -> None:
    listed = client.get("/v1/audio/voices").json()["voices"]
    assert {"alloy", "en-US-ChristopherNeural", "de-DE-KatjaNeural"} <= {voice["id"] for voice in listed}
    for voice in (listed[0], listed[-1]):
        for form in (voice, voice["id"]):
            assert client.post("/v1/audio/speech", json={"input": "Hello", "voice": form}).status_code == 200
