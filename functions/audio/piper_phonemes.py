"""A text as the phonemes of a Piper voice; phonemes_child.py finds them in a process of its own."""

import atexit
import importlib.util
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from functions.audio.confined_process import CannotSpeak, ConfinedProcess
from functions.audio.piper_words import length, shares, words

# What of a voice's configuration says how its language is spoken; the names of its speakers, say, do not.
SPOKEN_BY = ("audio", "espeak", "num_symbols", "num_speakers", "phoneme_id_map", "phoneme_type", "vowel_clusters")


@dataclass(frozen=True)
class Sentence:
    """The phonemes of a sentence, each one or more code points, and the voice's ids of them."""

    phonemes: Sequence[str]
    ids: Sequence[int]


@dataclass(frozen=True)
class Phonemized:
    """A part of a text: its sentences, and its words with the number of phonemes that each has by itself."""

    sentences: Sequence[Sentence]
    words: Sequence[tuple[str, int]]

    def by_sentence(self) -> Iterator[tuple[Sentence, Sequence[tuple[str, int]]]]:
        """Each sentence that holds a sound, with the words that are most likely in it."""
        sounding = [(sentence, number) for sentence in self.sentences if (number := length(sentence.phonemes))]
        lengths = shares(self.words)
        stretch = sum(number for _, number in sounding) / max(1, sum(lengths))
        heard, at, said = 0.0, 0, 0.0
        for place, (sentence, number) in enumerate(sounding, 1):
            # What is left is the last one's, though its words be silent.
            heard += number if place < len(sounding) else math.inf
            begin = at
            # A word is in the sentence in which its middle is.
            while at < len(lengths) and said + stretch * lengths[at] / 2 < heard:
                said += stretch * lengths[at]
                at += 1
            yield sentence, self.words[begin:at]


def phonemized(config: Mapping[str, Any], text: str) -> Phonemized:
    """`config` is that of the voice. Blocks for some milliseconds; raises CannotSpeak."""
    found = words(text)
    answers: list[dict[str, Any]] = []
    spoken_by = {name: config[name] for name in SPOKEN_BY if name in config}
    wish = {"config": spoken_by, "text": text, "words": found}
    phonemizer.ask(wish, lambda part: answers.append(json.loads(part)))
    *sentences, last = answers
    return Phonemized([Sentence(**sentence) for sentence in sentences], list(zip(found, last["lengths"], strict=True)))


def _paths() -> tuple[str, str]:
    """The folder of the package and that of espeak-ng's data in it. It is not imported here."""
    found = importlib.util.find_spec("piper")
    if found is None or found.origin is None:
        raise CannotSpeak("piper-tts is not there")
    package = Path(found.origin).parent
    return str(package), str(package / "espeak-ng-data")


phonemizer = ConfinedProcess("Piper's phonemizer", "phonemes_child.py", _paths)
atexit.register(phonemizer.end)
