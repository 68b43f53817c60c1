"""Other formats than MP3: made while the MP3 is made, with the same sound, and cut where that is cut."""

import gc
import io
import json
import wave
from http.client import HTTPConnection
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from common.admission import Limits
from functions.audio import response, transcoding
from functions.audio.formats import MP3, SOUNDS
from tests.conftest import WAIT_SECONDS, problem, wait_until
from tests.doubles.edge_server import Fault, SpeechCloud, seconds_of, tone
from tests.functions.audio.sounds import decoded

TEXT = "The committee met on Tuesday to talk about the new bridge over the river."
OTHERS = [name for name, wanted in SOUNDS.items() if wanted is not MP3]
KINDS = {"wav": "wav pcm_s16le", "flac": "flac flac", "opus": "ogg opus", "aac": "aac aac", "pcm": "s16le pcm_s16le"}


def heard(client: httpx.Client, accept: str, text: str = TEXT, **headers: str) -> httpx.Response:
    return client.post("/audio", json={"text": text}, headers={"Accept": accept, **headers})


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("name", OTHERS)
def test_each_format_is_the_same_sound(client: httpx.Client, name: str) -> None:
    original = decoded(heard(client, "audio/mpeg").content)
    # The second time it is made of the kept recording.
    for _ in range(2):
        answer = heard(client, SOUNDS[name].media_type)
        assert answer.headers["content-type"] == SOUNDS[name].media_type
        assert answer.headers["vary"] == "Accept"
        sound = decoded(answer.content, name)
        assert (sound.kind, sound.channels) == (KINDS[name], 1)
        assert sound.seconds == pytest.approx(original.seconds, abs=0.1)
        assert np.sqrt(np.mean(sound.samples**2)) == pytest.approx(np.sqrt(np.mean(original.samples**2)), rel=0.1)


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("name", OTHERS)
def test_a_format_has_a_tag_of_its_own(client: httpx.Client, name: str) -> None:
    tag = heard(client, SOUNDS[name].media_type).headers["etag"]
    assert tag != heard(client, "audio/mpeg").headers["etag"]
    assert heard(client, SOUNDS[name].media_type, **{"If-None-Match": tag}).status_code == 304
    assert heard(client, "audio/mpeg", **{"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize("name", OTHERS)
def test_a_format_is_sent_while_it_is_made(client: httpx.Client, cloud: SpeechCloud, name: str) -> None:
    cloud.fault = Fault.DRIP
    headers = {"Accept": SOUNDS[name].media_type}
    with client.stream("POST", "/audio", json={"text": TEXT}, headers=headers) as streamed:
        pieces = streamed.iter_raw()
        sound = next(pieces)
        assert not cloud.turns[0].ended.is_set()
        cloud.drip_seconds = 0
        sound += b"".join(pieces)
    assert decoded(sound, name).seconds == pytest.approx(seconds_of(TEXT), abs=0.15)


@pytest.mark.parametrize("name", OTHERS)
def test_a_recording_that_breaks_is_cut_in_every_format(client: httpx.Client, cloud: SpeechCloud, name: str) -> None:
    cloud.fault, cloud.messages_before = Fault.CLOSE_AFTER_AUDIO, 3
    headers = {"Accept": SOUNDS[name].media_type}
    with client.stream("POST", "/audio", json={"text": TEXT}, headers=headers) as streamed:
        assert streamed.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            streamed.read()


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("audio/*", "audio/mpeg"),
        ("*/*", "audio/mpeg"),
        ("image/png", "audio/mpeg"),
        ("AUDIO/WAV", "audio/wav"),
        ("audio/x-wav", "audio/wav"),
        ("audio/ogg;codecs=opus", "audio/ogg"),
        ("audio/flac;q=0.5, audio/aac;q=0.9", "audio/aac"),
        ("audio/wav;q=0, audio/mpeg", "audio/mpeg"),
        ("audio/mpeg, audio/wav", "audio/mpeg"),
    ],
)
def test_accept_tells_the_format(client: httpx.Client, accept: str, media_type: str) -> None:
    assert heard(client, accept).headers["content-type"] == media_type


@pytest.mark.usefixtures("cloud")
def test_the_header_of_a_wav_says_how_long_it_is_once_that_is_known(client: httpx.Client) -> None:
    live, kept = heard(client, "audio/wav").content, heard(client, "audio/wav").content
    assert live[:4] == kept[:4] == b"RIFF"
    assert live[40:44] == b"\xff\xff\xff\xff"
    with wave.open(io.BytesIO(kept)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (24_000, 2, 1)
        assert file.getnframes() * 2 == len(kept) - 44
    # What reads on to the end of a stream has all of it.
    assert live[44:] == kept[44:]


@pytest.mark.usefixtures("cloud")
def test_a_recording_is_kept_once(client: httpx.Client, cloud: SpeechCloud) -> None:
    for wanted in SOUNDS.values():
        heard(client, wanted.media_type)
    assert len(cloud.turns) == 1


def old(base_url: str, accept: str) -> tuple[int, bytes]:
    """Status and body of an answer to HTTP/1.0, as some proxies speak it."""
    connection = HTTPConnection(urlsplit(base_url).netloc, timeout=WAIT_SECONDS)
    connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
    headers = {"Accept": accept, "Content-Type": "application/json"}
    try:
        connection.request("POST", "/audio", json.dumps({"text": TEXT}), headers)
        response = connection.getresponse()
        assert response.getheader("content-length")
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.usefixtures("cloud")
def test_what_has_to_be_whole_is_whole_unless_it_is_too_large(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    status, body = old(base_url, "audio/wav")
    assert status == 200
    assert decoded(body, "wav").seconds == pytest.approx(seconds_of(TEXT), abs=0.15)
    monkeypatch.setattr(response, "MOST_WHOLE_BYTES", len(body) // 2)
    assert old(base_url, "audio/wav")[0] == 422
    assert old(base_url, "audio/mpeg")[0] == 200


def test_only_so_many_are_encoded_for_and_who_leaves_makes_room(
    client: httpx.Client, base_url: str, cloud: SpeechCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcoding, "ENCODERS", Limits(concurrency=1, max_waiting=0))
    cloud.fault = Fault.DRIP
    with httpx.Client(base_url=base_url, trust_env=False) as other:
        streamed = other.stream("POST", "/audio", json={"text": TEXT}, headers={"Accept": "audio/flac"})
        with streamed as response:
            sound = response.iter_raw()
            assert next(sound).startswith(b"fLaC")
            refused = heard(client, "audio/aac")
            assert problem(refused)["status"] == 503
            assert int(refused.headers["retry-after"]) >= 1
            # These need no encoder.
            cloud.fault = Fault.NONE
            assert [heard(client, accept, "Hello.").status_code for accept in ("audio/mpeg", "audio/wav")] == [200, 200]
    wait_until(lambda: heard(client, "audio/aac", "Hello.").status_code == 200, "the place is given back")


def encoders() -> int:
    """How many of FFmpeg's are alive, those included that only the collector of cycles would find."""
    return sum(type(known).__name__ == "OutputContainer" for known in gc.get_objects())


@pytest.mark.parametrize("name", OTHERS)
def test_an_encoder_is_given_back_without_the_collector_of_cycles(name: str) -> None:
    gc.collect()
    before = encoders()
    gc.disable()
    try:
        for fed in (b"", tone(1.0)):
            transcoder = transcoding.Transcoder(SOUNDS[name])
            assert fed == b"" or transcoder.feed(fed)
            transcoder.close()
            # As at the end, and then once more.
            transcoder.close()
            del transcoder
        assert encoders() == before
    finally:
        gc.enable()
