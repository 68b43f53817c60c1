"""The speech cloud, through edge-tts: one request becomes the MP3 pieces that arrive, or one clear error."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, ClassVar, Literal

from common.errors import FactoryError, UpstreamFailed, UpstreamTimeout
from common.settings import AudioSettings
from functions.audio.schemas import AudioRequest

if TYPE_CHECKING:
    from edge_tts import Communicate
    from edge_tts.typing import TTSChunk

# An abandoned connection gets this long to say goodbye. aiohttp itself would wait 10 s for a peer that is silent.
CLOSE_SECONDS = 0.5
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
        messages = communicate.stream()
        clock = asyncio.get_running_loop()
        deadline = clock.time() + self._settings.connect_seconds + self._settings.first_audio_seconds
        received = 0
        while (message := await _next(messages, deadline)) is not None:
            if message["type"] != "audio":
                continue
            received += len(message["data"])
            try:
                _check_no_turn_was_cut(communicate, received)
                yield message["data"]
            except (GeneratorExit, UpstreamFailed):
                await messages.aclose()
                raise
            deadline = clock.time() + self._settings.first_audio_seconds
        _check_no_turn_was_cut(communicate, received, ended=True)
        if not received:
            raise UpstreamFailed(NO_SOUND)

    def _communicate(self, request: AudioRequest) -> "Communicate":
        import edge_tts.communicate
        import edge_tts.constants
        from aiohttp import ClientTimeout

        endpoint = self._settings.endpoint or edge_tts.constants.WSS_URL
        # The address has no parameter; edge-tts appends `&name=value` to it.
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


async def _next(messages: "AsyncGenerator[TTSChunk, None]", deadline: float) -> "TTSChunk | None":
    """The next message, None after the last; UpstreamTimeout at `deadline` (event loop's clock)."""
    step = asyncio.create_task(_step(messages))
    step.add_done_callback(_retrieve)
    loop = asyncio.get_running_loop()
    try:
        await asyncio.wait({step}, timeout=deadline - loop.time())
    finally:
        if not step.done():
            # The first cancellation makes aiohttp say goodbye, the second makes it stop waiting for the answer.
            step.cancel()
            loop.call_later(CLOSE_SECONDS, step.cancel)
    if step.done():
        return step.result()
    raise UpstreamTimeout("the speech cloud sent no sound in time")


async def _step(messages: "AsyncGenerator[TTSChunk, None]") -> "TTSChunk | None":
    try:
        return await anext(messages)
    except StopAsyncIteration:
        return None
    except Exception as error:
        # All of them: on an answer that breaks the protocol edge-tts raises whatever its parsing trips over.
        raise _upstream_error(error) from error


def _retrieve(step: "asyncio.Task[TTSChunk | None]") -> None:
    """Mark the outcome as seen, or asyncio logs the error of a step that nobody waits for any more."""
    if not step.cancelled():
        step.exception()


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
