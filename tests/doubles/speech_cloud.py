"""A loopback double of the speech cloud: speaks the WebSocket protocol of edge-tts 7.3.1 and sends real MP3.

    with SpeechCloud() as cloud:
        ...  # FACTORY_AUDIO__ENDPOINT=cloud.url
        cloud.behaviour = Behaviour.STALL_AFTER_AUDIO
        cloud.turns[0].ssml

From a shell: python -m tests.doubles.speech_cloud --port 8765 --behaviour ok
"""

import argparse
import asyncio
import itertools
import json
import math
import threading
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from types import TracebackType
from xml.etree import ElementTree

import lameenc
from aiohttp import WSMsgType, web

SAMPLE_RATE = 24_000
BIT_RATE_KBPS = 48
TONE_HERTZ = 400
SECONDS_PER_CHARACTER = 0.06
# Five MP3 frames of 24 ms, as the cloud sends them.
FRAMES_BYTES = 720
TICKS_PER_SECOND = 10_000_000
PATH = "/edge/v1"
SPEAK = "{http://www.w3.org/2001/10/synthesis}"
POLL_SECONDS = 0.01


class Behaviour(Enum):
    """What the cloud does with a connection."""

    OK = "ok"
    RESET = "reset"  # the TCP connection is reset at the handshake
    FORBIDDEN = "forbidden"  # the handshake is answered 403
    SERVER_ERROR = "server-error"  # the handshake is answered 500
    MUTE_HANDSHAKE = "mute-handshake"  # the handshake is never answered
    NO_AUDIO = "no-audio"  # a complete turn without a sound
    CLOSE_BEFORE_AUDIO = "close-before-audio"
    CLOSE_AFTER_AUDIO = "close-after-audio"  # `messages_before` audio messages, then a close without turn.end
    STALL_BEFORE_AUDIO = "stall-before-audio"  # says nothing, and answers no closing handshake either
    STALL_AFTER_AUDIO = "stall-after-audio"  # the same, after `messages_before` audio messages
    DRIP = "drip"  # `drip_seconds` between audio messages


@dataclass
class Turn:
    """One connection: what the client sent, and how far it got."""

    config: str = ""
    ssml: str = ""
    sent: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    """The recording was sent whole, with its turn.end."""
    closed: threading.Event = field(default_factory=threading.Event)
    """The connection is gone."""

    @property
    def text(self) -> str:
        """The text inside the SSML, unescaped; raises ParseError when that is not well-formed."""
        return "".join(ElementTree.fromstring(self.ssml).itertext())

    @property
    def voice(self) -> str:
        voice = ElementTree.fromstring(self.ssml).find(f"{SPEAK}voice")
        assert voice is not None
        return voice.attrib["name"]

    @property
    def prosody(self) -> dict[str, str]:
        """`pitch`, `rate` and `volume` as they were sent."""
        prosody = ElementTree.fromstring(self.ssml).find(f"{SPEAK}voice/{SPEAK}prosody")
        assert prosody is not None
        return dict(prosody.attrib)


class SpeechCloud:
    """The double, on a thread and an event loop of its own; a context manager, or `start` and `stop`.

    `behaviour` is for every connection, except that the next ones first use up `upcoming`. `turns` holds every
    WebSocket that was opened, in order; `handshakes` counts those that were refused as well.
    """

    def __init__(self, behaviour: Behaviour = Behaviour.OK, port: int = 0) -> None:
        self.behaviour = behaviour
        self.upcoming: deque[Behaviour] = deque()
        self.messages_before = 3
        self.drip_seconds = 0.05
        self.turns: list[Turn] = []
        self.handshakes = 0
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="speech-cloud", daemon=True)

    @property
    def url(self) -> str:
        """The value for FACTORY_AUDIO__ENDPOINT; after `stop` nothing listens there."""
        return f"ws://127.0.0.1:{self._port}{PATH}?TrustedClientToken=loopback"

    def start(self) -> "SpeechCloud":
        self._thread.start()
        self._started.wait(10)
        if self._failure:
            raise self._failure
        return self

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)

    def __enter__(self) -> "SpeechCloud":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failure = error
            self._started.set()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get(PATH, self._handshake)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self._port).start()
            self._port = runner.addresses[0][1]
            self._started.set()
            await self._stopping.wait()
        finally:
            await runner.cleanup()

    async def _handshake(self, request: web.Request) -> web.StreamResponse:
        behaviour = self.upcoming.popleft() if self.upcoming else self.behaviour
        self.handshakes += 1
        if behaviour is Behaviour.FORBIDDEN:
            return web.Response(status=403)
        if behaviour is Behaviour.SERVER_ERROR:
            return web.Response(status=500)
        if behaviour is Behaviour.RESET:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if behaviour is Behaviour.MUTE_HANDSHAKE:
            await self._hang(request)
            return web.Response()
        websocket = web.WebSocketResponse(compress=True)
        await websocket.prepare(request)
        turn = Turn()
        self.turns.append(turn)
        try:
            await self._take_turn(request, websocket, turn, behaviour)
        except ConnectionError:
            pass
        finally:
            turn.closed.set()
        return websocket

    async def _take_turn(
        self, request: web.Request, websocket: web.WebSocketResponse, turn: Turn, behaviour: Behaviour
    ) -> None:
        turn.config = await _received(websocket, "speech.config")
        turn.ssml = await _received(websocket, "ssml")
        try:
            text = turn.text
        except ElementTree.ParseError:
            await websocket.close(code=1007, message=b"SSML parsing error")
            return
        if behaviour is Behaviour.CLOSE_BEFORE_AUDIO:
            await websocket.close()
            return
        if behaviour is Behaviour.STALL_BEFORE_AUDIO:
            await self._hang(request)
            return
        await websocket.send_str(_text_message("turn.start", {"context": {"serviceTag": "loopback"}}))
        await websocket.send_str(_text_message("response", {"context": {}, "audio": {"type": "inline"}}))
        if behaviour is not Behaviour.NO_AUDIO:
            if not await self._send_audio(websocket, turn, behaviour, text):
                if behaviour is Behaviour.STALL_AFTER_AUDIO:
                    await self._hang(request)
                return
            await websocket.send_str(_text_message("audio.metadata", _metadata(text)))
        await websocket.send_str(_text_message("turn.end", {}))
        turn.ended.set()
        await websocket.receive()

    async def _send_audio(self, websocket: web.WebSocketResponse, turn: Turn, behaviour: Behaviour, text: str) -> bool:
        """Send the recording; whether it was sent to its end."""
        cut = behaviour in (Behaviour.CLOSE_AFTER_AUDIO, Behaviour.STALL_AFTER_AUDIO)
        goodbye = asyncio.create_task(websocket.receive())
        try:
            for audio in _pieces(tone(seconds_of(text))):
                if cut and turn.sent == self.messages_before:
                    return False
                await websocket.send_bytes(_audio_message(audio))
                turn.sent += 1
                if behaviour is Behaviour.DRIP:
                    await asyncio.wait({goodbye}, timeout=self.drip_seconds)
                if goodbye.done():
                    return False
            await websocket.send_bytes(_audio_message(b""))
            return True
        finally:
            goodbye.cancel()
            await asyncio.wait({goodbye})
            if cut and behaviour is Behaviour.CLOSE_AFTER_AUDIO:
                await websocket.close()

    async def _hang(self, request: web.Request) -> None:
        """Until the client breaks the connection, which a peer that reads nothing only learns from TCP."""
        while request.transport is not None and not request.transport.is_closing() and not self._stopping.is_set():
            await asyncio.sleep(POLL_SECONDS)


