"""What POST /audio takes, and what GET /audio/voices answers."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from common.settings import get_settings
from common.text import without_nul
from functions.audio.catalogue import Source, catalogue, closest
from functions.audio.normalization import normalized
from functions.audio.splitter import cut
from functions.audio.voices import DEFAULT_VOICE, Gender

MAX_CHARACTERS = 20_000
# The cloud breaks off at one of them; to espeak-ng Ctrl-A begins a command, whose effect would outlast the request.
SECONDS_PER_CHARACTER, SECONDS_PER_WIDE_CHARACTER = 0.07, 0.25
WIDE = re.compile(r"[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class SignedAmount:
    """Validates `+10%`: a sign, ASCII digits and the unit, within bounds. The outcome is the shortest spelling."""

    unit: str
    least: int
    most: int

    def __call__(self, value: str) -> str:
        match = re.fullmatch(rf"([+-]\d{{1,4}}){self.unit}", value, re.ASCII)
        if match is None or not self.least <= int(match[1]) <= self.most:
            raise ValueError(
                f"must be a sign, digits and {self.unit}, "
                f"from {self.least:+d}{self.unit} to {self.most:+d}{self.unit}; for example +10{self.unit}"
            )
        return f"{int(match[1]):+d}{self.unit}"

    @property
    def pattern(self) -> str:
        """The same for openapi.json, with as few digits as are needed."""
        return f"^(\\+({_up_to(self.most)})|-({_up_to(-self.least)})){self.unit}$"

    def number(self, value: str) -> int:
        return int(value.removesuffix(self.unit))


def _up_to(most: int) -> str:
    """A pattern of the whole numbers up to `most`, which is one digit and zeros: 300."""
    digit, zeros = int(str(most)[0]), len(str(most)) - 1
    return f"[0-{digit - 1}]?[0-9]{{1,{zeros}}}|{most}"


RATE = SignedAmount("%", -90, 300)
VOLUME = SignedAmount("%", -100, 100)
PITCH = SignedAmount("Hz", -100, 100)


def _speakable(text: str) -> str:
    # Control characters and zero-width ones cannot be heard either.
    if not any(character.isprintable() and not character.isspace() for character in text):
        raise ValueError("must not be blank")
    return text


def _listed(name: str) -> str:
    if name in catalogue:
        return name
    raise ValueError(f"unknown voice{closest(name, catalogue)}; GET /audio/voices lists them all")


SpokenText = Annotated[str, AfterValidator(without_nul), AfterValidator(_speakable)]


class AudioRequest(BaseModel):
    """A recording to make. `rate`, `volume` and `pitch` are offsets from the voice's own."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: SpokenText = Field(max_length=MAX_CHARACTERS, json_schema_extra={"minLength": 1}, examples=["Hello world"])
    voice: Annotated[str, AfterValidator(_listed)] = Field(DEFAULT_VOICE, description="one of GET /audio/voices")
    rate: Annotated[str, AfterValidator(RATE)] = Field(
        "+0%", description="speed, -90% to +300%", json_schema_extra={"pattern": RATE.pattern}
    )
    volume: Annotated[str, AfterValidator(VOLUME)] = Field(
        "+0%", description="-100% to +100%", json_schema_extra={"pattern": VOLUME.pattern}
    )
    pitch: Annotated[str, AfterValidator(PITCH)] = Field(
        "+0Hz", description="-100Hz to +100Hz", json_schema_extra={"pattern": PITCH.pattern}
    )
    normalize: bool = Field(
        True, description="read Markdown, addresses and emoji as a person would; false: every character as it was sent"
    )

    @model_validator(mode="after")
    def _is_not_too_long(self) -> "AudioRequest":
        most = get_settings().audio.max_speech_seconds
        if (seconds := self.seconds_of(self.text)) > most:
            raise ValueError(f"text: would be {seconds:.0f} s of speech at this `rate`, may be {most:.0f}")
        return self

    @property
    def spoken_text(self) -> str:
        """What is said: normalised, and without what no XML document may hold and no engine can say."""
        return NOT_IN_XML.sub(" ", normalized(self.text) if self.normalize else self.text)

    async def parts(self, part_bytes: int, max_bytes: int) -> list[str]:
        """What is said, in parts as `splitter.split` cuts them; blank ones are left out."""
        return await cut(self.text, lambda: self.spoken_text, part_bytes, max_bytes)

    @property
    def speed(self) -> float:
        """1 is the voice's own."""
        return 1 + self.rate_percent / 100

    def seconds_of(self, text: str) -> float:
        """About how long a part of it is heard; a sign of Chinese, Japanese or Korean is a syllable or two."""
        wide = 0 if text.isascii() else len(WIDE.findall(text))
        return (SECONDS_PER_CHARACTER * (len(text) - wide) + SECONDS_PER_WIDE_CHARACTER * wide) / self.speed

    @property
    def rate_percent(self) -> int:
        return RATE.number(self.rate)

    @property
    def volume_percent(self) -> int:
        return VOLUME.number(self.volume)

    @property
    def pitch_hertz(self) -> int:
        return PITCH.number(self.pitch)


class VoiceEntry(BaseModel):
    name: str
    locale: str
    gender: Gender
    local: str | None = Field(description="the neural voice that speaks while the cloud is away; null: there is none")
    fallback: str = Field(description="the espeak-ng voice that speaks where neither can")


class VoiceList(BaseModel):
    default: str
    source: Source = Field(description="cloud: what the speech cloud lists was added to the bundled voices")
    voices: list[VoiceEntry]
