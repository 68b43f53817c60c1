"""From a wish to its answer: a recording is begun, or found, and sent as the caller wants it."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from common.errors import NotFound
from common.http.cors import expose
from common.http.deadlines import deadline
from common.http.disconnects import cancelled_on_disconnect
from common.logs import trace
from common.settings import get_settings
from functions.audio import service
from functions.audio.formats import MP3, SOUNDS, Format
from functions.audio.ranges import wanted_bytes
from functions.audio.response import (
    RECORDINGS,
    RecordingResponse,
    captions_response,
    entity_tag,
    headers,
    known_tag,
    not_modified,
    whole_response,
)
from functions.audio.schemas import AudioRequest
from functions.audio.service import Recording
from functions.audio.transcoding import place

# For openapi.json.
_TEXT = {"schema": {"type": "string"}}
AUDIO_HEADERS: dict[str, Any] = {
    "X-Audio-Engine": {"schema": {"type": "string", "enum": ["edge-tts", "piper", "espeak-ng"]}},
    "X-Audio-Voice": _TEXT,
    "ETag": _TEXT,
    "Content-Location": {**_TEXT, "description": "where the sound can be had again while it is kept"},
}
expose(*AUDIO_HEADERS)
_BYTES = {"schema": {"type": "string", "format": "binary"}}
SOUND_CONTENT = {sound.media_type: _BYTES for sound in SOUNDS.values()}
KNOWN_RESPONSES: dict[int | str, dict[str, Any]] = {
    206: {
        "description": "the bytes of a kept MP3 that `Range` asks for",
        "content": {MP3.media_type: _BYTES},
        "headers": {**AUDIO_HEADERS, "Content-Range": _TEXT},
    },
    304: {"description": "`If-None-Match` names this recording"},
    416: {"description": "no byte of it is in the `Range`", "headers": {"Content-Range": _TEXT}},
}


async def answer(request: Request, wish: AudioRequest, wanted: Format, *, events: bool = False) -> Response:
    """The recording as `wanted`; `events`: its sound in OpenAI's Server-Sent Events."""
    settings = get_settings().audio
    engines = service.engines()
    if not events and (known := known_tag(request, service.tag(wish, engines[0]), wanted)) is not None:
        return not_modified(known, {"Vary": "Accept"})
    first_by = deadline(request, settings.patience_seconds, settings.max_wait_seconds)
    assert first_by is not None
    async with AsyncExitStack() as stack:
        # Until the last sound is out.
        stack.enter_context(service.places.hold())
        stack.enter_context(place(wanted))
        await stack.enter_async_context(cancelled_on_disconnect(request))
        with trace().measure("first_audio"):
            recording = await service.studio.recording(wish, engines, first_by)
        stack.push_async_callback(recording.aclose)
        trace().notes["engine"] = recording.opening.engine
        if not wanted.is_sound:
            if (known := known_tag(request, recording.opening.tag, wanted)) is not None:
                return not_modified(known, headers(recording.opening, wanted))
            finished = await recording.finish()
            return await asyncio.to_thread(captions_response, wish.text, finished, wanted)
        is_kept = settings.answer_cache_bytes > 0
        told = headers(recording.opening, wanted, _recordings(request) if is_kept else None)
        return await _sound(request, recording, wanted, stack, told, events=events)


async def kept_answer(request: Request, recording_id: str, wanted: Format) -> Response:
    """The sound of a finished recording that is kept, by the id that its maker was told. Raises NotFound."""
    # It should have none, but who waits for the client to leave has to have read it.
    await request.body()
    async with AsyncExitStack() as stack:
        stack.enter_context(service.places.hold())
        stack.enter_context(place(wanted))
        await stack.enter_async_context(cancelled_on_disconnect(request))
        if (recording := service.studio.kept(recording_id)) is None:
            raise NotFound("no finished recording is kept under this address (any more); ask POST /audio for it again")
        # Not for others who use the same cache: the address is a secret.
        told = headers(recording.opening, wanted) | {"Cache-Control": "private"}
        del told["Vary"]
        return await _sound(request, recording, wanted, stack, told)


async def _sound(
    request: Request,
    recording: Recording,
    wanted: Format,
    stack: AsyncExitStack,
    told: dict[str, str],
    *,
    events: bool = False,
) -> Response:
    """The answer with the sound, or that it is known; takes over what `stack` holds where it has to."""
    listener_seconds = get_settings().audio.listener_seconds
    if events:
        return RecordingResponse(recording, wanted, listener_seconds, stack.pop_all(), told, events=True)
    if (known := known_tag(request, recording.opening.tag, wanted)) is not None:
        return not_modified(known, told)
    part = None
    if recording.finished is not None and wanted is MP3:
        part = wanted_bytes(request, entity_tag(recording.opening, wanted), len(recording.finished.sound))
    # HTTP/1.0 ends an answer by closing the connection: it could not be told whether it was cut. Lambda sends nothing
    # before all of it is there. A kept MP3 has a length.
    elif request.scope["http_version"] == "1.0" or "aws.context" in request.scope:
        return await whole_response(recording, wanted, told)
    return RecordingResponse(recording, wanted, listener_seconds, stack.pop_all(), told, part=part)


def _recordings(request: Request) -> str:
    """Behind a proxy that takes off the beginning of paths, and says so, it is told."""
    return f"{request.scope.get('root_path', '')}{RECORDINGS}"