def seconds_of(text: str) -> float:
    """How long the double speaks for `text`, before the encoder's padding of up to 0.1 s."""
    return len(text) * SECONDS_PER_CHARACTER


@lru_cache(maxsize=8)
def tone(seconds: float) -> bytes:
    """A whole MP3 in the cloud's only format: 24 kHz, 48 kbit/s, mono."""
    encoder = lameenc.Encoder()
    encoder.set_in_sample_rate(SAMPLE_RATE)
    encoder.set_channels(1)
    encoder.set_bit_rate(BIT_RATE_KBPS)
    encoder.set_quality(7)
    period = [
        int(8000 * math.sin(2 * math.pi * n * TONE_HERTZ / SAMPLE_RATE)) for n in range(SAMPLE_RATE // TONE_HERTZ)
    ]
    samples = array("h", itertools.islice(itertools.cycle(period), round(seconds * SAMPLE_RATE)))
    return bytes(encoder.encode(samples.tobytes()) + encoder.flush())


def _pieces(mp3: bytes) -> Iterator[bytes]:
    return (mp3[at : at + FRAMES_BYTES] for at in range(0, len(mp3), FRAMES_BYTES))


async def _received(websocket: web.WebSocketResponse, path: str) -> str:
    """The body of the next message, which must be for `path`."""
    message = await websocket.receive()
    if message.type is not WSMsgType.TEXT:
        raise ConnectionError(f"{message.type.name} in place of {path}")
    head, _, body = message.data.partition("\r\n\r\n")
    if f"Path:{path}" not in head.split("\r\n"):
        raise ConnectionError(f"no {path} message")
    return str(body)


def _text_message(path: str, body: object) -> str:
    return (
        f"X-RequestId:loopback\r\nContent-Type:application/json; charset=utf-8\r\nPath:{path}\r\n\r\n{json.dumps(body)}"
    )


def _audio_message(audio: bytes) -> bytes:
    """Two bytes with the length of the header, the header, the sound; without a sound there is no Content-Type."""
    media_type = "Content-Type:audio/mpeg\r\n" if audio else ""
    header = f"X-RequestId:loopback\r\n{media_type}X-StreamId:loopback\r\nPath:audio\r\n".encode()
    return len(header).to_bytes(2, "big") + header + audio


def _metadata(text: str) -> dict[str, list[dict[str, object]]]:
    duration = int(seconds_of(text) * TICKS_PER_SECOND)
    words = {"Text": text, "Length": len(text), "BoundaryType": "SentenceBoundary"}
    return {"Metadata": [{"Type": "SentenceBoundary", "Data": {"Offset": 0, "Duration": duration, "text": words}}]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a loopback double of the speech cloud until interrupted.")
    parser.add_argument("--port", type=int, default=0, help="port to listen on, 0 for a free one")
    parser.add_argument("--behaviour", choices=[kind.value for kind in Behaviour], default=Behaviour.OK.value)
    options = parser.parse_args()
    with SpeechCloud(Behaviour(options.behaviour), options.port) as cloud:
        print(cloud.url, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
