"""What is remembered of the cloud (that it is down, which voices it has), and long texts in several turns."""

import socket
import time

import httpx
import pytest

from functions.audio.catalogue import catalogue
from functions.audio.service import breaker
from tests.conftest import WAIT_SECONDS, problem, wait_until
from tests.doubles.edge_server import Fault, SpeechCloud, seconds_of, voice_entry
from tests.functions.audio.conftest import SetAudio, mp3, seconds

TEXT = "The committee met on Tuesday to talk about the new bridge over the river."
LONG_TEXT = "Seven words are in this short sentence. " * 110


def say(client: httpx.Client, text: str = TEXT) -> httpx.Response:
    return client.post("/audio", json={"text": text})


def test_a_cloud_that_keeps_failing_is_left_alone_and_tried_again(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(breaker_failures=2, breaker_seconds=0.5, answer_cache_bytes=0)
    cloud.fault = Fault.UNAVAILABLE
    say(client)
    state, asked = breaker.status.state, cloud.handshakes
    assert state == "open"
    begun = time.monotonic()
    assert say(client).headers["x-audio-engine"] == "espeak-ng"
    if time.monotonic() - begun < 0.4:
        assert cloud.handshakes == asked
    cloud.fault = Fault.NONE
    wait_until(lambda: say(client).headers["x-audio-engine"] == "edge-tts", "the cloud is tried again")
    assert breaker.status.state == "closed"


def test_without_the_fallback_an_open_breaker_is_a_503_with_the_time_of_the_next_try(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(engine="edge-tts", breaker_failures=1, breaker_seconds=20)
    cloud.fault = Fault.FORBIDDEN
    assert say(client).status_code == 502
    refused = say(client)
    assert problem(refused)["type"] == "urn:problem-type:factory:upstream-unavailable"
    assert refused.status_code == 503
    assert 1 <= int(refused.headers["retry-after"]) <= 20


def test_texts_that_cannot_be_spoken_do_not_count_against_the_cloud(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(engine="edge-tts", breaker_failures=1)
    response = say(client, "*** ... !!!")
    assert response.status_code == 502
    assert "nothing that can be spoken" in problem(response)["detail"]
    assert cloud.handshakes == 1
    assert breaker.status.failures == 0


def test_signs_between_paragraphs_are_passed_over(client: httpx.Client, cloud: SpeechCloud) -> None:
    text = f"{'First part. ' * 120}\n\n{'* ' * 2000}\n\n{'Last part. ' * 120}"
    sound = say(client, text).content
    silent = [turn for turn in cloud.turns if not any(character.isalnum() for character in turn.text)]
    assert silent
    spoken = sum(seconds_of(turn.text) for turn in cloud.turns if turn not in silent)
    assert seconds(sound) == pytest.approx(spoken, abs=0.3)


def test_words_that_the_cloud_passes_over_cut_the_recording(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.upcoming.append(Fault.NONE)
    cloud.fault = Fault.NO_AUDIO
    with pytest.raises(httpx.RemoteProtocolError):
        say(client, LONG_TEXT)


def test_the_next_turn_is_fetched_while_one_is_heard_and_no_more_than_one_ahead(
    client: httpx.Client, cloud: SpeechCloud
) -> None:
    cloud.pace = 500.0
    response = say(client, LONG_TEXT)
    assert len(cloud.turns) == 3
    assert cloud.max_connections_seen == 2
    assert seconds(response.content) == pytest.approx(sum(seconds_of(turn.text) for turn in cloud.turns), abs=0.3)
    starts = [turn.first_sent_at for turn in cloud.turns]
    assert starts == sorted(starts, key=lambda at: at or 0.0)


def test_a_later_turn_is_tried_again_before_its_first_sound(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.upcoming.extend([Fault.NONE, Fault.UNAVAILABLE])
    assert seconds(say(client, LONG_TEXT).content) == pytest.approx(seconds_of(LONG_TEXT), abs=0.5)


def test_http_1_0_gets_the_whole_recording_or_an_error(base_url: str, cloud: SpeechCloud) -> None:
    """There a closed connection is the normal end: half a recording would look like a whole one."""
    body = b'{"text": "%s"}' % TEXT.encode()
    head = f"POST /audio HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    def ask() -> tuple[bytes, bytes]:
        address = httpx.URL(base_url)
        with socket.create_connection((address.host, address.port), timeout=WAIT_SECONDS) as listener:
            listener.sendall(head + body)
            received = b"".join(iter(lambda: listener.recv(65536), b""))
        headers, _, content = received.partition(b"\r\n\r\n")
        return headers, content

    cloud.fault = Fault.CLOSE_AFTER_AUDIO
    headers, content = ask()
    assert b" 502 " in headers.splitlines()[0]
    cloud.fault = Fault.NONE
    headers, content = ask()
    assert b" 200 " in headers.splitlines()[0]
    assert f"content-length: {len(content)}".encode() in headers
    assert mp3(content).info.length == pytest.approx(seconds_of(TEXT), abs=0.15)


def test_a_listener_who_takes_nothing_counts_as_gone(
    base_url: str, client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(listener_seconds=0.3, answer_cache_bytes=0)
    cloud.pace = 200.0
    text = (LONG_TEXT * 5)[:20_000]
    body = b'{"text": "%s"}' % text.encode()
    head = (
        f"POST /audio HTTP/1.1\r\nHost: audio\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    address = httpx.URL(base_url)
    with socket.socket() as listener:
        # What the kernel would take in the listener's place.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.connect((address.host, address.port))
        listener.sendall(head.encode() + body)
        wait_until(lambda: bool(cloud.turns) and cloud.turns[0].ended.is_set(), "the recording has begun")
        wait_until(lambda: all(turn.closed.is_set() for turn in cloud.turns), "the recording is given up")
        parts = len(cloud.turns)
    assert say(client).status_code == 200
    assert parts < 14, "the recording was made to its end for nobody"


def test_a_cut_is_one_line_in_the_log(
    client: httpx.Client, cloud: SpeechCloud, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.fault = Fault.CLOSE_AFTER_AUDIO
    with pytest.raises(httpx.RemoteProtocolError):
        say(client)
    wait_until(lambda: any("was cut" in record.message for record in caplog.records), "the cut is logged")
    assert all(record.exc_info is None for record in caplog.records)


def test_the_policy_may_rule_the_cloud_out(client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio) -> None:
    set_audio(engine="espeak-ng")
    response = say(client)
    assert response.headers["x-audio-engine"] == "espeak-ng"
    again = client.post("/audio", json={"text": TEXT}, headers={"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304
    assert client.get("/audio/voices").json()["source"] == "bundled"
    assert cloud.handshakes == 0


def test_the_clouds_list_adds_voices(client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio) -> None:
    assert client.get("/audio/voices").json()["source"] == "bundled"
    known = len(catalogue)
    cloud.voices = [
        voice_entry("en-US-BrandnewNeural", "Female", "English (United States)"),
        voice_entry("iu-Cans-CA-SiqiniqNeural", "Female", "Inuktitut"),
        voice_entry("en-US-Evil'/><break/>Neural", "Male", "English (United States)"),
    ]
    set_audio(voices_endpoint=cloud.voices_url)
    assert client.post("/audio", json={"text": TEXT, "voice": "en-US-BrandnewNeural"}).status_code == 422
    listing = client.get("/audio/voices").json()
    assert listing["source"] == "cloud"
    assert len(listing["voices"]) == known + 1
    spoken = client.post("/audio", json={"text": TEXT, "voice": "en-US-BrandnewNeural"})
    assert spoken.headers["x-audio-voice"] == "en-US-BrandnewNeural"
    assert cloud.turns[-1].voice.endswith("(en-US, BrandnewNeural)")


@pytest.mark.parametrize("trouble", ["error", "no list", "away"])
def test_a_list_that_cannot_be_had_leaves_the_bundled_one(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio, trouble: str
) -> None:
    set_audio(voices_endpoint=cloud.voices_url)
    if trouble == "error":
        cloud.voices_status = 500
    elif trouble == "no list":
        cloud.voices = [{"error": "no list"}]
    else:
        cloud.stop()
    listing = client.get("/audio/voices").json()
    assert listing["source"] == "bundled"
    assert len(listing["voices"]) > 300


@pytest.mark.parametrize(
    ("locale", "locales"),
    [
        ("de-AT", {"de-AT"}),
        ("DE", {"de-AT", "de-CH", "de-DE"}),
        ("zh-cn", {"zh-CN", "zh-CN-liaoning", "zh-CN-shaanxi"}),
    ],
)
def test_voices_are_found_by_locale_or_language(client: httpx.Client, locale: str, locales: set[str]) -> None:
    listing = client.get("/audio/voices", params={"locale": locale}).json()
    assert {voice["locale"] for voice in listing["voices"]} == locales


@pytest.mark.parametrize("locale", ["", "xx", "en-UX", "e", "en-US-ChristopherNeural"])
def test_a_locale_that_no_voice_speaks_is_a_422(client: httpx.Client, locale: str) -> None:
    response = client.get("/audio/voices", params={"locale": locale})
    [error] = problem(response)["errors"]
    assert error["field"] == "locale"


def test_a_locale_that_no_voice_speaks_is_answered_with_one_that_is_spoken(client: httpx.Client) -> None:
    [error] = problem(client.get("/audio/voices", params={"locale": "en-UX"}))["errors"]
    assert "en-US" in error["detail"]
