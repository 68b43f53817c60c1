"""A loopback double of Microsoft Edge's read-aloud cloud, as edge-tts 7.3.1 speaks with it, that fails by name.

It checks the token of the handshake, reads speech.config and SSML, and answers with real MP3 (a tone, as long as the
text is) and with the boundaries of its words (what lies between spaces) or of the whole. In a test:

    with SpeechCloud() as cloud:
        monkeypatch.setattr(edge_tts.communicate, "WSS_URL", cloud.url)
        monkeypatch.setattr(edge_tts.voices, "VOICE_LIST", cloud.voices_url)
        cloud.upcoming.append(Fault.FORBIDDEN)  # the next connection only
        cloud.fault = Fault.STALL  # all after it
        cloud.turns[0].text, cloud.turns[0].voice, cloud.turns[0].prosody

From a shell, with sound eight times as fast as it plays:

    python -m tests.doubles.edge_server --port 8765 --fault none --pace 8 --handshake-seconds 0.2
"""

import argparse
import asyncio
import json
import math
import re
import socket
import struct
import threading
import time
import unicodedata
from array import array
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum
from functools import lru_cache
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import lameenc
from aiohttp import WSMsgType, web
from edge_tts.drm import generate_sec_ms_gec_v2

CLIENT_TOKEN = "loopback"
TOKEN_SECONDS = 300  # a Sec-MS-GEC is made of the time, rounded down to five minutes
PATH = "/edge/v1"
VOICES_PATH = "/voices/list"
SPEAK = "{http://www.w3.org/2001/10/synthesis}"
TICKS_PER_SECOND = 10_000_000
SECONDS_PER_CHARACTER = 0.06
SAMPLE_RATE = 24_000
BIT_RATE_KBPS = 48
BYTES_PER_SECOND = BIT_RATE_KBPS * 1000 // 8
FRAME_SAMPLES = 576  # an MP3 frame: 24 ms
FRAME_BYTES = 144
MESSAGE_BYTES = 5 * FRAME_BYTES
TONE_HERTZ = 400  # a message holds 48 whole periods
HUGE_BYTES = 5 * 1024 * 1024  # aiohttp's client takes 4 MB
RETRY_AFTER_SECONDS = 2
POLL_SECONDS = 0.01


class Fault(Enum):
    """What goes wrong with a connection."""

    NONE = "none"
    # In the address that `endpoint` gives; what comes to `url` all the same has a healthy turn.
    REFUSE = "refuse"  # nothing listens
    DNS = "dns"  # the host does not exist
    TLS = "tls"  # the port speaks no TLS
    # Instead of the handshake.
    RESET = "reset"  # the TCP connection is reset
    FORBIDDEN = "forbidden"  # 403
    TOO_MANY = "too-many"  # 429 with Retry-After
    SERVER_ERROR = "server-error"  # 500
    UNAVAILABLE = "unavailable"  # 503
    MUTE_HANDSHAKE = "mute-handshake"  # TCP is accepted, the handshake is never answered
    # Instead of the sound.
    MUTE = "mute"  # accepts and listens, says nothing, and answers no closing handshake
    NO_AUDIO = "no-audio"  # a complete turn without a sound
    CLOSE_BEFORE_AUDIO = "close-before-audio"  # an orderly close once the SSML is there
    # After `messages_before` audio messages, or all of a shorter text, and in any case before turn.end.
    STALL = "stall"  # nothing more, not even an answer to a closing handshake
    CLOSE_AFTER_AUDIO = "close-after-audio"  # an orderly close
    CUT_MID_FRAME = "cut-mid-frame"  # the TCP connection ends in the middle of a WebSocket frame
    GARBAGE = "garbage"  # bytes that are no WebSocket frame
    GARBAGE_MESSAGE = "garbage-message"  # a binary message that is no audio message
    WRONG_HEADER_LENGTH = "wrong-header-length"  # a binary message that is shorter than its header should be
    HUGE = "huge"  # 5 MB of sound in one frame
    # All the time.
    DRIP = "drip"  # `drip_seconds` between audio messages


