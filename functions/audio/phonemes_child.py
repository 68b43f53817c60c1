"""Piper's own phonemizer in a process of its own: espeak-ng is within it, and reads strangers' text.

Started by confined_process.py as a script, with the folder of the package `piper` and that of espeak-ng's data in it. A
wish holds the voice's `config`, a `text` and its `words`; the parts of the answer are JSON: for each sentence, or part
of a long one, its `phonemes` and their `ids`, and last of all how many phonemes each of the words has by itself. This
is the one module that knows piper-tts (GPL-3, version 1.8).
"""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from functions.audio.confined_child import Answer, Send, serve

# A model's time and memory grow with the square of them, and a single character may be read as several words: these are
# some 20 s of speech.
MOST_PHONEMES = 300
CLAUSE_ENDS = (",", ";", ":")


def prepare(package: str, data: str) -> Answer:
    # Not by its __init__, which imports onnxruntime: this process has the standard library only.
    piper = ModuleType("piper")
    piper.__path__ = [package]
    sys.modules["piper"] = piper
    from piper.config import PiperConfig
    from piper.phoneme_ids import phonemes_to_ids
    from piper.phonemize_espeak import EspeakPhonemizer

    # A phoneme that the voice has not is left out, as it is by Piper.
    logging.getLogger("piper").setLevel(logging.ERROR)
    phonemizer = EspeakPhonemizer(data)

    def answer(wish: dict[str, Any], send: Send) -> str:
        config = PiperConfig.from_dict(wish["config"])

        def phonemes(text: str) -> list[list[str]]:
            return phonemizer.phonemize(config.espeak_voice, text, config.vowel_clusters)

        for sentence in (part for whole in phonemes(wish["text"]) for part in bounded(whole)):
            ids = phonemes_to_ids(sentence, config.phoneme_id_map)
            send(json.dumps({"phonemes": sentence, "ids": ids}).encode())
        lengths = [sum(map(len, phonemes(word))) for word in wish["words"]]
        send(json.dumps({"lengths": lengths}).encode())
        return ""

    return answer


def bounded(phonemes: list[str]) -> Iterator[list[str]]:
    """A sentence in parts of at most so many phonemes, which end with a clause if they can, else with a word."""
    rest = phonemes
    while len(rest) > MOST_PHONEMES:
        head = rest[:MOST_PHONEMES]
        gaps = [at for at, phoneme in enumerate(head, 1) if phoneme == " "]
        clauses = [at for at in gaps if head[at - 2] in CLAUSE_ENDS]
        end = (clauses or gaps or [MOST_PHONEMES])[-1]
        yield rest[:end]
        rest = rest[end:]
    if rest:
        yield rest


if __name__ == "__main__":
    serve(prepare)
