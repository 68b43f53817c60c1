"""Stub until the table is there."""

from dataclasses import dataclass

from common.remote_files import HubFile
from functions.audio.voices import Gender


@dataclass(frozen=True)
class PiperVoice:
    name: str
    speaker: int | None = None

    @property
    def model(self) -> HubFile:
        return HubFile("rhasspy/piper-voices", f"en/en_US/joe/medium/{self.name}.onnx")

    @property
    def config(self) -> HubFile:
        return HubFile("rhasspy/piper-voices", f"en/en_US/joe/medium/{self.name}.onnx.json")


def piper_voice(locale: str, gender: Gender) -> PiperVoice | None:
    return PiperVoice("en_US-joe-medium") if locale.startswith("en") else None
