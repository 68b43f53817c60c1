"""Texts of every block of Unicode for the phonemizer of Piper's voices, in each language that they speak."""

import json
import time
from itertools import pairwise
from random import Random

from functions.audio.confined_process import CannotSpeak
from functions.audio.phonemes_child import MOST_PHONEMES
from functions.audio.piper_phonemes import Phonemized, phonemized, phonemizer
from functions.audio.piper_voices import VOICES
from functions.audio.piper_words import Spoken, timed
from tests.doubles import tiny_voice
from tests.fuzz.speech import blocks, text

# What is asked at once.
MOST_BYTES = 400
# A text that kills a process is tried with two more, each of which may be silent for 4 s first.
MOST_SECONDS, ORDINARY_EVERY = 15.0, 50
ORDINARY = "This is sentence number 7."
LANGUAGES = sorted({voice.locale.partition("-")[0] for voice in VOICES.values()} | {"en-us", "pt-br"})


def phonemes(seconds: float, seed: int) -> list[str]:
    """The faults that are found in that time."""
    random, letters = Random(seed), blocks()
    until = time.monotonic() + seconds
    faults: dict[str, str] = {}
    tried = refused = 0
    try:
        while time.monotonic() < until:
            tried += 1
            language = LANGUAGES[tried % len(LANGUAGES)]
            ordinary = tried % ORDINARY_EVERY == 0 or tried <= len(LANGUAGES)
            asked = ORDINARY if ordinary else text(random, letters).encode()[:MOST_BYTES].decode(errors="ignore")
            begun = time.monotonic()
            try:
                fault = _fault(phonemized(_config(language), asked))
            except CannotSpeak as error:
                refused += 1
                fault = f"an ordinary text: {error}" if ordinary else ""
            if (took := time.monotonic() - begun) > MOST_SECONDS:
                fault = f"more than {MOST_SECONDS:.0f} s ({took:.1f})"
            if fault:
                faults.setdefault(fault.partition("(")[0], f"{language}: {fault}: {asked!a}")
    finally:
        phonemizer.end()
    print(f"    tried: {tried} texts in {len(LANGUAGES)} languages; {refused} could not be spoken")
    return list(faults.values())


def _config(language: str) -> dict[str, object]:
    config: dict[str, object] = json.loads(tiny_voice.config(espeak={"voice": language}))
    return config


def _fault(found: Phonemized) -> str:
    """What is wrong with an answer, or ""."""
    longest = max((len(sentence.ids) for sentence in found.sentences), default=0)
    if longest > 2 * MOST_PHONEMES + 3:
        return f"a part is too long ({longest} ids)"
    id_map = _config("en-us")["phoneme_id_map"]
    assert isinstance(id_map, dict)
    named = []
    for sentence, words in found.by_sentence():
        spoken = list(timed(words, Spoken(sentence.phonemes, [0.03] * len(sentence.ids), id_map)))
        if any(earlier.start > later.start for earlier, later in pairwise(spoken)):
            return "words go back"
        named += [word.text for word in spoken]
    return "words are missing" if named and named != [word for word, _ in found.words] else ""
