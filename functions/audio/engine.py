"""The speech cloud, through edge-tts: one request becomes the MP3 pieces that arrive, or one clear error."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from common.errors import FactoryError, UpstreamFailed, UpstreamTimeout
from common.settings import AudioSettings
from functions.audio.schemas import AudioRequest

if TYPE_CHECKING:
    from edge_tts import Communicate
    from edge_tts.typing import TTSChunk

T = TypeVar("T")

NO_SOUND = "the speech cloud sent no sound; the text may hold nothing that can be spoken"


class UpstreamRefused(UpstreamFailed):
    """The cloud turned the request down. Asking again would not help: for a 403 edge-tts has done so already."""


class EdgeSpeech:
    """Speaks with edge-tts: 24 kHz, 48 kbit/s, mono MP3."""

    name: ClassVar[Literal["edge-tts"]] = "edge-tts"

    def __init__(self, settings: AudioSettings) -> None:
        self._settings = settings

    def voice(self, request: AudioRequest) -> str:
        return request.voice

    async def stream(self, request: AudioRequest) -> AsyncGenerator[bytes, None]:
        """Pieces of one recording as they arrive; it ends only when the whole recording has come.

        Raises UpstreamFailed (UpstreamRefused when it is of no use to ask again) and UpstreamTimeout.
        """
        # On a thread: the first import of edge-tts and aiohttp would hold up the event loop.
        communicate = await asyncio.to_thread(self._communicate, request)
        messages = _Messages(communicate)
        clock = asyncio.get_running_loop()
        deadline = clock.time() + self._settings.connect_seconds + self._settings.first_audio_seconds
        received = 0
        try:
            while (message := await messages.next(deadline)) is not None:
                if message["type"] != "audio":
                    continue
                received += len(message["data"])
                _check_no_turn_was_cut(communicate, received)
                yield message["data"]
                deadline = clock.time() + self._settings.first_audio_seconds
        finally:
            messages.close()
        _check_no_turn_was_cut(communicate, received, ended=True)
        if not received:
            raise UpstreamFailed(NO_SOUND)

    def _communicate(self, request: AudioRequest) -> "Communicate":
        import edge_tts.communicate
        import edge_tts.constants
        from aiohttp import ClientTimeout

        endpoint = self._settings.endpoint or edge_tts.constants.WSS_URL
        # edge-tts appends `&name=value` to it.
        edge_tts.communicate.WSS_URL = endpoint if "?" in endpoint else f"{endpoint}?"  # type: ignore[attr-defined]
        communicate = edge_tts.communicate.Communicate(
            request.text, request.voice, rate=request.rate, volume=request.volume, pitch=request.pitch
        )
        # Its constructor takes whole seconds only.
        communicate.session_timeout = ClientTimeout(
            total=None,
            connect=self._settings.connect_seconds,
            sock_connect=self._settings.connect_seconds,
            sock_read=self._settings.first_audio_seconds,
        )
        return communicate


def _check_no_turn_was_cut(communicate: "Communicate", received: int, *, ended: bool = False) -> None:
    """Raise UpstreamFailed when audio came whose `turn.end` did not.

    edge-tts 7.3.1 takes a socket that closes without `turn.end` for success. Its own count of bytes tells: at
    `turn.end`, and only there, the bytes of a turn are added to `cumulative_audio_bytes`; the next turn (a text over
    4,096 bytes has several) forgets those of a turn that was cut.
    """
    state = communicate.state
    accounted = state["cumulative_audio_bytes"] + (0 if ended else state["chunk_audio_bytes"])
    if received != accounted:
        raise UpstreamFailed("the speech cloud closed the connection in the middle of the recording")


class _Messages:
    """The messages of one recording, each with a limit of time, and a way out at any moment."""

    def __init__(self, communicate: "Communicate") -> None:
        self._messages = communicate.stream()
        self._reading: asyncio.Task[TTSChunk | None] | None = None
        self._ended = False

    async def next(self, deadline: float) -> "TTSChunk | None":
        """The next message, None after the last; UpstreamTimeout at `deadline` (event loop's clock)."""
        self._reading = _background(self._step())
        await asyncio.wait({self._reading}, timeout=deadline - asyncio.get_running_loop().time())
        if self._reading.done():
            return self._reading.result()
        raise UpstreamTimeout("the speech cloud sent no sound in time")

    def close(self) -> None:
        """Let go of the cloud without waiting for it.

        `aclose` of the generator would not do: edge-tts nests two, and the inner one, which owns the connection,
        would be left to the garbage collector, and then wait 10 s for a silent peer to say goodbye. A cancellation
        where the inner one waits for more closes the connection at once; what has arrived already is read before.
        """
        if self._ended:
            return
        if self._reading and not self._reading.done():
            self._reading.cancel()
        else:
            asyncio.get_running_loop().call_soon(_background(self._read_on()).cancel)

    async def _step(self) -> "TTSChunk | None":
        try:
            return await anext(self._messages)
        except StopAsyncIteration:
            self._ended = True
            return None
        except Exception as error:
            self._ended = True
            # All of them: on an answer that breaks the protocol edge-tts raises whatever its parsing trips over.
            raise _upstream_error(error) from error

    async def _read_on(self) -> None:
        while await self._step() is not None:
            pass


def _background(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """A task whose error counts as seen: nobody may be waiting for it any more."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    return task


def _upstream_error(error: Exception) -> FactoryError:
    import aiohttp
    from edge_tts.exceptions import NoAudioReceived, SkewAdjustmentError

    if isinstance(error, TimeoutError):
        return UpstreamTimeout("the speech cloud could not be reached in time")
    if isinstance(error, aiohttp.ClientResponseError):
        refusal = UpstreamRefused if error.status < 500 else UpstreamFailed
        return refusal(f"the speech cloud refused the connection with HTTP {error.status}")
    if isinstance(error, SkewAdjustmentError):
        return UpstreamRefused("the speech cloud refused the connection with HTTP 403")
    if isinstance(error, NoAudioReceived):
        return UpstreamFailed(NO_SOUND)
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return UpstreamFailed("the speech cloud could not be reached")
    return UpstreamFailed(f"the speech cloud's answer was not understood ({type(error).__name__})")