REFUSALS = {Fault.FORBIDDEN: 403, Fault.TOO_MANY: 429, Fault.SERVER_ERROR: 500, Fault.UNAVAILABLE: 503}
WRITES = {Fault.CUT_MID_FRAME, Fault.GARBAGE, Fault.GARBAGE_MESSAGE, Fault.WRONG_HEADER_LENGTH, Fault.HUGE}
STRIKES = {Fault.STALL, Fault.CLOSE_AFTER_AUDIO} | WRITES


@dataclass
class Turn:
    """One WebSocket: what the client sent, and how far it got."""

    config: str = ""
    ssml: str = ""
    sent: int = 0  # audio messages so far
    first_sent_at: float | None = None  # `time.monotonic()` just before the first; Linux has one for all processes
    ended: threading.Event = field(default_factory=threading.Event)  # the turn was sent whole, with its turn.end
    closed: threading.Event = field(default_factory=threading.Event)  # the connection is gone

    @property
    def text(self) -> str:
        """The text inside the SSML, unescaped; raises ParseError when that is not well-formed."""
        return "".join(ElementTree.fromstring(self.ssml).itertext())

    @property
    def voice(self) -> str:
        return self._attributes(f"{SPEAK}voice")["name"]

    @property
    def prosody(self) -> dict[str, str]:
        """`pitch`, `rate` and `volume` as they were sent."""
        return self._attributes(f"{SPEAK}voice/{SPEAK}prosody")

    def _attributes(self, path: str) -> dict[str, str]:
        element = ElementTree.fromstring(self.ssml).find(path)
        assert element is not None
        return dict(element.attrib)


