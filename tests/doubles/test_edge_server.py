"""The double under the real edge-tts client: that a healthy turn is whole, and what the client makes of each fault."""

import asyncio
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import edge_tts
import httpx
import pytest
from edge_tts.drm import DRM
from edge_tts.exceptions import NoAudioReceived, UnexpectedResponse, WebSocketError
from mutagen.mp3 import MP3

from tests.doubles.edge_server import MESSAGE_BYTES, Fault, SpeechCloud, seconds_of, tone

TEXT = 'The committee met on Tuesday, "to talk" about R&D - and a well-known bridge.'
WORDS = ["The", "committee", "met", "on", "Tuesday", "to", "talk", "about", "R&D", "and", "a", "well-known", "bridge"]
FRAME_SECONDS = 0.024
MESSAGE_SECONDS = 0.12
REFUSED = aiohttp.WSServerHandshakeError
# What edge-tts 7.3.1 raises at a fault: before the first sound, and after three messages of it; how many of these are
# heard then; and of each turn whether it came to its end. TimeoutError is the patience of this test, as the library
# waits a minute for an answer to the handshake, and without limit for a message.
AT_FAULTS: list[tuple[Fault, type[Exception], type[Exception] | None, int, list[bool]]] = [
    (Fault.REFUSE, aiohttp.ClientConnectorError, aiohttp.ClientConnectorError, 0, []),
    (Fault.DNS, aiohttp.ClientConnectorDNSError, aiohttp.ClientConnectorDNSError, 0, []),
    (Fault.TLS, aiohttp.ClientConnectorSSLError, aiohttp.ClientConnectorSSLError, 0, []),
    (Fault.RESET, aiohttp.ClientOSError, aiohttp.ClientOSError, 0, []),
    (Fault.FORBIDDEN, REFUSED, REFUSED, 0, []),
    (Fault.TOO_MANY, REFUSED, REFUSED, 0, []),
    (Fault.SERVER_ERROR, REFUSED, REFUSED, 0, []),
    (Fault.UNAVAILABLE, REFUSED, REFUSED, 0, []),
    (Fault.MUTE_HANDSHAKE, TimeoutError, TimeoutError, 0, []),
    (Fault.MUTE, TimeoutError, TimeoutError, 0, [False]),
    (Fault.NO_AUDIO, NoAudioReceived, NoAudioReceived, 0, [True]),
    (Fault.CLOSE_BEFORE_AUDIO, NoAudioReceived, NoAudioReceived, 0, [False]),
    (Fault.STALL, TimeoutError, TimeoutError, 3, [False]),
    # Half a recording: the library takes it for a whole one.
    (Fault.CLOSE_AFTER_AUDIO, NoAudioReceived, None, 3, [False]),
    (Fault.CUT_MID_FRAME, NoAudioReceived, None, 3, [False]),
    (Fault.GARBAGE, WebSocketError, WebSocketError, 3, [False]),
    (Fault.GARBAGE_MESSAGE, ValueError, ValueError, 3, [False]),
    (Fault.WRONG_HEADER_LENGTH, UnexpectedResponse, UnexpectedResponse, 3, [False]),
    (Fault.HUGE, WebSocketError, WebSocketError, 3, [False]),
]
WHOLE = [Fault.NONE, Fault.DRIP]


@dataclass
class Heard:
    """What a client got: the sound, the boundaries with the seconds of sound before each, the error if any."""

    sound: bytearray = field(default_factory=bytearray)
    boundaries: list[dict[str, Any]] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    error: Exception | None = None

    @property
    def length(self) -> float:
        return float(MP3(io.BytesIO(self.sound)).info.length)


async def listen(heard: Heard, text: str, **wish: Any) -> None:
    async for chunk in edge_tts.Communicate(text, **wish).stream():
        if chunk["type"] == "audio":
            heard.sound += chunk["data"]
        else:
            heard.boundaries.append(dict(chunk))
            heard.before.append(len(heard.sound) / MESSAGE_BYTES * MESSAGE_SECONDS)


def hear(text: str = TEXT, *, patience: float = 5, **wish: Any) -> Heard:
    heard = Heard()
    try:
        asyncio.run(asyncio.wait_for(listen(heard, text, **wish), patience))
    except Exception as error:
        heard.error = error
    return heard


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[SpeechCloud]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(DRM, "clock_skew_seconds", 0.0)
    with SpeechCloud() as running:
        monkeypatch.setattr("edge_tts.communicate.WSS_URL", running.url)
        monkeypatch.setattr("edge_tts.voices.VOICE_LIST", running.voices_url)
        yield running


