"""Equal requests: one run for those at the same time, a kept recording for those that follow, 304 for who has it."""

import asyncio
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from functions.audio.espeak_process import Manner, Sound
from tests.conftest import WAIT_SECONDS, wait_until
from tests.doubles.edge_server import Fault, SpeechCloud, seconds_of
from tests.functions.audio.conftest import SetAudio, seconds

TEXT = "The committee met on Tuesday to talk about the new bridge over the river."


def say(client: httpx.Client, text: str = TEXT, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/audio", json={"text": text}, headers=names)


def test_a_repeated_request_hears_the_kept_recording(client: httpx.Client, cloud: SpeechCloud) -> None:
    first, second = say(client), say(client)
    assert len(cloud.turns) == 1
    assert second.content == first.content
    assert second.headers["etag"] == first.headers["etag"]
    assert second.headers["content-length"] == str(len(first.content))
    assert second.headers["x-audio-engine"] == "edge-tts"


def test_every_field_that_is_heard_makes_another_recording(client: httpx.Client, cloud: SpeechCloud) -> None:
    for wish in ({}, {"rate": "+1%"}, {"volume": "+1%"}, {"pitch": "+1Hz"}, {"voice": "en-US-GuyNeural"}):
        client.post("/audio", json={"text": TEXT, **wish})
    assert len(cloud.turns) == 5


def test_recordings_are_kept_within_the_bytes(client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio) -> None:
    set_audio(answer_cache_bytes=len(say(client).content) + 20_000)
    say(client, "Another short text.")
    say(client)
    assert len(cloud.turns) == 2
    # A recording larger than all the room drops no other.
    say(client, TEXT + TEXT)
    say(client)
    assert len(cloud.turns) == 3
    # One that fits drops what was asked for longest ago.
    say(client, TEXT[: len(TEXT) * 3 // 4])
    say(client)
    assert len(cloud.turns) == 5


def test_no_bytes_keep_nothing(client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio) -> None:
    set_audio(answer_cache_bytes=0)
    say(client)
    say(client)
    assert len(cloud.turns) == 2


def test_a_cut_recording_is_not_kept(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.upcoming.append(Fault.CLOSE_AFTER_AUDIO)
    with pytest.raises(httpx.RemoteProtocolError):
        say(client)
    assert seconds(say(client).content) == pytest.approx(seconds_of(TEXT), abs=0.15)


def test_a_recording_that_its_listener_left_is_not_kept(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.fault = Fault.DRIP
    with client.stream("POST", "/audio", json={"text": TEXT}) as response:
        next(response.iter_raw())
    assert cloud.turns[0].closed.wait(WAIT_SECONDS)
    cloud.fault = Fault.NONE
    assert seconds(say(client).content) == pytest.approx(seconds_of(TEXT), abs=0.15)
    assert len(cloud.turns) == 2


def test_ten_listeners_share_one_connection_and_all_hear_the_first_sound_at_once(
    base_url: str, cloud: SpeechCloud
) -> None:
    cloud.fault = Fault.DRIP
    listeners = 10
    first_heard: list[float] = []
    recordings: list[bytes] = []

    async def listen(client: httpx.AsyncClient) -> None:
        async with client.stream("POST", "/audio", json={"text": TEXT}) as response:
            pieces = response.aiter_raw()
            sound = await anext(pieces)
            first_heard.append(time.monotonic())
            if len(first_heard) == listeners:
                assert not cloud.turns[0].ended.is_set()
                cloud.drip_seconds = 0
            recordings.append(sound + b"".join([piece async for piece in pieces]))

    async def together() -> None:
        async with httpx.AsyncClient(base_url=base_url, timeout=WAIT_SECONDS, trust_env=False) as client:
            await asyncio.gather(*(listen(client) for _ in range(listeners)))

    asyncio.run(together())
    assert cloud.handshakes == 1
    assert len(set(recordings)) == 1
    assert len(recordings) == listeners
    # Not one after another: the whole recording drips for 0.05 s a piece of 0.12 s.
    assert max(first_heard) - min(first_heard) < 0.5


def test_the_first_listener_may_leave_the_others(base_url: str, client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.fault = Fault.DRIP
    heard: list[bytes] = []

    def listen() -> None:
        with httpx.Client(base_url=base_url, timeout=WAIT_SECONDS, trust_env=False) as other:
            heard.append(say(other).content)

    second = threading.Thread(target=listen)
    with client.stream("POST", "/audio", json={"text": TEXT}) as response:
        # Held: the connection is closed with it.
        pieces = response.iter_raw()
        next(pieces)
        second.start()
        wait_until(lambda: cloud.turns[0].sent > 8, "the second one listens as well")
    second.join(WAIT_SECONDS)
    assert cloud.handshakes == 1
    assert seconds(heard[0]) == pytest.approx(seconds_of(TEXT), abs=0.15)


def test_who_has_the_recording_is_told_so_without_asking_the_cloud(client: httpx.Client, cloud: SpeechCloud) -> None:
    etag = say(client).headers["etag"]
    for names in (etag, f'"other", {etag}', etag.removeprefix("W/")):
        known = say(client, if_none_match=names)
        assert (known.status_code, known.content) == (304, b"")
        assert known.headers["etag"] == etag
        assert known.headers["vary"] == "Accept"
    assert say(client, if_none_match='"other"').status_code == 200
    assert say(client, "Another text.", if_none_match=etag).status_code == 200
    assert len(cloud.turns) == 2


def test_a_stand_in_is_known_only_while_it_would_speak(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.fault = Fault.FORBIDDEN
    etag = say(client).headers["etag"]
    assert say(client, if_none_match=etag).status_code == 304
    cloud.fault = Fault.NONE
    response = say(client, if_none_match=etag)
    assert response.status_code == 200
    assert response.headers["x-audio-engine"] == "edge-tts"


def test_a_stand_in_is_kept_while_the_cloud_is_away_and_forgotten_when_it_is_back(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    from functions.audio import espeak

    spoken: list[str] = []
    say_part = espeak.speakers.say

    def counted(manner: Manner, text: str, hear: Callable[[Sound], None]) -> None:
        spoken.append(text)
        say_part(manner, text, hear)

    monkeypatch.setattr(espeak.speakers, "say", counted)
    set_audio(breaker_failures=1, breaker_seconds=0.2)
    cloud.fault = Fault.UNAVAILABLE
    first, second = say(client), say(client)
    assert first.content == second.content
    assert second.headers["x-audio-engine"] == "espeak-ng"
    assert spoken == [TEXT]
    cloud.fault = Fault.NONE
    wait_until(lambda: say(client, "Is it back?").headers["x-audio-engine"] == "edge-tts", "the breaker closes")
    assert say(client).headers["x-audio-engine"] == "edge-tts"
    cloud.fault = Fault.UNAVAILABLE
    set_audio(answer_cache_bytes=0)
    spoken.clear()
    assert say(client, "Is it back? No.").headers["x-audio-engine"] == "espeak-ng"
    assert spoken == ["Is it back? No."]


def test_other_patience_is_another_run(
    client: httpx.Client, base_url: str, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(connect_seconds=5, first_audio_seconds=5, patience_seconds=5)
    cloud.fault = Fault.MUTE
    patient: list[httpx.Response] = []

    def wait() -> None:
        with httpx.Client(base_url=base_url, timeout=WAIT_SECONDS, trust_env=False) as other:
            patient.append(say(other))

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: cloud.handshakes == 1, "the patient one waits")
    hurried = say(client, prefer="wait=1")
    assert hurried.headers["x-audio-engine"] == "espeak-ng"
    assert hurried.elapsed.total_seconds() < 2
    thread.join(WAIT_SECONDS)
    assert patient[0].headers["x-audio-engine"] == "espeak-ng"