class SpeechCloud:
    """The double, on a thread and an event loop of its own; a context manager, or `start` and `stop`.

    All attributes may be changed while it runs. `fault` is for every connection, except that the next ones first use up
    `upcoming`. `turns` holds the WebSockets that were opened, in order (the last `keep_turns` of them, when set);
    `handshakes` counts those that were refused as well.
    """

    def __init__(self, fault: Fault = Fault.NONE, port: int = 0) -> None:
        self.fault = fault
        self.upcoming: deque[Fault] = deque()
        self.messages_before = 3
        self.drip_seconds = 0.05
        self.handshake_seconds = 0.0  # how long a handshake waits for its answer
        self.pace = 0.0  # how many times faster the sound is sent than it plays; 0 for as fast as possible
        self.clock_offset_seconds = 0.0  # how far the clock that tokens are checked by is ahead of the machine's
        self.voices = [
            voice_entry("en-US-ChristopherNeural", "Male", "English (United States)"),
            voice_entry("en-US-AriaNeural", "Female", "English (United States)"),
            voice_entry("de-DE-KatjaNeural", "Female", "German (Germany)"),
            voice_entry("zh-CN-liaoning-XiaobeiNeural", "Female", "Chinese (Northeastern Mandarin, Simplified)"),
        ]
        self.voices_status = 200
        self.keep_turns: int | None = None
        self.turns: list[Turn] = []
        self.handshakes = 0
        self.max_connections_seen = 0  # the largest number of turns that were open at the same time
        self._connections = 0
        self._port = port
        self._dead_port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="speech-cloud", daemon=True)

    @property
    def url(self) -> str:
        """In place of `edge_tts.communicate.WSS_URL`; after `stop` nothing listens there."""
        return self.endpoint(Fault.NONE)

    @property
    def voices_url(self) -> str:
        """In place of `edge_tts.voices.VOICE_LIST`."""
        return f"http://127.0.0.1:{self._port}{VOICES_PATH}?trustedclienttoken={CLIENT_TOKEN}"

    def endpoint(self, fault: Fault) -> str:
        """Where a client meets `fault`: an address that cannot be reached, or `url` where `fault` has to be set."""
        scheme, host, port = "ws", "127.0.0.1", self._port
        if fault is Fault.REFUSE:
            port = self._dead_port
        elif fault is Fault.DNS:
            host = "speech-cloud.invalid"
        elif fault is Fault.TLS:
            scheme = "wss"
        return f"{scheme}://{host}:{port}{PATH}?TrustedClientToken={CLIENT_TOKEN}"

    def start(self) -> "SpeechCloud":
        self._thread.start()
        self._started.wait(10)
        if self._failure:
            raise self._failure
        return self

    def stop(self) -> None:
        if self._thread.is_alive() and self._loop:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)

    def __enter__(self) -> "SpeechCloud":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        app = web.Application()
        app.router.add_get(PATH, self._handshake)
        app.router.add_get(VOICES_PATH, self._list_voices)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        # Bound, but not listened at: connections are refused, and nobody else can get the port.
        with socket.socket() as dead:
            dead.bind(("127.0.0.1", 0))
            self._dead_port = dead.getsockname()[1]
            try:
                await web.TCPSite(runner, "127.0.0.1", self._port).start()
                self._port = runner.addresses[0][1]
                self._started.set()
                await self._stopping.wait()
            finally:
                await runner.cleanup()
                # A connection that was closed just now is let go in the loop's next turn.
                await asyncio.sleep(0)

    def _now(self) -> float:
        return time.time() + self.clock_offset_seconds

    def _admits(self, request: web.Request, *others: str) -> bool:
        """Whether the query has both tokens, that of the neighbouring five minutes included, and the `others`."""
        query = {name.lower(): value for name, value in request.query.items()}
        window = int(self._now() // TOKEN_SECONDS)
        return (
            query.get("trustedclienttoken") == CLIENT_TOKEN
            and query.get("sec-ms-gec") in {_token(window + step) for step in (-1, 0, 1)}
            and all(query.get(name) for name in ("sec-ms-gec-version", *others))
        )

    def _refusal(self, status: int) -> web.Response:
        # edge-tts sets its clock by the Date of a 403.
        headers = {"Date": formatdate(self._now(), usegmt=True)}
        if status == 429:
            headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return web.Response(status=status, headers=headers)

    async def _list_voices(self, request: web.Request) -> web.Response:
        if not self._admits(request):
            return self._refusal(403)
        return web.json_response(self.voices) if self.voices_status == 200 else self._refusal(self.voices_status)

    async def _handshake(self, request: web.Request) -> web.StreamResponse:
        self.handshakes += 1
        await asyncio.sleep(self.handshake_seconds)
        if not self._admits(request, "connectionid"):
            return self._refusal(403)
        fault = self.upcoming.popleft() if self.upcoming else self.fault
        if fault in REFUSALS:
            return self._refusal(REFUSALS[fault])
        if fault is Fault.RESET:
            return _reset(request)
        if fault is Fault.MUTE_HANDSHAKE:
            await self._until_gone(request)
            return web.Response()
        websocket = web.WebSocketResponse(compress=True)
        await websocket.prepare(request)
        turn = self._new_turn()
        try:
            with suppress(ConnectionError):
                await self._take_turn(request, websocket, turn, fault)
        finally:
            self._connections -= 1
            turn.closed.set()
        return websocket

    def _new_turn(self) -> Turn:
        turn = Turn()
        self.turns.append(turn)
        if self.keep_turns is not None:
            del self.turns[: max(0, len(self.turns) - self.keep_turns)]
        self._connections += 1
        self.max_connections_seen = max(self.max_connections_seen, self._connections)
        return turn

    async def _take_turn(
        self, request: web.Request, websocket: web.WebSocketResponse, turn: Turn, fault: Fault
    ) -> None:
        turn.config = await _received(websocket, "speech.config")
        turn.ssml = await _received(websocket, "ssml")
        try:
            text = turn.text.strip()
        except ElementTree.ParseError:
            await websocket.close(code=1007, message=b"SSML parsing error")
            return
        if fault is Fault.CLOSE_BEFORE_AUDIO:
            await websocket.close()
            return
        if fault is Fault.MUTE:
            await self._until_gone(request)
            return
        await websocket.send_str(_text_message("turn.start", {"context": {"serviceTag": CLIENT_TOKEN}}))
        await websocket.send_str(_text_message("response", {"context": {}, "audio": {"type": "inline"}}))
        if fault is not Fault.NO_AUDIO and not await self._send_sound(websocket, turn, fault, text):
            return
        if fault in STRIKES:
            await self._strike(request, websocket, fault)
        else:
            await websocket.send_str(_text_message("turn.end", {}))
            turn.ended.set()
            await websocket.receive()

    async def _send_sound(self, websocket: web.WebSocketResponse, turn: Turn, fault: Fault, text: str) -> bool:
        """Send sound and metadata, up to where the fault strikes if it does; false when the client has left."""
        sound = tone(seconds_of(text))
        by_word = re.search(r'"wordBoundaryEnabled"\s*:\s*"?true', turn.config) is not None
        words = deque(_words(text) if by_word else ())
        goodbye = asyncio.create_task(websocket.receive())
        try:
            started = time.monotonic()
            for at in range(0, len(sound), MESSAGE_BYTES):
                if fault in STRIKES and turn.sent >= self.messages_before:
                    return True
                seconds = min(at + MESSAGE_BYTES, len(sound)) / BYTES_PER_SECOND
                while words and words[0][0] * SECONDS_PER_CHARACTER < seconds:
                    start, word = words.popleft()
                    await websocket.send_str(_boundary("WordBoundary", word, start))
                turn.first_sent_at = turn.first_sent_at or time.monotonic()
                await websocket.send_bytes(_audio_message(sound[at : at + MESSAGE_BYTES]))
                turn.sent += 1
                pause = self.drip_seconds if fault is Fault.DRIP else 0.0
                if self.pace > 0:
                    # By the clock and not by the message, so that no delay adds up.
                    pause = max(pause, started + seconds / self.pace - time.monotonic())
                await (asyncio.wait({goodbye}, timeout=pause) if pause > 0 else asyncio.sleep(0))
                if goodbye.done():
                    return False
        finally:
            # Otherwise it would go on to answer a closing handshake.
            goodbye.cancel()
            await asyncio.wait({goodbye})
        if sound and fault not in STRIKES:
            if not by_word:
                await websocket.send_str(_boundary("SentenceBoundary", text))
            await websocket.send_bytes(_audio_message(b""))
        return True

    async def _strike(self, request: web.Request, websocket: web.WebSocketResponse, fault: Fault) -> None:
        if fault is Fault.STALL:
            await self._until_gone(request)
        elif fault is Fault.CLOSE_AFTER_AUDIO:
            await websocket.close()
        elif request.transport is not None:
            request.transport.write(_wire(fault))
            if fault is Fault.CUT_MID_FRAME:
                request.transport.close()
            await websocket.receive()

    async def _until_gone(self, request: web.Request) -> None:
        """Until the client breaks the connection, which a peer that reads nothing only learns from TCP."""
        while request.transport is not None and not request.transport.is_closing() and not self._stopping.is_set():
            await asyncio.sleep(POLL_SECONDS)


def seconds_of(text: str) -> float:
    """How long the double speaks for `text`, to half an MP3 frame; a text without letter and digit has no sound."""
    text = text.strip()
    return len(text) * SECONDS_PER_CHARACTER if any(map(str.isalnum, text)) else 0.0


def tone(seconds: float) -> bytes:
    """A whole MP3 in the cloud's only format, to the nearest frame; such recordings may be put one after the other."""
    size = round(round(seconds * SAMPLE_RATE) / FRAME_SAMPLES) * FRAME_BYTES
    opening, cycle = _tone_frames()
    return (opening + cycle * (size // MESSAGE_BYTES))[:size]


def voice_entry(short_name: str, gender: str, language: str) -> dict[str, object]:
    """An entry of the list of voices."""
    locale, _, name = short_name.rpartition("-")
    return {
        "Name": f"Microsoft Server Speech Text to Speech Voice ({locale}, {name})",
        "ShortName": short_name,
        "Gender": gender,
        "Locale": locale,
        "SuggestedCodec": "audio-24khz-48kbitrate-mono-mp3",
        "FriendlyName": f"Microsoft {name.removesuffix('Neural')} Online (Natural) - {language}",
        "Status": "GA",
        "VoiceTag": {"ContentCategories": ["General"], "VoicePersonalities": ["Friendly", "Positive"]},
    }


@lru_cache(maxsize=1)
def _tone_frames() -> tuple[bytes, bytes]:
    """The frames that open a tone of any length, and the five that the encoder repeats once its reservoir is full."""
    encoder = lameenc.Encoder()
    encoder.set_in_sample_rate(SAMPLE_RATE)
    encoder.set_channels(1)
    encoder.set_bit_rate(BIT_RATE_KBPS)
    encoder.set_quality(7)
    samples = (round(8000 * math.sin(2 * math.pi * n * TONE_HERTZ / SAMPLE_RATE)) for n in range(3 * SAMPLE_RATE))
    mp3 = bytes(encoder.encode(array("h", samples).tobytes()) + encoder.flush())
    settled = 10 * MESSAGE_BYTES
    return mp3[:settled], mp3[settled : settled + MESSAGE_BYTES]


@lru_cache(maxsize=8)
def _token(window: int) -> str:
    return generate_sec_ms_gec_v2(window * TOKEN_SECONDS)


def _boundary(kind: str, text: str, start: int = 0) -> str:
    """The message for a word or sentence that begins with the character number `start`."""
    offset, duration = (round(n * SECONDS_PER_CHARACTER * TICKS_PER_SECOND) for n in (start, len(text)))
    # The cloud escapes the text for XML, although it is in JSON.
    escaped = {"Text": escape(text), "Length": len(text), "BoundaryType": kind}
    data = {"Offset": offset, "Duration": duration, "text": escaped}
    return _text_message("audio.metadata", {"Metadata": [{"Type": kind, "Data": data}]})


def _words(text: str) -> Iterator[tuple[int, str]]:
    """Start and text of what lies between spaces, without punctuation around it, if a letter or digit is left."""
    punctuation = "".join(character for character in set(text) if unicodedata.category(character).startswith("P"))
    for match in re.finditer(r"\S+", text):
        word = match.group().strip(punctuation)
        if any(map(str.isalnum, word)):
            yield match.start() + match.group().index(word), word


async def _received(websocket: web.WebSocketResponse, path: str) -> str:
    """The body of the next message, which must be for `path`."""
    message = await websocket.receive()
    head, _, body = str(message.data).partition("\r\n\r\n")
    if message.type is not WSMsgType.TEXT or f"Path:{path}" not in head.split("\r\n"):
        raise ConnectionError(f"no {path} message")
    return body


def _text_message(path: str, body: object) -> str:
    head = f"X-RequestId:{CLIENT_TOKEN}\r\nContent-Type:application/json; charset=utf-8\r\nPath:{path}\r\n\r\n"
    return head + json.dumps(body)


def _audio_message(sound: bytes) -> bytes:
    """Two bytes with the length of the header, the header, the sound; without a sound there is no Content-Type."""
    media_type = "Content-Type:audio/mpeg\r\n" if sound else ""
    header = f"X-RequestId:{CLIENT_TOKEN}\r\n{media_type}X-StreamId:{CLIENT_TOKEN}\r\nPath:audio\r\n".encode()
    return len(header).to_bytes(2, "big") + header + sound


def _wire(fault: Fault) -> bytes:
    """What a fault of WRITES puts on the wire: garbage, or a binary message in an uncompressed WebSocket frame."""
    if fault is Fault.GARBAGE:
        return b"\xff" * 32
    message = _audio_message(tone(HUGE_BYTES / BYTES_PER_SECOND if fault is Fault.HUGE else 0.12))
    if fault is Fault.WRONG_HEADER_LENGTH:
        message = b"\xff\xff" + message[2:]
    if fault is Fault.GARBAGE_MESSAGE:
        message = b"\x00\x12no audio message, nor any other of the cloud"
    frame = b"\x82\x7f" + len(message).to_bytes(8, "big") + message
    return frame[: len(frame) // 2] if fault is Fault.CUT_MID_FRAME else frame


def _reset(request: web.Request) -> web.Response:
    """Break the TCP connection with RST instead of FIN."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a loopback double of Edge's speech cloud until interrupted.")
    parser.add_argument("--port", type=int, default=0, help="port to listen on, 0 for a free one")
    parser.add_argument("--fault", choices=[fault.value for fault in Fault], default=Fault.NONE.value)
    parser.add_argument("--pace", type=float, default=0.0, help="times real time; 0 for as fast as possible")
    parser.add_argument("--handshake-seconds", type=float, default=0.0, help="delay of each handshake's answer")
    parser.add_argument("--keep-turns", type=int, help="turns to remember, for long runs; all when not given")
    options = parser.parse_args()
    cloud = SpeechCloud(Fault(options.fault), options.port)
    cloud.pace = options.pace
    cloud.handshake_seconds = options.handshake_seconds
    cloud.keep_turns = options.keep_turns
    with cloud, suppress(KeyboardInterrupt):
        print(cloud.endpoint(cloud.fault), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
