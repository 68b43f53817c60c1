"""From a wish to its answer: a recording is begun, or found, and sent as the caller wants it."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from common.http.deadlines import deadline
from common.http.disconnects import cancelled_on_disconnect
from common.logs import trace
from common.settings import get_settings
from functions.audio import service
from functions.audio.formats import MP3, SOUNDS, Format
from functions.audio.response import (
    EVENT_STREAM,
    RecordingResponse,
    captions_response,
    headers,
    is_known,
    whole_response,
)
from functions.audio.schemas import AudioRequest

__all__ = ["AUDIO_HEADERS", "EVENT_STREAM", "SOUND_CONTENT", "answer"]

# For openapi.json.
_TEXT = {"schema": {"type": "string"}}
AUDIO_HEADERS: dict[str, Any] = {
    "X-Audio-Engine": {"schema": {"type": "string", "enum": ["edge-tts", "piper", "espeak-ng"]}},
    "X-Audio-Voice": _TEXT,
    "ETag": _TEXT,
}
SOUND_CONTENT = {sound.media_type: {"schema": {"type": "string", "format": "binary"}} for sound in SOUNDS.values()}


async def answer(request: Request, wish: AudioRequest, wanted: Format, *, events: bool = False) -> Response:
    """The recording as `wanted`; `events`: its sound in OpenAI's Server-Sent Events."""
    settings = get_settings().audio
    engines = service.engines()
    if not events and is_known(request, first_choice := service.tag(wish, engines[0]), wanted):
        return Response(status_code=304, headers=headers(first_choice, wanted))
    first_by = deadline(request, settings.patience_seconds, settings.max_wait_seconds)
    assert first_by is not None
    async with AsyncExitStack() as stack:
        # Until the last sound is out.
        stack.enter_context(service.places.hold())
        await stack.enter_async_context(cancelled_on_disconnect(request))
        with trace().measure("first_audio"):
            recording = await service.studio.recording(wish, engines, first_by)
        stack.push_async_callback(recording.aclose)
        if events:
            return RecordingResponse(recording, wanted, settings.listener_seconds, stack.pop_all(), events=True)
        if is_known(request, recording.opening.tag, wanted):
            return Response(status_code=304, headers=headers(recording.opening.tag, wanted))
        if not wanted.is_sound:
            finished = await recording.finish()
            return await asyncio.to_thread(captions_response, wish.text, finished, wanted)
        # HTTP/1.0 ends an answer by closing the connection: it could not be told whether it was cut. Lambda sends
        # nothing before all of it is there.
        at_once = request.scope["http_version"] == "1.0" or "aws.context" in request.scope
        if at_once or (recording.finished and wanted is MP3):
            return await whole_response(recording, wanted)
        return RecordingResponse(recording, wanted, settings.listener_seconds, stack.pop_all())
