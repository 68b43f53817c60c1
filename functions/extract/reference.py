"""The `gliner` package behind this engine's interface: the oracle to compare with, not a way to serve.

It needs `requirements/reference.txt` (torch, transformers, gliner) and a folder that `save_pretrained` wrote.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import ModelLoadFailed
from common.settings import ExtractSettings, cpu_threads
from functions.extract import trial
from functions.extract.candidates import Candidates
from functions.extract.gliner import GlinerConfig, GlinerEngine
from functions.extract.reader import EncodedWindow

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class ReferenceEngine(GlinerEngine):
    """Windows are cut as for the other engine. The package alone finds the entities in them."""

    def __init__(
        self, name: str, config: GlinerConfig, tokenizer: "Tokenizer", gliner: Any, settings: ExtractSettings
    ) -> None:
        super().__init__(name, config, tokenizer, None, settings)
        self.batch_tokens = 0
        self._gliner = gliner

    def spans(self, windows: Sequence[EncodedWindow]) -> list[Candidates]:
        return [self._spans_of(encoded) for encoded in windows]

    def rest(self) -> None:
        """torch keeps no arena."""

    def _spans_of(self, encoded: EncodedWindow) -> Candidates:
        # The package finds the same words again in a text that has a space between any two.
        words_by_start: dict[int, int] = {}
        words_by_end: dict[int, int] = {}
        offset = 0
        for number, word in enumerate(encoded.words, encoded.window.start):
            words_by_start[offset] = number
            offset += len(word)
            words_by_end[offset] = number
            offset += 1
        # Nested and with every label: which spans rule out which is decided over the whole text.
        found = self._gliner.predict_entities(
            " ".join(encoded.words), list(encoded.labels), flat_ner=False, threshold=encoded.threshold, multi_label=True
        )
        spans = []
        for entity in found:
            first, last = words_by_start[entity["start"]], words_by_end[entity["end"]]
            if encoded.window.core_start <= first < encoded.window.core_stop:
                spans.append((first, last, encoded.labels.index(entity["label"]), entity["score"]))
        return Candidates.of(*(zip(*spans, strict=True) if spans else ([], [], [], [])))


def load_reference(
    name: str, folder: Path, config: GlinerConfig, tokenizer: "Tokenizer", settings: ExtractSettings
) -> ReferenceEngine:
    """The checkpoint in `folder`; raises ModelLoadFailed."""
    try:
        import torch
        from gliner import GLiNER
    except ImportError as error:
        reason = "it is installed by `pip install --require-hashes -r requirements/reference.txt`"
        raise ModelLoadFailed(f"the engine `gliner` needs the package gliner ({error}): {reason}") from error
    torch.set_num_threads(cpu_threads(settings.threads))
    try:
        gliner = GLiNER.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        raise ModelLoadFailed(f"{folder} could not be read by gliner: {error}") from error
    gliner.eval()
    engine = ReferenceEngine(name, config, tokenizer, gliner, settings)
    engine.check(folder / "the checkpoint")
    trial.run(engine, folder / "the checkpoint")
    return engine
