"""POST /audio, what it has made, and the voices, beside what is for clients of OpenAI's API."""

import importlib
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from common.errors import FieldError, InvalidInput
from common.quotas import charge_characters, metered
from common.settings import get_settings
from functions.audio import espeak, openai_routes, piper_loading
from functions.audio.answers import AUDIO_HEADERS, KNOWN_RESPONSES, SOUND_CONTENT, answer, kept_answer
from functions.audio.catalogue import catalogue, closest
from functions.audio.engine import LIBRARY
from functions.audio.errors import SpeechFailed
from functions.audio.formats import SOUNDS, SoundName
from functions.audio.openai_routes import SPEECH
from functions.audio.piper_voices import piper_voice
from functions.audio.response import RECORDINGS, wanted_format
from functions.audio.schemas import AudioRequest, VoiceEntry, VoiceList
from functions.audio.voices import DEFAULT_VOICE, Voice

# How long GET /audio/voices waits for the cloud's list before it answers with what is known.
VOICES_SECONDS = 2.0

_TEXT = {"schema": {"type": "string"}}

router = APIRouter(tags=["audio"])
metered("audio", "/audio", SPEECH, limits=lambda: get_settings().audio)


@router.post(
    "/audio",
    summary="Read a text aloud: an MP3, streamed while it is made, or its captions",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "24 kHz mono MP3, or by `Accept` another format, or captions as WebVTT or SubRip",
            "content": {**SOUND_CONTENT, "text/vtt": _TEXT, "application/x-subrip": _TEXT},
            "headers": AUDIO_HEADERS,
        },
        **KNOWN_RESPONSES,
    },
)
async def audio(request: Request, wish: AudioRequest) -> Response:
    charge_characters("audio", len(wish.text), "text")
    return await answer(request, wish, wanted_format(request))


@router.get(
    RECORDINGS + "/{recording}",
    summary="A finished recording that is kept, for players, which only GET and want to seek",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The sound in the format that was asked for; of the MP3 a `Range` is answered",
            "content": SOUND_CONTENT,
            "headers": AUDIO_HEADERS,
        },
        404: {"description": "it is not finished, or not kept any more: POST /audio has it made again"},
        **KNOWN_RESPONSES,
    },
)
async def kept_recording(
    request: Request,
    recording: Annotated[str, Path(description="of the `Content-Location` that POST /audio has told")],
    wanted: Annotated[SoundName, Query(alias="format")] = "mp3",
) -> Response:
    # Not by `Accept`: what players send there by themselves says nothing of which format they seek in.
    return await kept_answer(request, recording, SOUNDS[wanted])


@router.get("/audio/voices", summary="The voices that POST /audio knows")
async def audio_voices(
    locale: Annotated[str | None, Query(max_length=32, description="a locale (`en-GB`) or a language (`en`)")] = None,
) -> VoiceList:
    await catalogue.refresh(get_settings().audio, VOICES_SECONDS)
    found = list(catalogue.values()) if locale is None else catalogue.speaking(locale)
    if locale is not None and not found:
        hint = closest(locale, {voice.locale for voice in catalogue.values()})
        raise InvalidInput([FieldError("locale", f"no voice speaks it{hint}")])
    return VoiceList(default=DEFAULT_VOICE, source=catalogue.source, voices=[_entry(voice) for voice in found])


def _entry(voice: Voice) -> VoiceEntry:
    human = piper_voice(voice.locale, voice.gender)
    return VoiceEntry(
        name=voice.name,
        locale=voice.locale,
        gender=voice.gender,
        local=f"piper:{human.name}" if human else None,
        fallback=f"espeak-ng:{voice.espeak}",
    )


def warm_up() -> None:
    """Import and load ahead of the first request what takes its time. Blocks."""
    importlib.import_module(LIBRARY)
    importlib.import_module("regex")
    for voice in piper_loading.preloaded(get_settings().audio):
        piper_loading.voices.start(voice)
    with suppress(SpeechFailed):
        espeak.load()


router.include_router(openai_routes.router)
