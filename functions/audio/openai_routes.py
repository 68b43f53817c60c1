"""POST /v1/audio/speech and what clients of OpenAI's API ask before it."""

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from common.errors import FactoryError, InvalidInput, NotFound, TooManyRequests, Unauthorized
from common.http.events import EVENT_STREAM
from common.http.problems import foreign_errors
from common.quotas import charge_characters
from functions.audio.answers import AUDIO_HEADERS, KNOWN_RESPONSES, SOUND_CONTENT, answer
from functions.audio.catalogue import catalogue
from functions.audio.openai_schemas import (
    MODELS,
    OPENAI_VOICES,
    AudioModelList,
    SpeechModel,
    SpeechModelList,
    SpeechRequest,
    SpeechVoice,
    SpeechVoiceList,
)

SPEECH = "/v1/audio/speech"
_STARTED_AT = int(time.time())
# What OpenAI calls errors that it has as well: their type and code.
_OPENAI_NAMES = {
    Unauthorized.slug: ("invalid_request_error", "invalid_api_key"),
    TooManyRequests.slug: ("requests", "rate_limit_exceeded"),
}


def _openai_members(error: FactoryError) -> dict[str, Any]:
    """OpenAI's SDK shows its user `error.message` of a body, and nothing else."""
    field = error.errors[0].field if isinstance(error, InvalidInput) else None
    kind, code = _OPENAI_NAMES.get(error.slug, (error.slug, error.slug))
    return {"error": {"message": error.detail, "type": kind, "param": field, "code": code}}


router = APIRouter(tags=["audio"])
foreign_errors("/v1/", _openai_members)


@router.post(
    SPEECH,
    summary="POST /audio in the terms of OpenAI's API",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "24 kHz mono, in the format that was asked for",
            "content": {**SOUND_CONTENT, EVENT_STREAM: {}},
            "headers": AUDIO_HEADERS,
        },
        **KNOWN_RESPONSES,
    },
)
async def speech(request: Request, wish: SpeechRequest) -> Response:
    charge_characters("audio", len(wish.input), "input")
    return await answer(request, wish.audio(), wish.wanted, events=wish.stream_format == "sse")


@router.get("/v1/models", summary="What POST /v1/audio/speech may be asked for, in the terms of OpenAI's API")
async def models() -> SpeechModelList:
    return SpeechModelList(data=_models())


@router.get("/v1/models/{model}", summary="One of them", responses={404: {"description": "it is none of them"}})
async def model(model: str) -> SpeechModel:
    for known in _models():
        if known.id == model:
            return known
    raise NotFound(f"there is no model {model[:100]!r}; they are {', '.join(MODELS)}")


@router.get("/v1/audio/models", summary="GET /v1/models as clients of other speech servers look for it")
async def audio_models() -> AudioModelList:
    known = _models()
    return AudioModelList(data=known, models=known)


@router.get("/v1/audio/voices", summary="The voices that POST /v1/audio/speech knows")
async def audio_voices() -> SpeechVoiceList:
    own = [SpeechVoice(id=name, name=f"{name} ({voice})") for name, voice in OPENAI_VOICES.items()]
    return SpeechVoiceList(voices=[*own, *(SpeechVoice(id=name, name=name) for name in catalogue)])


def _models() -> list[SpeechModel]:
    return [SpeechModel(id=name, name=name, created=_STARTED_AT, owned_by="segmento-factory") for name in MODELS]
