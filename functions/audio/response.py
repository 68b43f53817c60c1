"""The answers to a request for a recording: its sound while it is made, its captions, or that it is known already."""

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing

from fastapi import Request
from fastapi.responses import Response
from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

from common.errors import ClientDisconnected, FieldError, InvalidInput
from common.http.events import EVENT_STREAM, UNBUFFERED
from common.http.headers import elements, qualities
from common.logs import trace
from functions.audio.captions import Caption, captions, srt, vtt, vtt_by_word
from functions.audio.formats import BY_MEDIA_TYPE, MP3, SRT, VTT, VTT_BY_WORD, Format
from functions.audio.pieces import BYTES_PER_SECOND, Piece
from functions.audio.ranges import content_range
from functions.audio.service import Finished, Opening, Recording
from functions.audio.transcoding import most_bytes, transcoded

CAPTIONS: dict[Format, Callable[[Sequence[Caption]], str]] = {VTT: vtt, VTT_BY_WORD: vtt_by_word, SRT: srt}
OF_THE_SOUND = ("ETag", "Content-Location")
# A recording that has to be whole before it is sent may be so large, in whatever format it is asked for.
MOST_WHOLE_BYTES = 64 * 1024 * 1024
# Of a kept recording so much is handed to the connection at a time: a listener who is slow holds no more.
SLICE_BYTES = 65_536
RECORDINGS = "/audio/recordings"


def wanted_format(request: Request) -> Format:
    """The one of our formats that `Accept` wants most, the first of equals; MP3 if it wants none of them."""
    accepted = request.headers.getlist("accept")
    named = qualities(accepted)
    wanted: dict[Format, float] = {}
    for name, quality in named.items():
        if name in BY_MEDIA_TYPE and quality > 0:
            wanted.setdefault(BY_MEDIA_TYPE[name], quality)
    best = max(wanted, key=lambda name: wanted[name], default=MP3)
    return VTT_BY_WORD if best is VTT and _is_by_word(accepted) else best


def _is_by_word(accepted: list[str]) -> bool:
    asked = (parameters for name, parameters in elements(accepted) if name.lower() == VTT.media_type)
    return next(asked, {}).get("timestamps", "").lower() == "words"


def entity_tag(opening: Opening, wanted: Format) -> str:
    """Strong for the MP3, whose bytes are those of one run, so that a player may go on where it has broken off."""
    return f'"{opening.tag}-{opening.edition}"' if wanted is MP3 else f'W/"{opening.tag}-{wanted.name}"'


def known_tag(request: Request, tag: str, wanted: Format) -> str | None:
    """The entity tag in `If-None-Match` that is of this request in this format, as the client has it.

    The comparison is weak (RFC 9110, 8.8.3.2): it may be of another edition.
    """
    known = re.compile(rf'(W/)?"{tag}-{"[0-9a-f]{16}" if wanted is MP3 else wanted.name}"')
    names = ",".join(request.headers.getlist("if-none-match")).split(",")
    return next((name.strip() for name in names if known.fullmatch(name.strip())), None)


def not_modified(known: str, told: dict[str, str]) -> Response:
    return Response(status_code=304, headers=told | {"ETag": known})


def headers(opening: Opening, wanted: Format, recordings: str | None = None) -> dict[str, str]:
    """`recordings` is the path below which the recording can be had again, if it is kept."""
    told = {
        "ETag": entity_tag(opening, wanted),
        "Vary": "Accept",
        "X-Audio-Engine": opening.engine,
        "X-Audio-Voice": opening.voice,
    }
    if recordings is not None:
        query = "" if wanted is MP3 else f"?format={wanted.name}"
        told["Content-Location"] = f"{recordings}/{opening.id}{query}"
    return told


def captions_response(text: str, recording: Finished, wanted: Format) -> Response:
    found = captions(text, recording.words, len(recording.sound) / BYTES_PER_SECOND)
    told = headers(recording.opening, wanted)
    return Response(CAPTIONS[wanted](found), headers=told, media_type=f"{wanted.media_type}; charset=utf-8")


