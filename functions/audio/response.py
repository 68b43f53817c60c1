"""The answers to a request for a recording: its sound while it is made, its captions, or that it is known already."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Literal

from fastapi import Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from common.errors import ClientDisconnected
from common.http.headers import qualities
from common.logs import trace
from functions.audio.captions import Caption, captions, srt, vtt
from functions.audio.pieces import BYTES_PER_SECOND
from functions.audio.service import Finished, Opening, Recording

Format = Literal["audio/mpeg", "text/vtt", "application/x-subrip"]
SOUND: Format = "audio/mpeg"
CAPTIONS: dict[Format, Callable[[Sequence[Caption]], str]] = {"text/vtt": vtt, "application/x-subrip": srt}
FORMATS: dict[str, Format] = {wanted: wanted for wanted in (SOUND, *CAPTIONS)}


def wanted_format(request: Request) -> Format:
    """The one of our formats that `Accept` wants most, the first of equals; the sound if it wants none of them."""
    named = qualities(request.headers.getlist("accept"))
    wanted = {FORMATS[name]: quality for name, quality in named.items() if name in FORMATS and quality > 0}
    return max(wanted, key=lambda name: wanted[name], default=SOUND)


def entity_tag(tag: str, wanted: Format) -> str:
    suffix = "" if wanted == SOUND else f"-{wanted.rpartition('/')[2]}"
    return f'W/"{tag}{suffix}"'


def is_known(request: Request, tag: str, wanted: Format) -> bool:
    """Whether `If-None-Match` names this recording in this format; weak comparison (RFC 9110, 8.8.3.2)."""
    names = ",".join(request.headers.getlist("if-none-match")).split(",")
    known = entity_tag(tag, wanted).removeprefix("W/")
    return any(name.strip().removeprefix("W/") == known for name in names)


def headers(tag: str, wanted: Format, opening: Opening | None = None) -> dict[str, str]:
    told = {"ETag": entity_tag(tag, wanted), "Vary": "Accept"}
    if opening:
        told |= {"X-Audio-Engine": opening.engine, "X-Audio-Voice": opening.voice}
    return told


def captions_response(text: str, recording: Finished, wanted: Format) -> Response:
    found = captions(text, recording.words, len(recording.sound) / BYTES_PER_SECOND)
    told = headers(recording.opening.tag, wanted, recording.opening)
    return Response(CAPTIONS[wanted](found), headers=told, media_type=f"{wanted}; charset=utf-8")


class RecordingResponse(Response):
    """Streams `recording` and then lets go of `held`: at its end, when it breaks and when the listener leaves.

    `held` has to notice the leaving, with `cancelled_on_disconnect`. A recording that breaks raises here, after the
    headers, so the connection is broken as well. A listener who takes nothing for `listener_seconds` counts as gone.
    """

    media_type = SOUND

    def __init__(self, recording: Recording, listener_seconds: float, held: AsyncExitStack) -> None:
        super().__init__(headers=headers(recording.opening.tag, SOUND, recording.opening))
        del self.headers["content-length"]
        self._recording = recording
        self._listener_seconds = listener_seconds
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        # Not Starlette's StreamingResponse: it would begin a task group first, and the sound would wait for it.
        try:
            async with self._held:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                async for piece in self._recording:
                    if isinstance(piece, bytes):
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


def whole_response(recording: Finished) -> Response:
    told = headers(recording.opening.tag, SOUND, recording.opening)
    return Response(recording.sound, headers=told, media_type=SOUND)
