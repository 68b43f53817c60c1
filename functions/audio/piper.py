"""Piper, a neural voice that needs no cloud: a sentence at a time, and within it piece by piece."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from common.admission import Admission, Limits
from common.cache import SharedRun
from common.errors import FactoryError, QueueFull
from common.settings import get_settings
from common.worker import Worker
from functions.audio.catalogue import catalogue
from functions.audio.confined_process import CannotSpeak
from functions.audio.errors import SpeechFailed, VoiceAway
from functions.audio.pieces import BYTES_PER_SAMPLE, Piece
from functions.audio.piper_loading import here, voices
from functions.audio.piper_model import SECONDS_PER_ID, SECONDS_PER_PIECE, PiperModel
from functions.audio.piper_phonemes import Sentence, phonemized
from functions.audio.piper_voices import PiperVoice, piper_voices
from functions.audio.piper_words import Spoken, timed
from functions.audio.priority import give_way
from functions.audio.recorder import FULL_SCALE, Recorder, recorded
from functions.audio.schemas import AudioRequest
from functions.audio.voices import Gender

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A part is a sentence, or a few that are short; one is cut only if it is longer than some 20 s.
PART_BYTES, MAX_PART_BYTES = 60, 400
SECONDS_PER_PART = 0.007
# The voices say each sentence by itself, without the pause behind it.
PAUSE_SECONDS = 0.25
SENTENCE_ENDS = frozenset(".!?")
# Slower than this they fall apart.
SLOWEST = 0.4
# How high voices are, about. A voice is moved by playing it faster or slower than it was made, so its colour moves as
# well: no farther than it is still that of a person.
HERTZ: dict[Gender, float] = {"Male": 120.0, "Female": 200.0}
LOWEST, HIGHEST = 0.8, 1.3


class PiperSpeech:
    """Speaks one recording with a Piper voice of the request's locale or language: 24 kHz, 48 kbit/s, mono MP3."""

    name: ClassVar[Literal["piper"]] = "piper"

    def __init__(self) -> None:
        self._spoken_by = ""

    def voice(self, request: AudioRequest) -> str:  # noqa: ARG002
        """Of the recording that has begun: which one it is depends on which are loaded."""
        return f"piper:{self._spoken_by}"

    async def stream(
        self, request: AudioRequest, first_by: float, making: SharedRun[Any] | None = None
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of one recording while it is spoken, a sound first.

        Raises VoiceAway where there is no such voice, where it is not loaded yet, and where it could not begin by
        `first_by`; and SpeechFailed.
        """
        wished = catalogue[request.voice]
        choices: Sequence[PiperVoice] = piper_voices(wished.locale, wished.gender)
        if not get_settings().audio.piper_downloads:
            choices = await asyncio.to_thread(here, choices)
        voice, model = voices.speaking(choices)
        self._spoken_by = voice.name
        speaking = _Speaking(model, request, voice.gender or wished.gender)
        parts = await request.parts(PART_BYTES, MAX_PART_BYTES)
        try:
            async with slots.slot(request.seconds_of(request.text), first_by):
                made = recorded(_thread, speaking.sample_rate, partial(speaking.steps, parts), making)
                async with aclosing(made) as pieces:
                    async for piece in pieces:
                        yield piece
        except QueueFull as error:
            raise VoiceAway(error.detail) from None


class _Speaking:
    """One recording as a voice makes it; its steps are for the thread."""

    def __init__(self, model: PiperModel, request: AudioRequest, gender: Gender) -> None:
        """`gender` is that of the voice which speaks."""
        own = HERTZ[gender]
        self._raised = min(max((own + request.pitch_hertz) / own, LOWEST), HIGHEST)
        # Played faster than it was made, it has to be made more slowly.
        self._speed = max(request.speed, SLOWEST) / self._raised
        self._gain = model.gain * (1 + request.volume_percent / 100)
        self._model = model
        self.sample_rate = round(model.sample_rate * self._raised)

    def steps(self, parts: Sequence[str], recorder: Recorder) -> Iterator[float]:
        """Of each part its phonemes, then of each sentence the first sound, then the others. Raises SpeechFailed."""
        give_way()
        for part in parts:
            yield SECONDS_PER_PART
            with _told():
                text = phonemized(self._model.config, part)
            for sentence, words in text.by_sentence():
                yield SECONDS_PER_ID * len(sentence.ids)
                with _told():
                    yield from self._say(sentence, words, recorder)
        if not recorder.seconds:
            raise SpeechFailed("the text holds nothing that this voice can say")
        recorder.end()

    def _say(self, sentence: Sentence, words: Sequence[tuple[str, int]], recorder: Recorder) -> Iterator[float]:
        latent = self._model.encode(sentence.ids, self._speed)
        spoken = Spoken(
            sentence.phonemes,
            [seconds / self._raised for seconds in latent.id_seconds],
            self._model.config["phoneme_id_map"],
        )
        begun = recorder.seconds
        for word in timed(words, spoken):
            recorder.name(word.later(begun))
        for samples in self._model.decode(latent):
            recorder.hear(self._pcm(samples))
            yield SECONDS_PER_PIECE
        if sentence.phonemes[-1] in SENTENCE_ENDS:
            recorder.hear(bytes(BYTES_PER_SAMPLE * round(PAUSE_SECONDS * self.sample_rate)))

    def _pcm(self, samples: "NDArray[np.float32]") -> bytes:
        import numpy as np

        whole: NDArray[np.int16] = (np.clip(samples * self._gain, -1.0, 1.0) * FULL_SCALE).astype("<i2")
        return whole.tobytes()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except FactoryError:
        raise
    except (CannotSpeak, OSError) as error:
        raise SpeechFailed(str(error)) from error
    except Exception as error:
        # What onnxruntime raises has no base of its own.
        raise SpeechFailed(f"the voice failed ({type(error).__name__})") from error


def _recordings() -> Limits:
    settings = get_settings().audio
    return Limits(settings.piper_recordings, settings.max_waiting)


_thread = Worker("piper")
slots = Admission("piper", _recordings, shared_slots=True)