async def sound(recording: Recording, wanted: Format) -> AsyncGenerator[bytes, None]:
    """The sound of the recording in a format that is sound, as it is made. Raises what the recording raises."""
    pieces: AsyncIterator[Piece]
    size: int | None
    if (finished := recording.finished) is not None:
        pieces, size = _iterated(finished.sound), len(finished.sound)
    else:
        pieces, size = recording, None
    if wanted is not MP3:
        async with aclosing(transcoded(pieces, wanted, size)) as made:
            async for encoded in made:
                yield encoded
        return
    async for piece in pieces:
        if isinstance(piece, bytes):
            yield piece


class RecordingResponse(Response):
    """Streams `recording` and then lets go of `held`: at its end, when it breaks and when the listener leaves.

    `held` has to notice the leaving, with `cancelled_on_disconnect`. A recording that breaks raises here, after the
    headers, so the connection is broken as well. A listener who takes nothing for `listener_seconds` counts as gone.
    """

    def __init__(
        self,
        recording: Recording,
        wanted: Format,
        listener_seconds: float,
        held: AsyncExitStack,
        told: dict[str, str],
        *,
        events: bool = False,
        part: range | None = None,
    ) -> None:
        """`told` are headers; `events`: the sound in OpenAI's Server-Sent Events; `part`: those bytes of a kept MP3."""
        self.media_type = EVENT_STREAM if events else wanted.media_type
        if events:
            told = {name: value for name, value in told.items() if name not in OF_THE_SOUND} | UNBUFFERED
        super().__init__(status_code=206 if part else 200, headers=told)
        del self.headers["content-length"]
        if (kept := recording.finished) is not None and wanted is MP3 and not events:
            self._sound = _sliced(kept.sound, part or range(len(kept.sound)))
            self.headers["Accept-Ranges"] = "bytes"
            self.headers["Content-Length"] = str(len(part or kept.sound))
            if part:
                self.headers["Content-Range"] = content_range(part, len(kept.sound))
        else:
            self._sound = _events(sound(recording, wanted)) if events else sound(recording, wanted)
        self._listener_seconds = listener_seconds
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        # Not Starlette's StreamingResponse: it would begin a task group first, and the sound would wait for it.
        try:
            async with self._held, aclosing(self._sound) as pieces:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                async for piece in pieces:
                    if piece:
                        await self._send_in_time(send, piece, more=True)
                await self._send_in_time(send, b"", more=False)
        except ClientDisconnected:
            trace().left = True

    async def _send_in_time(self, send: Send, sound: bytes, *, more: bool) -> None:
        try:
            async with asyncio.timeout(self._listener_seconds):
                await send({"type": "http.response.body", "body": sound, "more_body": more})
        except TimeoutError:
            raise ClientDisconnected("the listener took nothing for too long") from None


async def _events(sound: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """As OpenAI sends them. Nothing is counted in tokens here, so there are none of them."""
    async with aclosing(sound) as pieces:
        async for piece in pieces:
            if piece:
                delta = {"type": "speech.audio.delta", "audio": b64encode(piece).decode()}
                yield format_sse_event(data_str=json.dumps(delta))
    usage = dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), 0)
    yield format_sse_event(data_str=json.dumps({"type": "speech.audio.done", "usage": usage}))


async def whole_response(recording: Recording, wanted: Format, told: dict[str, str]) -> Response:
    """The whole recording at once. Raises InvalidInput where it would be too large."""
    finished = await recording.finish()
    if (size := most_bytes(wanted, len(finished.sound))) > MOST_WHOLE_BYTES:
        raise InvalidInput([FieldError("accept", f"the recording would have {size} bytes; ask for MP3")])
    made = finished.sound if wanted is MP3 else b"".join([piece async for piece in sound(recording, wanted)])
    return Response(made, headers=told, media_type=wanted.media_type)


async def _iterated(*pieces: bytes) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


async def _sliced(sound: bytes, part: range) -> AsyncGenerator[bytes, None]:
    for begin in range(part.start, part.stop, SLICE_BYTES):
        yield sound[begin : min(begin + SLICE_BYTES, part.stop)]
