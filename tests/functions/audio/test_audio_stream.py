"""A recording under way: that it is heard while it is made, that a cut is seen, that leaving frees what was held."""

import asyncio
import json
import socket

import httpx
import pytest

from common.settings import AudioSettings
from functions.audio.engine import EdgeSpeech
from functions.audio.handler import handler
from functions.audio.schemas import AudioRequest
from tests.conftest import problem, wait_until
from tests.doubles.edge_server import Fault, SpeechCloud, seconds_of
from tests.functions.audio.conftest import SetAudio, mp3

TEXT = "The committee met on Tuesday to talk about the new bridge over the river. " * 3
# More than the 4,096 bytes that edge-tts says in one turn.
LONG_TEXT = "Seven words are in this short sentence. " * 110
LEAVINGS = [Fault.DRIP, Fault.STALL]


def listen(client: httpx.Client, received: bytearray, text: str = TEXT) -> None:
    with client.stream("POST", "/audio", json={"text": text}) as response:
        assert response.status_code == 200
        for piece in response.iter_raw():
            received += piece


def test_the_first_sound_is_heard_before_the_last_is_made(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.fault = Fault.DRIP
    with client.stream("POST", "/audio", json={"text": TEXT}) as response:
        pieces = response.iter_raw()
        assert next(pieces)
        [turn] = cloud.turns
        assert not turn.ended.is_set()
        cloud.drip_seconds = 0
        assert sum(len(piece) for piece in pieces) > 0
    assert turn.ended.is_set()


def test_a_close_without_turn_end_is_a_broken_connection_not_an_end(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.fault = Fault.CLOSE_AFTER_AUDIO
    received = bytearray()
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        listen(client, received)
    assert len(received) == 3 * 720


def test_a_cut_in_the_first_of_several_turns_stops_the_recording_there(
    client: httpx.Client, cloud: SpeechCloud
) -> None:
    cloud.upcoming.append(Fault.CLOSE_AFTER_AUDIO)
    received = bytearray()
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        listen(client, received, text=LONG_TEXT)
    assert len(received) == 3 * 720


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.CLOSE_BEFORE_AUDIO, Fault.RESET])
def test_a_failure_in_the_second_of_several_turns_is_a_broken_connection(
    client: httpx.Client, cloud: SpeechCloud, fault: Fault
) -> None:
    # aiohttp connects once more by itself after a reset.
    cloud.upcoming.append(Fault.NONE)
    cloud.fault = fault
    received = bytearray()
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        listen(client, received, text=LONG_TEXT)
    assert cloud.turns[0].ended.is_set()
    assert mp3(bytes(received)).info.length == pytest.approx(seconds_of(cloud.turns[0].text), abs=0.15)


@pytest.mark.usefixtures("main_thread_loop")
def test_behind_lambda_a_cut_recording_is_a_502(cloud: SpeechCloud) -> None:
    http = {"method": "POST", "path": "/audio", "sourceIp": "127.0.0.1", "protocol": "HTTP/1.1"}
    event = {
        "version": "2.0",
        "rawPath": "/audio",
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "host": "example.com"},
        "requestContext": {"http": http, "stage": "$default"},
        "body": json.dumps({"text": TEXT}),
        "isBase64Encoded": False,
    }
    cloud.fault = Fault.CLOSE_AFTER_AUDIO
    assert handler(event, None)["statusCode"] == 502


def test_silence_after_the_first_sound_is_a_broken_connection(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(between_audio_seconds=0.3)
    cloud.fault = Fault.STALL
    received = bytearray()
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        listen(client, received)
    assert received
    assert cloud.turns[0].closed.wait(5)


def test_a_full_queue_is_a_503_with_a_time_to_come_back(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(concurrency=1, max_waiting=0)
    cloud.fault = Fault.DRIP
    with client.stream("POST", "/audio", json={"text": TEXT}):
        refused = client.post("/audio", json={"text": "Another text."})
    assert problem(refused)["status"] == 503
    assert int(refused.headers["retry-after"]) >= 1


def test_leaving_a_dead_cloud_with_sounds_unread_closes_the_connection(cloud: SpeechCloud) -> None:
    async def leave() -> bool:
        pieces = EdgeSpeech(AudioSettings(endpoint=cloud.url)).turn(TEXT, AudioRequest(text=TEXT), None)
        await anext(pieces)
        await asyncio.to_thread(wait_until, lambda: cloud.turns[0].sent == cloud.messages_before, "all sounds are sent")
        await pieces.aclose()
        return await asyncio.to_thread(cloud.turns[0].closed.wait, 3)

    cloud.fault = Fault.STALL
    assert asyncio.run(leave()), "the connection to the cloud stays open"


@pytest.mark.parametrize("fault", LEAVINGS)
def test_a_listener_who_leaves_frees_the_slot_and_the_cloud(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio, fault: Fault
) -> None:
    set_audio(concurrency=1, max_waiting=0)
    cloud.fault = fault
    with client.stream("POST", "/audio", json={"text": TEXT}) as response:
        next(response.iter_raw())
    assert cloud.turns[0].closed.wait(3), "the connection to the cloud stays open"
    assert not cloud.turns[0].ended.is_set()
    cloud.fault = Fault.NONE
    wait_until(lambda: client.post("/audio", json={"text": TEXT}).status_code == 200, "the slot is free")


def test_a_listener_who_leaves_before_the_first_sound_frees_the_slot_and_the_cloud(
    base_url: str, client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(concurrency=1, max_waiting=0)
    cloud.fault = Fault.MUTE
    address = httpx.URL(base_url)
    body = json.dumps({"text": TEXT}).encode()
    head = (
        f"POST /audio HTTP/1.1\r\nHost: audio\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((address.host, address.port)) as listener:
        listener.sendall(head.encode() + body)
        wait_until(lambda: any(turn.ssml for turn in cloud.turns), "the cloud is asked")
    assert cloud.turns[0].closed.wait(3), "the connection to the cloud stays open"
    cloud.fault = Fault.NONE
    wait_until(lambda: client.post("/audio", json={"text": TEXT}).status_code == 200, "the slot is free")


def test_a_listener_who_leaves_the_fallback_frees_the_slot(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(concurrency=1, max_waiting=0)
    cloud.fault = Fault.FORBIDDEN
    with client.stream("POST", "/audio", json={"text": (TEXT * 90)[:20_000], "rate": "-50%"}) as response:
        assert response.headers["x-audio-engine"] == "espeak-ng"
        next(response.iter_raw())
    wait_until(lambda: client.post("/audio", json={"text": "Hello"}).status_code == 200, "the slot is free")


def test_a_cut_recording_frees_the_slot(client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio) -> None:
    set_audio(concurrency=1, max_waiting=0)
    cloud.upcoming.append(Fault.CLOSE_AFTER_AUDIO)
    with pytest.raises(httpx.RemoteProtocolError):
        listen(client, bytearray())
    wait_until(lambda: client.post("/audio", json={"text": TEXT}).status_code == 200, "the slot is free")
