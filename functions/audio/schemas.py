"""What POST /audio takes and what GET /audio/voices answers."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from common.text import without_nul
from functions.audio.voices import DEFAULT_VOICE, VOICES, Gender, closest

MAX_CHARACTERS = 20_000


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

    def number(self, value: str) -> int:
        return int(value.removesuffix(self.unit))


RATE = SignedAmount("%", -90, 200)
VOLUME = SignedAmount("%", -100, 100)
PITCH = SignedAmount("Hz", -100, 100)


def _speakable(text: str) -> str:
    # Control characters and zero-width ones cannot be heard either.
    if not any(character.isprintable() and not character.isspace() for character in text):
        raise ValueError("must not be blank")
    return text


def _listed(name: str) -> str:
    if name in VOICES:
        return name
    near = closest(name)
    hint = f"the closest are {', '.join(near)}; " if near else ""
    raise ValueError(f"unknown voice; {hint}GET /audio/voices lists them all")


class AudioRequest(BaseModel):
    """A recording to make. `rate`, `volume` and `pitch` are offsets from the voice's own."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: Annotated[str, AfterValidator(without_nul), AfterValidator(_speakable)] = Field(
        max_length=MAX_CHARACTERS, examples=["Hello world"]
    )
    voice: Annotated[str, AfterValidator(_listed)] = Field(DEFAULT_VOICE, description="one of GET /audio/voices")
    rate: Annotated[str, AfterValidator(RATE)] = Field("+0%", description="speed, -90% to +200%")
    volume: Annotated[str, AfterValidator(VOLUME)] = Field("+0%", description="-100% to +100%")
    pitch: Annotated[str, AfterValidator(PITCH)] = Field("+0Hz", description="-100Hz to +100Hz")

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
    fallback: str = Field(description="the espeak-ng voice that stands in while the speech cloud is away")


class VoiceList(BaseModel):
    default: str
    voices: list[VoiceEntry]