def test_a_healthy_turn_is_whole(cloud: SpeechCloud) -> None:
    heard = hear(f" {TEXT}\n", voice="en-GB-SoniaNeural", rate="-20%", volume="+5%", pitch="+7Hz")
    assert heard.error is None
    assert heard.length == pytest.approx(seconds_of(TEXT), abs=FRAME_SECONDS / 2)
    duration = round(seconds_of(TEXT) * 1e7)
    assert heard.boundaries == [{"type": "SentenceBoundary", "offset": 0, "duration": duration, "text": TEXT}]
    [turn] = cloud.turns
    assert turn.ended.is_set()
    assert turn.text == TEXT
    assert turn.voice == "Microsoft Server Speech Text to Speech Voice (en-GB, SoniaNeural)"
    assert turn.prosody == {"rate": "-20%", "volume": "+5%", "pitch": "+7Hz"}
    assert json.loads(turn.config)["context"]["synthesis"]["audio"]["outputFormat"].startswith("audio-24khz-48kbit")
    assert turn.sent == -(-len(heard.sound) // MESSAGE_BYTES)


@pytest.mark.usefixtures("cloud")
def test_words_come_just_before_their_sound() -> None:
    heard = hear(boundary="WordBoundary")
    assert [word["text"] for word in heard.boundaries] == WORDS
    starts = [word["offset"] / 1e7 for word in heard.boundaries]
    ends = [start + word["duration"] / 1e7 for start, word in zip(starts, heard.boundaries, strict=True)]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert (starts[0], starts[-1]) == (0, pytest.approx(TEXT.index("bridge") * seconds_of("a")))
    assert ends[-1] < heard.length
    assert all(start - MESSAGE_SECONDS < heard <= start for start, heard in zip(starts, heard.before, strict=True))


def test_turns_one_after_the_other_play_as_one_recording(cloud: SpeechCloud) -> None:
    heard = hear("Seven words are in this short sentence. " * 220)
    assert len(cloud.turns) == 3
    assert heard.length == pytest.approx(sum(seconds_of(turn.text) for turn in cloud.turns), abs=0.1)
    lengths = [FRAME_SECONDS * n / 2 for n in range(100)]
    assert MP3(io.BytesIO(b"".join(map(tone, lengths)))).info.length == pytest.approx(sum(lengths), abs=0.1)


def test_punctuation_alone_is_a_turn_without_sound(cloud: SpeechCloud) -> None:
    assert isinstance(hear("...?! -").error, NoAudioReceived)
    assert cloud.turns[0].ended.is_set()


def test_markup_that_is_not_well_formed_is_refused(cloud: SpeechCloud) -> None:
    async def closing_code() -> int | None:
        url = f"{cloud.url}&ConnectionId=1&Sec-MS-GEC={DRM.generate_sec_ms_gec()}&Sec-MS-GEC-Version=1"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as websocket:
            await websocket.send_str("Path:speech.config\r\n\r\n{}")
            await websocket.send_str("Path:ssml\r\n\r\n<speak>")
            await websocket.receive()
            return websocket.close_code

    assert asyncio.run(closing_code()) == 1007
    assert (cloud.turns[0].config, cloud.turns[0].ssml) == ("{}", "<speak>")


@pytest.mark.parametrize(("ahead", "handshakes"), [(290, 1), (-290, 1), (3600, 2), (-86_400, 2)])
def test_a_clock_that_is_wrong_is_set_by_the_refusal(cloud: SpeechCloud, ahead: float, handshakes: int) -> None:
    cloud.clock_offset_seconds = ahead
    assert hear("One").error is None
    assert cloud.handshakes == handshakes
    if handshakes == 2:
        assert pytest.approx(ahead, abs=2) == DRM.clock_skew_seconds


def test_a_wrong_or_missing_token_is_refused(cloud: SpeechCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_tts.communicate.WSS_URL", cloud.url.replace("loopback", "stranger"))
    assert isinstance(hear().error, REFUSED)
    assert (cloud.handshakes, cloud.turns) == (2, [])
    for url in (cloud.url.replace("ws:", "http:"), cloud.voices_url, f"{cloud.voices_url}&Sec-MS-GEC=0"):
        answer = httpx.get(url, trust_env=False)
        assert answer.status_code == 403
        assert answer.headers["date"]


def test_sound_keeps_the_pace(cloud: SpeechCloud) -> None:
    cloud.pace = 8
    cloud.handshake_seconds = 0.3
    begun = time.monotonic()
    heard = hear()
    taken = time.monotonic() - begun
    waited = (cloud.turns[0].first_sent_at or 0) - begun
    assert 0.3 < waited < 1
    assert heard.length / 8 - FRAME_SECONDS < taken - waited < heard.length / 8 + 0.7


def test_turns_at_once_are_counted(cloud: SpeechCloud) -> None:
    async def together() -> None:
        await asyncio.gather(*(listen(Heard(), text) for text in ("One and one", "Two and two")))

    cloud.pace = 2
    hear("One")
    assert cloud.turns[0].closed.wait(3)
    assert cloud.max_connections_seen == 1
    asyncio.run(together())
    assert cloud.max_connections_seen == 2


def test_only_the_last_turns_are_kept_if_so_wished(cloud: SpeechCloud) -> None:
    cloud.keep_turns = 2
    for text in ("One", "Two", "Three"):
        hear(text)
    assert [turn.text for turn in cloud.turns] == ["Two", "Three"]


def test_no_fault_is_forgotten_here() -> None:
    assert {*WHOLE, *(fault for fault, *_ in AT_FAULTS)} == set(Fault)


@pytest.mark.parametrize("fault", WHOLE, ids=lambda fault: fault.value)
def test_the_library_hears_the_whole_of_a_turn_without_a_fault_however_slow(cloud: SpeechCloud, fault: Fault) -> None:
    cloud.fault = fault
    cloud.drip_seconds = 0.01
    heard = hear()
    assert heard.error is None
    assert heard.length == pytest.approx(seconds_of(TEXT), abs=FRAME_SECONDS)
    [turn] = cloud.turns
    assert turn.closed.wait(3)
    assert turn.ended.is_set()


@pytest.mark.parametrize(
    ("fault", "messages_before", "error", "messages", "ended"),
    [
        pytest.param(fault, before, error, messages, ended, id=f"{fault.value}-{before}")
        for fault, at_first, later, heard, ended in AT_FAULTS
        for before, error, messages in ((0, at_first, 0), (3, later, heard))
    ],
)
def test_what_the_library_does_at_a_fault(
    cloud: SpeechCloud,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    messages_before: int,
    error: type[Exception] | None,
    messages: int,
    ended: list[bool],
) -> None:
    monkeypatch.setattr("edge_tts.communicate.WSS_URL", cloud.endpoint(fault))
    cloud.fault = fault
    cloud.messages_before = messages_before
    # Long enough for the handshake on a busy machine.
    heard = hear(patience=1.5 if error is TimeoutError else 5)
    assert type(heard.error) is (error or type(None)), repr(heard.error)
    assert len(heard.sound) == messages * MESSAGE_BYTES
    assert all(turn.closed.wait(3) for turn in cloud.turns)
    assert [turn.ended.is_set() for turn in cloud.turns] == ended


def test_a_403_is_asked_again(cloud: SpeechCloud) -> None:
    cloud.upcoming.append(Fault.FORBIDDEN)
    assert (hear().error, cloud.handshakes) == (None, 2)


@pytest.mark.parametrize(
    ("fault", "status", "has_retry_after"),
    [(Fault.TOO_MANY, 429, True), (Fault.SERVER_ERROR, 500, False), (Fault.UNAVAILABLE, 503, False)],
    ids=["429", "500", "503"],
)
def test_no_other_refusal_is_asked_again(cloud: SpeechCloud, fault: Fault, status: int, has_retry_after: bool) -> None:
    cloud.upcoming.append(fault)
    heard = hear()
    assert isinstance(heard.error, REFUSED)
    assert (heard.error.status, cloud.handshakes) == (status, 1)
    assert ("Retry-After" in (heard.error.headers or {})) == has_retry_after


def test_a_client_who_leaves_is_noticed(cloud: SpeechCloud) -> None:
    cloud.pace = 0.01
    assert isinstance(hear(patience=0.3).error, TimeoutError)
    assert cloud.turns[0].closed.wait(3)
    assert cloud.turns[0].sent == 1


def test_voices_are_listed(cloud: SpeechCloud) -> None:
    cloud.clock_offset_seconds = 3600
    voices = asyncio.run(edge_tts.list_voices())
    assert voices == cloud.voices
    assert voices[0]["Name"] == "Microsoft Server Speech Text to Speech Voice (en-US, ChristopherNeural)"
    cloud.voices_status = 503
    with pytest.raises(aiohttp.ClientResponseError, match="503"):
        asyncio.run(edge_tts.list_voices())


def test_it_runs_from_a_shell(cloud: SpeechCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "tests.doubles.edge_server", "--fault", "close-after-audio", "--keep-turns", "9"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        monkeypatch.setattr("edge_tts.communicate.WSS_URL", process.stdout.readline().strip())
        assert len(hear().sound) == cloud.messages_before * MESSAGE_BYTES
        # Not by SIGINT, which a process that was started in the background ignores.
        process.terminate()
        assert process.wait(5) == -signal.SIGTERM
