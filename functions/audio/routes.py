"""POST /audio and GET /audio/voices; POST /v1/audio/speech and GET /v1/models for clients of OpenAI's API."""

import asyncio
import importlib
import time
from contextlib import AsyncExitStack, suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from common.errors import FactoryError, FieldError, InvalidInput
from common.http.deadlines import deadline
from common.http.disconnects import cancelled_on_disconnect
from common.http.problems import foreign_errors
from common.logs import trace
from common.settings import get_settings
from functions.audio import espeak, piper_loading, service
from functions.audio.catalogue import catalogue, closest
from functions.audio.engine import LIBRARY
from functions.audio.errors import SpeechFailed
from functions.audio.formats import MP3, SOUNDS, Format
from functions.audio.response import (
    RecordingResponse,
    captions_response,
    headers,
    is_known,
    wanted_format,
    whole_response,
)
from functions.audio.schemas import (
    AudioRequest,
    SpeechModel,
    SpeechModelList,
    SpeechRequest,
    VoiceEntry,
    VoiceList,
)
from functions.audio.voices import DEFAULT_VOICE

# How long GET /audio/voices waits for the cloud's list before it answers with what is known.
VOICES_SECONDS = 2.0

_TEXT = {"schema": {"type": "string"}}
_HEADERS: dict[str, Any] = {
    "X-Audio-Engine": {"schema": {"type": "string", "enum": ["edge-tts", "piper", "espeak-ng"]}},
    "X-Audio-Voice": _TEXT,
    "ETag": _TEXT,
}
_SOUND = {sound.media_type: {"schema": {"type": "string", "format": "binary"}} for sound in SOUNDS.values()}


def _openai_members(error: FactoryError) -> dict[str, Any]:
    """OpenAI's SDK shows its user `error.message` of a body, and nothing else."""
    field = error.errors[0].field if isinstance(error, InvalidInput) else None
    return {"error": {"message": error.detail, "type": error.slug, "param": field, "code": error.slug}}


router = APIRouter(tags=["audio"])
openai = APIRouter(tags=["audio"])
foreign_errors("/v1/", _openai_members)


@router.post(
    "/audio",
    summary="Read a text aloud: an MP3, streamed while it is made, or its captions",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "24 kHz mono MP3, or by `Accept` another format, or captions as WebVTT or SubRip",
            "content": {**_SOUND, "text/vtt": _TEXT, "application/x-subrip": _TEXT},
            "headers": _HEADERS,
        },
        304: {"description": "`If-None-Match` names this recording"},
    },
)
async def audio(request: Request, wish: AudioRequest) -> Response:
    return await _answer(request, wish, wanted_format(request))


@openai.post(
    "/v1/audio/speech",
    summary="POST /audio in the terms of OpenAI's API",
    response_class=StreamingResponse,
    responses={200: {"description": "24 kHz mono MP3", "content": _SOUND, "headers": _HEADERS}},
)
async def speech(request: Request, wish: SpeechRequest) -> Response:
    return await _answer(request, wish.audio(), MP3)


async def _answer(request: Request, wish: AudioRequest, wanted: Format) -> Response:
    settings = get_settings().audio
    engines = service.engines()
    if is_known(request, first_choice := service.tag(wish, engines[0]), wanted):
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
        if is_known(request, recording.opening.tag, wanted):
            return Response(status_code=304, headers=headers(recording.opening.tag, wanted))
        if not wanted.is_sound:
            finished = await recording.finish()
            return await asyncio.to_thread(captions_response, wish.text, finished, wanted)
        # HTTP/1.0 ends an answer by closing the connection: it could not be told whether it was cut. Lambda sends
        # nothing before all of it is there.
        if request.scope["http_version"] == "1.0" or "aws.context" in request.scope:
            return await whole_response(recording, wanted)
        if recording.finished and wanted is MP3:
            return await whole_response(recording, wanted)
        return RecordingResponse(recording, wanted, settings.listener_seconds, held=stack.pop_all())


@router.get("/audio/voices", summary="The voices that POST /audio knows")
async def audio_voices(
    locale: Annotated[str | None, Query(max_length=32, description="a locale (`en-GB`) or a language (`en`)")] = None,
) -> VoiceList:
    await catalogue.refresh(get_settings().audio, VOICES_SECONDS)
    found = list(catalogue.values()) if locale is None else catalogue.speaking(locale)
    if locale is not None and not found:
        hint = closest(locale, {voice.locale for voice in catalogue.values()})
        raise InvalidInput([FieldError("locale", f"no voice speaks it{hint}")])
    voices = [
        VoiceEntry(name=voice.name, locale=voice.locale, gender=voice.gender, fallback=f"espeak-ng:{voice.espeak}")
        for voice in found
    ]
    return VoiceList(default=DEFAULT_VOICE, source=catalogue.source, voices=voices)


@openai.get("/v1/models", summary="What POST /v1/audio/speech may be asked for, in the terms of OpenAI's API")
async def models() -> SpeechModelList:
    return SpeechModelList(data=[SpeechModel(id="tts-1", created=_STARTED_AT, owned_by="edge-tts")])


def warm_up() -> None:
    """Import and load ahead of the first request what takes its time. Blocks."""
    importlib.import_module(LIBRARY)
    importlib.import_module("regex")
    for voice in piper_loading.preloaded(get_settings().audio):
        piper_loading.voices.start(voice)
    with suppress(SpeechFailed):
        espeak.load()


_STARTED_AT = int(time.time())

router.include_router(openai)
