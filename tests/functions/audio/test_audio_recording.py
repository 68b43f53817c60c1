"""A recording from the speech cloud: that it plays, what its headers say, what the cloud was told."""

import asyncio
import json

import httpx
import pytest

from functions.audio.catalogue import catalogue
from functions.audio.formats import SOUNDS
from functions.audio.handler import app
from tests.doubles.edge_server import SpeechCloud, seconds_of
from tests.functions.audio.conftest import SetAudio, mp3

TEXT = "The committee met on Tuesday to talk about the new bridge over the river."
PADDING_SECONDS = 0.15


@pytest.mark.usefixtures("cloud")
def test_a_recording_plays_from_start_to_end(client: httpx.Client) -> None:
    response = client.post("/audio", json={"text": TEXT})
    assert response.status_code == 200
    assert response.headers["content-type"] == "audio/mpeg"
    sound = mp3(response.content).info
    assert sound.length == pytest.approx(seconds_of(TEXT), abs=PADDING_SECONDS)
    assert (sound.sample_rate, sound.channels, sound.bitrate) == (24_000, 1, 48_000)


@pytest.mark.usefixtures("cloud")
def test_headers_say_who_spoke(client: httpx.Client) -> None:
    response = client.post("/audio", json={"text": TEXT, "voice": "en-GB-SoniaNeural"})
    assert response.headers["x-audio-engine"] == "edge-tts"
    assert response.headers["x-audio-voice"] == "en-GB-SoniaNeural"
    assert response.headers["x-request-id"]
    assert "queue;dur=" in response.headers["server-timing"]
    assert "first_audio;dur=" in response.headers["server-timing"]


def test_the_missions_defaults_reach_the_cloud(client: httpx.Client, cloud: SpeechCloud) -> None:
    client.post("/audio", json={"text": TEXT})
    [turn] = cloud.turns
    assert turn.voice == "Microsoft Server Speech Text to Speech Voice (en-US, ChristopherNeural)"
    assert turn.prosody == {"rate": "+0%", "volume": "+0%", "pitch": "+0Hz"}
    assert json.loads(turn.config)["context"]["synthesis"]["audio"]["outputFormat"] == "audio-24khz-48kbitrate-mono-mp3"


def test_voice_and_prosody_reach_the_cloud(client: httpx.Client, cloud: SpeechCloud) -> None:
    wish = {"voice": "zh-CN-liaoning-XiaobeiNeural", "rate": "-20%", "volume": "+050%", "pitch": "+5Hz"}
    client.post("/audio", json={"text": TEXT, **wish})
    [turn] = cloud.turns
    assert turn.voice == "Microsoft Server Speech Text to Speech Voice (zh-CN-liaoning, XiaobeiNeural)"
    assert turn.prosody == {"rate": "-20%", "volume": "+50%", "pitch": "+5Hz"}


def test_markup_in_the_text_is_spoken_not_obeyed(client: httpx.Client, cloud: SpeechCloud) -> None:
    text = """</prosody><voice name='x'>5 < 6 && 7 > 3, "quoted" & 'single' <![CDATA[x]]> &amp;"""
    response = client.post("/audio", json={"text": text})
    assert response.headers["x-audio-engine"] == "edge-tts"
    [turn] = cloud.turns
    assert turn.text == text
    assert "(en-US, ChristopherNeural)" in turn.voice


def test_a_text_of_several_turns_is_one_recording(client: httpx.Client, cloud: SpeechCloud) -> None:
    text = "Seven words are in this short sentence. " * 110
    response = client.post("/audio", json={"text": text})
    assert len(cloud.turns) == 3
    spoken = sum(seconds_of(turn.text) for turn in cloud.turns)
    assert " ".join(turn.text for turn in cloud.turns) == text.strip()
    assert mp3(response.content).info.length == pytest.approx(spoken, abs=3 * PADDING_SECONDS)


@pytest.mark.usefixtures("cloud")
def test_the_etag_follows_the_normalised_request(client: httpx.Client) -> None:
    def etag(**wish: str) -> str:
        return client.post("/audio", json={"text": TEXT, **wish}).headers["etag"]

    plain = etag()
    # Strong: it names the run as well, as the cloud need not say a text twice in the same bytes.
    assert plain.startswith('"')
    assert plain.endswith('"')
    assert etag(rate="-00%", voice="en-US-ChristopherNeural") == plain
    assert len({plain, etag(rate="+1%"), etag(voice="en-US-GuyNeural"), etag(text=TEXT + " ")}) == 4


def test_an_endpoint_without_parameters_is_reached(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(endpoint=cloud.url.partition("?")[0])
    client.post("/audio", json={"text": TEXT})
    # And turned down there, as the token is among the parameters.
    assert cloud.handshakes > 0
    assert not cloud.turns


@pytest.mark.usefixtures("cloud")
def test_each_invocation_may_have_an_event_loop_of_its_own() -> None:
    async def invoke() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://audio") as client:
            return await client.post("/audio", json={"text": TEXT})

    for _ in range(2):
        response = asyncio.run(invoke())
        assert response.headers["x-audio-engine"] == "edge-tts"
        assert mp3(response.content).info.length == pytest.approx(seconds_of(TEXT), abs=PADDING_SECONDS)


def test_voices_are_listed_with_their_stand_ins(client: httpx.Client) -> None:
    listing = client.get("/audio/voices").json()
    voices = {voice["name"]: voice for voice in listing["voices"]}
    assert listing["default"] in voices
    assert set(voices) == set(catalogue)
    assert voices["de-DE-KatjaNeural"] == {
        "name": "de-DE-KatjaNeural",
        "locale": "de-DE",
        "gender": "Female",
        "local": "piper:de_DE-thorsten-medium",
        "fallback": "espeak-ng:de+f2",
    }
    languages = [voice["locale"].partition("-")[0] for voice in voices.values()]
    assert min(languages.count(language) for language in languages) >= 2


def test_the_schema_tells_of_the_sound_and_the_fields(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    answers = schema["paths"]["/audio"]["post"]["responses"]
    sounds = [wanted.media_type for wanted in SOUNDS.values()]
    assert list(answers["200"]["content"]) == [*sounds, "text/vtt", "application/x-subrip"]
    assert set(answers["200"]["headers"]) == {"X-Audio-Engine", "X-Audio-Voice", "ETag", "Content-Location"}
    assert {"206", "304", "416"} <= set(answers)
    fields = schema["components"]["schemas"]["AudioRequest"]
    assert set(fields["properties"]) == {"text", "voice", "rate", "volume", "pitch", "normalize"}
    assert fields["required"] == ["text"]


def test_every_listed_voice_is_one_that_edge_tts_can_address() -> None:
    from edge_tts import Communicate

    for name in catalogue:
        assert Communicate("x", name).tts_config.voice.startswith("Microsoft Server Speech")
