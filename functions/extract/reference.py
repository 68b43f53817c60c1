"""The `gliner` package behind this engine's interface: the oracle to compare with, not a way to serve.

It needs `requirements/reference.txt` (torch, transformers, gliner) and a folder that `save_pretrained` wrote.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import ModelLoadFailed
from common.settings import ExtractSettings, cpu_threads
from functions.extract import trial
from functions.extract.gliner import GlinerConfig, GlinerEngine
from functions.extract.reader import EncodedWindow
from functions.extract.words import seen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer


class ReferenceEngine(GlinerEngine):
    """Windows are cut, and spans decided on, as for the other engine. The package alone makes the scores."""

    def __init__(
        self, name: str, config: GlinerConfig, tokenizer: "Tokenizer", gliner: Any, settings: ExtractSettings
    ) -> None:
        super().__init__(name, config, tokenizer, None, settings)
        self.batch_tokens = 0
        self._gliner = gliner

    def run(self, windows: Sequence[EncodedWindow]) -> "NDArray[np.float32]":
        """Of one window. The package does not decode: what rules out what is decided once, for the whole text."""
        import numpy as np

        (window,) = windows
        words = self._gliner.prepare_base_input([list(map(seen, window.words))])
        batch = self._gliner.collate_batch(words, list(map(seen, window.labels)))
        return np.asarray(self._gliner.run_batch(batch)[0], np.float32)

    def rest(self) -> None:
        """torch keeps no arena."""


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
