"""What a recording is made of while it is made, and the measures of its MP3."""

from dataclasses import dataclass
from typing import Literal

EngineName = Literal["edge-tts", "piper", "espeak-ng"]

# Unpacked, every engine's sound is mono, in whole numbers of 16 bits.
BYTES_PER_SAMPLE = 2
# MP3 of constant bit rate, so bytes tell the time. The cloud knows no other; what is spoken here is encoded alike.
SAMPLE_RATE = 24_000
BIT_RATE_KBPS = 48
BYTES_PER_SECOND = BIT_RATE_KBPS * 1000 // 8


@dataclass(frozen=True, slots=True)
class Word:
    """A spoken word as the engine names it; `start` and `end` in seconds from the recording's first sound."""

    text: str
    start: float
    end: float

    def later(self, seconds: float) -> "Word":
        return Word(self.text, self.start + seconds, self.end + seconds)


# Sound, or when a word is heard.
Piece = bytes | Word
