"""Tries a model when it is loaded: whether it answers, and whether texts that run together disturb each other."""

import mmap
from pathlib import Path
from typing import Any

from common.errors import ModelLoadFailed
from functions.extract.gliner import GlinerEngine
from functions.extract.reader import EncodedWindow

# Of different lengths, with different numbers of labels: together, both axes are padded.
TEXTS = [
    ("Paris", ["Location"]),
    ("On Monday Tim Cook of Apple met Angela Merkel and two bankers in Berlin.", ["Person", "Location"]),
]
# Numbers of 16 bits have three digits. What a batch changes of a logit beyond that is no rounding.
ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE = 0.01, 0.002


# The operators that find a scale for all the numbers of a call begin so.
SCALES_BY_CALL = b"DynamicQuantize"


def seen(graph: Path, session: Any) -> str:
    """Why texts must not run together, as far as the file `graph` shows it; empty where they may.

    Its bytes are searched: parsed, a file that holds its weights would be in memory a second time.
    """
    sizes = [value.shape[0] for value in session.get_inputs() if value.shape and isinstance(value.shape[0], int)]
    if sizes:
        return f"its graph is made for batches of {min(sizes)}"
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        dynamic = content.find(SCALES_BY_CALL) >= 0
    return "what runs beside a text would change its scores (dynamic quantisation)" if dynamic else ""


def run(engine: GlinerEngine, path: Path) -> None:
    """Raises ModelLoadFailed when the model at `path` cannot answer for one text, whatever its length.

    Where it cannot answer for two at once as for each alone, they run one by one from now on.
    """
    windows = [engine.window(text, labels) for text, labels in TEXTS]
    try:
        for window in windows:
            engine.spans([window])
    except Exception as error:
        raise ModelLoadFailed(f"{path} does not answer: {error}") from error
    if engine.batch_tokens and (reason := _disturbance(engine, windows)):
        engine.run_one_by_one(reason)


def _disturbance(engine: GlinerEngine, windows: list[EncodedWindow]) -> str:
    """What is wrong when the windows run together; empty where nothing is."""
    import numpy as np

    alone = [engine.logits([window])[0] for window in windows]
    try:
        together = engine.logits(windows)
        for window, expected, padded in zip(windows, alone, together, strict=True):
            actual = padded[: window.row.words, :, : len(window.labels)]
            # Spans that end behind the text have no meaning.
            within = np.add.outer(np.arange(expected.shape[0]), np.arange(expected.shape[1])) < window.row.words
            if not np.allclose(actual[within], expected[within], RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE):
                return f"beside another its logits differ by {np.abs(actual - expected)[within].max():.2g}"
    except Exception as error:
        # One line, of a library's longer message.
        return f"it fails for two: {str(error).partition(chr(10))[0]}"
    return ""
