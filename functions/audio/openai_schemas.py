"""What POST /v1/audio/speech takes, and the lists that OpenAI's clients look into.

Open WebUI, llama-swap and others read `voices` with `id` and `name`, and `models` with `id`; OpenAI's SDK reads `data`.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from functions.audio.catalogue import catalogue, closest
from functions.audio.formats import SOUNDS, Format
from functions.audio.schemas import MAX_CHARACTERS, AudioRequest, SpokenText

# OpenAI's voices, as the speech cloud's that are most alike. The names say nothing of a language; these speak English
# and, where multilingual, the language of the text.
OPENAI_VOICES = {
    "alloy": "en-US-AvaMultilingualNeural",
    "ash": "en-US-AndrewMultilingualNeural",
    "ballad": "en-GB-RyanNeural",
    "cedar": "en-US-BrianMultilingualNeural",
    "coral": "en-US-AriaNeural",
    "echo": "en-US-GuyNeural",
    "fable": "en-GB-ThomasNeural",
    "marin": "en-US-EmmaMultilingualNeural",
    "nova": "en-US-JennyNeural",
    "onyx": "en-US-ChristopherNeural",
    "sage": "en-US-MichelleNeural",
    "shimmer": "en-GB-SoniaNeural",
    "verse": "en-US-SteffanNeural",
}
DEFAULT_OPENAI_VOICE = "alloy"
# Any name is taken; these are listed. The first is what others are answered as.
MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")


def _named(value: Any) -> Any:
    """Clients send a voice as they have found it in a list: its name, or the entry."""
    return value.get("id", value.get("name", value)) if isinstance(value, dict) else value


def _voice(value: str | None) -> str:
    name = value or DEFAULT_OPENAI_VOICE
    known: dict[str, str] = {known.casefold(): known for known in (*OPENAI_VOICES, *catalogue)}
    if (found := known.get(name.casefold())) is not None:
        return OPENAI_VOICES.get(found, found)
    hint = closest(name, known.values())
    raise ValueError(f"unknown voice{hint}; it may be one of OpenAI's or of GET /audio/voices")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class SpeechRequest(BaseModel):
    """A recording to make, in the terms of OpenAI's `POST /v1/audio/speech`. null is the default of each field.

    Fields that are not named here are of no effect: clients send what other servers know (`instructions`, `user`).
    """

    # The default voice is one of OpenAI's names as well, and stands for one of ours.
    model_config = ConfigDict(extra="ignore", strict=True, validate_default=True)

    model: str | None = Field(MODELS[0], max_length=200, description="any name: there is one")
    input: SpokenText = Field(max_length=MAX_CHARACTERS, json_schema_extra={"minLength": 1}, examples=["Hello world"])
    voice: Annotated[str | None, BeforeValidator(_named), AfterValidator(_voice)] = Field(
        DEFAULT_OPENAI_VOICE,
        description="a name of OpenAI's, or one of GET /audio/voices, in any letter case; or an object with it as `id`",
        json_schema_extra={"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "null"}]},
    )
    speed: float | None = Field(1.0, ge=0.25, le=4.0)
    response_format: Annotated[Literal["mp3", "wav", "pcm", "flac", "opus", "aac"] | None, BeforeValidator(_lower)] = (
        Field("mp3", description="in any letter case; pcm: 24 kHz, 16 bits, little-endian, mono; opus: in Ogg")
    )
    stream_format: Annotated[Literal["audio", "sse"] | None, BeforeValidator(_lower)] = Field(
        "audio", description="audio: the sound itself, as it is made; sse: the same in OpenAI's events"
    )

    def audio(self) -> AudioRequest:
        assert self.voice is not None
        return AudioRequest(text=self.input, voice=self.voice, rate=f"{round(((self.speed or 1) - 1) * 100):+d}%")

    @property
    def wanted(self) -> Format:
        return SOUNDS[self.response_format or "mp3"]


class SpeechModel(BaseModel):
    id: str
    name: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class SpeechModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[SpeechModel]


class AudioModelList(SpeechModelList):
    models: list[SpeechModel] = Field(description="`data` once more, where some clients look")


class SpeechVoice(BaseModel):
    id: str
    name: str


class SpeechVoiceList(BaseModel):
    object: Literal["list"] = "list"
    voices: list[SpeechVoice]
