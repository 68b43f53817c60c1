"""The speech cloud, through edge-tts: one turn becomes the sound and the words that arrive, or one clear error."""

import asyncio
import importlib
import sys
import time
from collections.abc import AsyncGenerator, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from common.errors import FactoryError
from common.settings import AudioSettings
from functions.audio.errors import ImpatientTimeout, UpstreamFailed, UpstreamRefused, UpstreamSilent, UpstreamTimeout
from functions.audio.pieces import Piece, Word
from functions.audio.schemas import AudioRequest

if TYPE_CHECKING:
    from edge_tts import Communicate
    from edge_tts.typing import TTSChunk

T = TypeVar("T")

TICKS_PER_SECOND = 10_000_000
LIBRARY = "edge_tts.communicate"


# The listener's patience begins before the cloud is asked.
FAIR_TOLERANCE_SECONDS = 0.25


class EdgeSpeech:
    """Speaks with edge-tts: 24 kHz, 48 kbit/s, mono MP3."""

    def __init__(self, settings: AudioSettings) -> None:
        self._settings = settings

    async def turn(self, text: str, request: AudioRequest, first_by: float | None) -> AsyncGenerator[Piece, None]:
        """The pieces of one turn as they arrive, a sound first; it ends only when the whole turn has come.

        `text` is at most what the cloud says in one turn; voice, rate, volume and pitch are the request's. The first
        sound is waited for until `first_by` (`time.monotonic`) and never longer than the settings allow. Raises
        UpstreamFailed (UpstreamRefused when it is of no use to ask again, UpstreamSilent when a whole turn held no
        sound) and UpstreamTimeout.
        """
        if LIBRARY not in sys.modules:
            # On a thread: it takes some 0.2 s, for which the event loop would be held up.
            await asyncio.to_thread(importlib.import_module, LIBRARY)
        communicate = self._communicate(text, request)
        communicate.state = state = _State(communicate.state)  # type: ignore[assignment]
        asked_at = time.monotonic()
        deadline = asked_at + self._settings.connect_seconds + self._settings.first_audio_seconds
        # Less says nothing about the cloud: neither a caller in a hurry nor our own queue is its failure.
        fair_seconds = min(deadline - asked_at, self._settings.patience_seconds) - FAIR_TOLERANCE_SECONDS
        deadline = min(deadline, first_by) if first_by is not None else deadline
        impatient = deadline - asked_at < fair_seconds
        messages = _Messages(communicate)
        early_words: list[Word] | None = []
        try:
            while (message := await _next(messages, deadline, impatient and early_words is not None)) is not None:
                if message["type"] != "audio":
                    word = _word(message)
                    if early_words is None:
                        yield word
                    else:
                        early_words.append(word)
                    continue
                yield message["data"]
                for word in early_words or ():
                    yield word
                early_words = None
                deadline = time.monotonic() + self._settings.between_audio_seconds
        finally:
            messages.close()
        if not state.turn_ended:
            raise UpstreamFailed("the speech cloud closed the connection in the middle of the recording")

    def _communicate(self, text: str, request: AudioRequest) -> "Communicate":
        import edge_tts.communicate
        import edge_tts.constants
        from aiohttp import ClientTimeout

        endpoint = self._settings.endpoint or edge_tts.constants.WSS_URL
        # edge-tts appends `&name=value` to it.
        edge_tts.communicate.WSS_URL = endpoint if "?" in endpoint else f"{endpoint}?"  # type: ignore[attr-defined]
        communicate = edge_tts.communicate.Communicate(
            text,
            request.voice,
            rate=request.rate,
            volume=request.volume,
            pitch=request.pitch,
            boundary="WordBoundary",
        )
        # Its constructor takes whole seconds only.
        communicate.session_timeout = ClientTimeout(
            total=None,
            connect=self._settings.connect_seconds,
            sock_connect=self._settings.connect_seconds,
            sock_read=self._settings.first_audio_seconds,
        )
        return communicate


async def _next(messages: "_Messages", deadline: float, impatient: bool) -> "TTSChunk | None":
    """The next message; ImpatientTimeout in place of UpstreamTimeout where the cloud had less time than it may take."""
    try:
        return await messages.next(deadline)
    except UpstreamTimeout as error:
        if impatient:
            raise ImpatientTimeout("the speech cloud sent no sound in the time that the listener would wait") from error
        raise


class _State(dict[str, Any]):
    """The notes that edge-tts 7.3.1 takes during a turn: `offset_compensation` is written at `turn.end`, only there.

    It takes a socket that closes without `turn.end` for success, and a turn without a sound for a failure.
    """

    turn_ended = False

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "offset_compensation":
            self.turn_ended = True
        super().__setitem__(key, value)


class _Messages:
    """The messages of one turn, each with a limit of time, and a way out at any moment."""

    def __init__(self, communicate: "Communicate") -> None:
        self._communicate = communicate
        self._messages = communicate.stream()
        self._ended = False

    async def next(self, deadline: float) -> "TTSChunk | None":
        """The next message, None after the last; UpstreamTimeout at `deadline` (`time.monotonic`)."""
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await self._next()
        except TimeoutError:
            raise UpstreamTimeout("the speech cloud sent no sound in time") from None

    def close(self) -> None:
        """Let go of the cloud without waiting for it.

        `aclose` of the generator would not do: edge-tts nests two, and the inner one, which owns the connection,
        would be left to the garbage collector, and then wait 10 s for a silent peer to say goodbye. A cancellation
        where the inner one waits for more closes the connection at once; what has arrived already is read before.
        """
        if not self._ended:
            asyncio.get_running_loop().call_soon(_background(self._read_on()).cancel)

    async def _next(self) -> "TTSChunk | None":
        try:
            return await anext(self._messages)
        except StopAsyncIteration:
            self._ended = True
            return None
        except Exception as error:
            self._ended = True
            # All of them: on an answer that breaks the protocol edge-tts raises whatever its parsing trips over.
            raise _upstream_error(error, self._communicate) from error
        except BaseException:
            # Cancelled, by the limit of time among others: both generators have ended and the connection is closed.
            self._ended = True
            raise

    async def _read_on(self) -> None:
        while await self._next() is not None:
            pass


def _background(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """A task whose error counts as seen: nobody may be waiting for it any more."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    return task


def _word(message: "TTSChunk") -> Word:
    start = message["offset"] / TICKS_PER_SECOND
    return Word(message["text"], start, start + message["duration"] / TICKS_PER_SECOND)


def _upstream_error(error: Exception, communicate: "Communicate") -> FactoryError:
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
        if getattr(communicate.state, "turn_ended", False):
            return UpstreamSilent("the speech cloud sent no sound; the text may hold nothing that can be spoken")
        return UpstreamFailed("the speech cloud closed the connection before the first sound")
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return UpstreamFailed("the speech cloud could not be reached")
    return UpstreamFailed(f"the speech cloud's answer was not understood ({type(error).__name__})")
