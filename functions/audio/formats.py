"""What a recording can be had as: sound in the formats that players and OpenAI's clients ask for, and captions."""

from dataclasses import dataclass
from typing import Literal

SoundName = Literal["mp3", "wav", "pcm", "flac", "opus", "aac"]


@dataclass(frozen=True)
class Format:
    """`name` as OpenAI has it, where it has one; `others` are media types by which it is asked for as well."""

    name: str
    media_type: str
    others: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        return self in SOUNDS.values()


# As it is made and kept. All others are made of it.
MP3 = Format("mp3", "audio/mpeg", ("audio/mp3",))
WAV = Format("wav", "audio/wav", ("audio/x-wav", "audio/wave", "audio/vnd.wave"))
# Samples of 16 bits, little-endian, without a header; audio/L16 would have them the other way round.
PCM = Format("pcm", "audio/pcm")
FLAC = Format("flac", "audio/flac", ("audio/x-flac",))
# In an Ogg container.
OPUS = Format("opus", "audio/ogg", ("audio/opus", "application/ogg"))
# In ADTS frames.
AAC = Format("aac", "audio/aac", ("audio/aacp", "audio/x-aac"))
VTT, SRT = Format("vtt", "text/vtt"), Format("srt", "application/x-subrip")
# With the time of each word; by `text/vtt; timestamps=words`.
VTT_BY_WORD = Format("vtt-by-word", "text/vtt")

SOUNDS = {wanted.name: wanted for wanted in (MP3, WAV, PCM, FLAC, OPUS, AAC)}
BY_MEDIA_TYPE = {
    media_type: wanted for wanted in (*SOUNDS.values(), VTT, SRT) for media_type in (wanted.media_type, *wanted.others)
}
