"""POST /audio and GET /audio/voices."""

from contextlib import AsyncExitStack

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from common.admission import Admission, Limits
from common.app import cancelled_on_disconnect, create_app, create_handler
from common.logs import trace
from common.settings import get_settings
from functions.audio import service
from functions.audio.engine import EdgeSpeech
from functions.audio.espeak import EspeakSpeech
from functions.audio.response import RecordingResponse
from functions.audio.schemas import AudioRequest, VoiceEntry, VoiceList
from functions.audio.voices import DEFAULT_VOICE, VOICES


def _limits() -> Limits:
    settings = get_settings().audio
    return Limits(settings.concurrency, settings.max_waiting)


router = APIRouter(tags=["audio"])
admission = Admission("audio", _limits)


@router.post(
    "/audio",
    summary="Read a text aloud: an MP3, streamed while it is made",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "24 kHz mono MP3 from edge-tts; 22.05 kHz when espeak-ng had to stand in",
            "content": {"audio/mpeg": {"schema": {"type": "string", "format": "binary"}}},
            "headers": {
                "X-Audio-Engine": {"schema": {"type": "string", "enum": ["edge-tts", "espeak-ng"]}},
                "X-Audio-Voice": {"schema": {"type": "string"}},
                "ETag": {"schema": {"type": "string"}},
            },
        }
    },
)
async def audio(request: Request, wish: AudioRequest) -> RecordingResponse:
    settings = get_settings().audio
    fallback = EspeakSpeech() if settings.fallback else None
    async with AsyncExitStack() as stack:
        async with cancelled_on_disconnect(request):
            trace().add("queue", await stack.enter_async_context(admission.slot()))
            with trace().measure("first_audio"):
                recording = await service.record(wish, EdgeSpeech(settings), fallback)
            stack.push_async_callback(recording.aclose)
        return RecordingResponse(recording, held=stack.pop_all())


@router.get("/audio/voices", summary="The voices that POST /audio knows")
async def audio_voices() -> VoiceList:
    voices = [
        VoiceEntry(name=voice.name, locale=voice.locale, gender=voice.gender, fallback=f"espeak-ng:{voice.espeak}")
        for voice in VOICES.values()
    ]
    return VoiceList(default=DEFAULT_VOICE, voices=voices)


app = create_app(router, title="The Factory: audio")
handler = create_handler(app)
