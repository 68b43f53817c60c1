"""Many listeners, slow ones and impatient ones: what each may take from the others."""

import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from functions.audio.service import breaker
from tests.conftest import problem, run_service, wait_until
from tests.doubles.edge_server import Fault, SpeechCloud
from tests.functions.audio.conftest import SetAudio

TEXT = "A new library will be built."
LONG = "The council of the town voted on Tuesday to build a library beside the old harbour. " * 230


def ask(client: httpx.Client, text: str, wait: int | None = None) -> httpx.Response:
    return client.post("/audio", json={"text": text}, headers={"Prefer": f"wait={wait}"} if wait else {})


def test_callers_in_a_hurry_do_not_take_the_cloud_from_the_others(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(breaker_failures=3)
    cloud.handshake_seconds = 1.1
    for number in range(4):
        assert ask(client, f"{TEXT} {number}", wait=1).headers["x-audio-engine"] == "espeak-ng"
    assert breaker.status.state == "closed"
    assert breaker.status.failures == 0
    assert ask(client, TEXT, wait=10).headers["x-audio-engine"] == "edge-tts"


def test_a_cloud_that_is_silent_for_the_usual_patience_is_left_alone(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(breaker_failures=2, patience_seconds=0.6)
    cloud.fault = Fault.MUTE
    for number in range(2):
        assert ask(client, f"{TEXT} {number}").headers["x-audio-engine"] == "espeak-ng"
    assert breaker.status.state == "open"


def test_whose_time_our_own_queue_has_used_up_is_told_so_and_given_no_other_voice(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(concurrency=1, patience_seconds=1)
    cloud.handshake_seconds = 0.7
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: ask(client, f"{TEXT} {number}"), range(6)))
    assert {answer.status_code for answer in answers} == {200, 503}
    for answer in answers:
        if answer.status_code == 200:
            assert answer.headers["x-audio-engine"] == "edge-tts"
        else:
            assert problem(answer)["type"].endswith("queue-full")
            assert int(answer.headers["retry-after"]) >= 1
    assert breaker.status.failures == 0


def test_a_short_text_is_heard_between_the_turns_of_long_ones(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(concurrency=1, patience_seconds=20)
    cloud.handshake_seconds = 0.1
    long_ended = threading.Event()

    def long() -> None:
        assert ask(client, LONG).status_code == 200
        long_ended.set()

    thread = threading.Thread(target=long)
    thread.start()
    wait_until(lambda: len(cloud.turns) >= 2, "the long one is under way")
    assert ask(client, TEXT).headers["x-audio-engine"] == "edge-tts"
    heard_before_the_long_one_ended = not long_ended.is_set()
    thread.join()
    assert heard_before_the_long_one_ended
    assert len(cloud.turns) > 10


def test_who_takes_nothing_is_not_worked_for_without_bound(tmp_path: Path) -> None:
    with (
        SpeechCloud() as cloud,
        run_service(
            tmp_path / "log.txt", AUDIO__ENDPOINT=cloud.url, AUDIO__HELD_BYTES=1_048_576, AUDIO__ANSWER_CACHE_BYTES=0
        ) as service,
        httpx.Client(base_url=service.url, timeout=20, trust_env=False) as client,
    ):
        deaf = [_deaf(service.url, {"text": f"{number} {LONG}"}) for number in range(8)]
        # Some turns each, not the fourteen that their texts need.
        assert _settled(lambda: len(cloud.turns)) <= 8 * 6
        # The others are heard meanwhile, a long one to its end.
        assert ask(client, TEXT).headers["x-audio-engine"] == "edge-tts"
        assert len(ask(client, LONG).content) > 5_000_000
        for connection in deaf:
            connection.close()


def _deaf(url: str, body: dict[str, str]) -> socket.socket:
    """A connection on which a recording is asked for, and nothing is read."""
    sent = json.dumps(body).encode()
    head = f"POST /audio HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n"
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    opened.connect((httpx.URL(url).host, httpx.URL(url).port))
    opened.sendall(head.encode() + sent)
    return opened


def _settled(count: Callable[[], int]) -> int:
    """The count once it does not rise any more."""
    last, since = count(), time.monotonic()
    while time.monotonic() - since < 1.5:
        if (now := count()) != last:
            last, since = now, time.monotonic()
        threading.Event().wait(0.02)
    return last


@pytest.mark.parametrize(
    "fields", [{"rate": "-90%"}, {"text": "図書館" * 6_600, "rate": "-50%"}], ids=["slow", "slow and wide"]
)
def test_a_recording_of_many_hours_is_refused_and_the_field_is_named(
    client: httpx.Client, cloud: SpeechCloud, fields: dict[str, str]
) -> None:
    response = client.post("/audio", json={"text": LONG, **fields})
    assert response.status_code == 422
    assert "rate" in problem(response)["detail"]
    assert "7200" in problem(response)["detail"]
    assert not cloud.turns


def test_a_wait_of_a_day_is_not_granted(client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio) -> None:
    set_audio(max_wait_seconds=1)
    cloud.fault = Fault.MUTE
    begun = time.monotonic()
    assert ask(client, TEXT, wait=86_400).headers["x-audio-engine"] == "espeak-ng"
    assert time.monotonic() - begun < 10


@pytest.mark.usefixtures("cloud")
def test_openais_default_voice_speaks(client: httpx.Client) -> None:
    response = client.post("/v1/audio/speech", json={"input": "Hello"})
    assert response.status_code == 200
    assert response.headers["x-audio-voice"] == "en-US-AvaMultilingualNeural"


@pytest.mark.parametrize(
    ("normalize", "said"), [(True, "See example.com now"), (False, "See **https://example.com/a** now")]
)
def test_marks_are_read_as_a_person_would_or_as_they_were_sent(
    client: httpx.Client, cloud: SpeechCloud, normalize: bool, said: str
) -> None:
    client.post("/audio", json={"text": "See **https://example.com/a** now", "normalize": normalize})
    assert cloud.turns[0].text == said
