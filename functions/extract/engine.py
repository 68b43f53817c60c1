"""GLiNER without torch: `tokenizers` for the prompt, `onnxruntime` for the model, numpy between them."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import ModelLoadFailed
from common.lazy import LazyModel, Report
from common.settings import ExtractSettings, cpu_threads, get_settings
from common.worker import Cancelled
from functions.extract.decoding import Span
from functions.extract.windows import Window, Word, split_windows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

# Attention takes memory with the square of a window's tokens; 384 words of news are some 500 of them.
MAX_WINDOW_TOKENS = 1024
# What this engine does as the `gliner` package does; a configuration that asks for anything else is refused.
SUPPORTED = {
    "span_mode": "markerV0",
    "subtoken_pooling": "first",
    "words_splitter_type": "whitespace",
    "labels_encoder": None,
}


@dataclass(frozen=True)
class GlinerConfig:
    """What of `gliner_config.json` inference depends on."""

    max_width: int
    max_len: int
    ent_token: str
    sep_token: str

    @classmethod
    def read(cls, path: Path) -> "GlinerConfig":
        """Raises ModelLoadFailed for a model that this engine would answer wrongly for."""
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for key, supported in SUPPORTED.items():
            if raw.get(key, supported) != supported:
                raise ModelLoadFailed(f"{path}: {key} {raw[key]!r} is not supported, only {supported!r}")
        return cls(raw["max_width"], raw["max_len"], raw.get("ent_token", "<<ENT>>"), raw.get("sep_token", "<<SEP>>"))


class GlinerEngine:
    """One loaded model. `spans` may be called from several threads."""

    def __init__(self, config: GlinerConfig, tokenizer: "Tokenizer", session: Any, settings: ExtractSettings) -> None:
        self.name = settings.model_name
        self._config = config
        self._tokenizer = tokenizer
        self._session = session
        self._overlap = settings.window_overlap_words
        self._batch_windows = settings.batch_windows
        pad = tokenizer.token_to_id("[PAD]")
        self._pad_id = 0 if pad is None else pad
        self._reserved = [token.content for token in tokenizer.get_added_tokens_decoder().values()]

    def reserved_token_in(self, label: str) -> str | None:
        """A token of the prompt's own that `label` would smuggle in, if there is one."""
        return next((token for token in self._reserved if token in label), None)

    def windows(self, words: Sequence[Word]) -> list[Window]:
        """How `words` are cut into windows that this model can take."""
        encodings = self._tokenizer.encode_batch([word.text for word in words], add_special_tokens=False)
        return split_windows(
            words,
            [max(1, len(encoding.ids)) for encoding in encodings],
            max_words=self._config.max_len,
            max_tokens=MAX_WINDOW_TOKENS,
            overlap=self._overlap,
        )

    def spans(
        self,
        words: Sequence[Word],
        windows: Sequence[Window],
        labels: Sequence[str],
        threshold: float,
        cancelled: threading.Event,
    ) -> Iterator[Span]:
        """Every span of at most `max_width` words that scores over `threshold`, in words of the whole text.

        Raises Cancelled between two batches.
        """
        for first in range(0, len(windows), self._batch_windows):
            if cancelled.is_set():
                raise Cancelled
            batch = windows[first : first + self._batch_windows]
            scores = self._scores([[word.text for word in words[w.start : w.stop]] for w in batch], labels)
            for window, window_scores in zip(batch, scores, strict=True):
                yield from _over_threshold(window, window_scores, threshold)

    def _scores(self, texts: Sequence[Sequence[str]], labels: Sequence[str]) -> "NDArray[np.float32]":
        """Probability of each span and label: [texts, longest text, max_width, labels]."""
        import numpy as np

        prompt = [token for label in labels for token in (self._config.ent_token, label)] + [self._config.sep_token]
        encodings = self._tokenizer.encode_batch([[*prompt, *text] for text in texts], is_pretokenized=True)
        feeds = self._feeds(encodings, [len(text) for text in texts], len(prompt))
        (logits,) = self._session.run(["logits"], feeds)
        # A logit below -88 overflows to infinity, whose inverse is the 0 it should be.
        with np.errstate(over="ignore"):
            probabilities: NDArray[np.float32] = 1 / (1 + np.exp(-logits))
        return probabilities

    def _feeds(
        self, encodings: Sequence["Encoding"], lengths: Sequence[int], prompt_length: int
    ) -> "dict[str, NDArray[Any]]":
        """The model's inputs, padded to the longest text of the batch."""
        import numpy as np

        shape = (len(encodings), max(len(encoding.ids) for encoding in encodings))
        input_ids = np.full(shape, self._pad_id, np.int64)
        attention_mask = np.zeros(shape, np.int64)
        words_mask = np.zeros(shape, np.int64)
        for row, encoding in enumerate(encodings):
            size = len(encoding.ids)
            input_ids[row, :size] = encoding.ids
            attention_mask[row, :size] = 1
            words_mask[row, :size] = _first_token_of_each_word(encoding.word_ids, prompt_length)
        longest, width = max(lengths), self._config.max_width
        text_lengths = np.array(lengths, np.int64)[:, None]
        firsts = np.repeat(np.arange(longest), width)
        lasts = firsts + np.tile(np.arange(width), longest)
        span_mask = lasts[None, :] < text_lengths
        span_idx = np.stack([firsts, lasts], axis=-1)[None] * span_mask[:, :, None]
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "words_mask": words_mask,
            "text_lengths": text_lengths,
            "span_idx": span_idx.astype(np.int64),
            "span_mask": span_mask,
        }


def _first_token_of_each_word(word_ids: Sequence[int | None], prompt_length: int) -> list[int]:
    """1 + the text's word at its first sub-word token, 0 at every other token and in the prompt.

    The words are numbered as they were given: one that leaves no token (a lone zero-width space) shifts no other.
    """
    mask = []
    previous: int | None = None
    for word in word_ids:
        is_first = word is not None and word != previous and word >= prompt_length
        mask.append(word - prompt_length + 1 if word is not None and is_first else 0)
        previous = word
    return mask


def _over_threshold(window: Window, scores: "NDArray[np.float32]", threshold: float) -> Iterator[Span]:
    import numpy as np

    length = window.stop - window.start
    for offset, width, label in np.argwhere(scores > threshold).tolist():
        first = window.start + offset
        if offset + width < length and window.core_start <= first < window.core_stop:
            yield Span(first, first + width, label, float(scores[offset, width, label]))


def load(_: Report) -> GlinerEngine:
    """Load the model that the settings name; raises ModelLoadFailed."""
    settings = get_settings().extract
    folder = settings.model_path
    paths = [folder / name for name in ("gliner_config.json", "tokenizer.json", settings.model_file)]
    for path in paths:
        if not path.is_file():
            raise ModelLoadFailed(f"there is no file {path}")
    config_path, tokenizer_path, model_path = paths
    with _readable(config_path):
        config = GlinerConfig.read(config_path)

    import onnxruntime
    from tokenizers import Tokenizer

    with _readable(tokenizer_path):
        tokenizer = Tokenizer.from_file(str(tokenizer_path))
    # Set once, here: changing these while another thread encodes raises "Already borrowed".
    tokenizer.no_truncation()
    tokenizer.no_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_threads(settings.threads)
    options.inter_op_num_threads = 1
    with _readable(model_path):
        session = onnxruntime.InferenceSession(str(model_path), options, providers=["CPUExecutionProvider"])
    return GlinerEngine(config, tokenizer, session, settings)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever a library makes of a damaged file, the reason names the file."""
    try:
        yield
    except ModelLoadFailed:
        raise
    except Exception as error:
        raise ModelLoadFailed(f"{path} could not be read: {error}") from error


model: LazyModel[GlinerEngine] = LazyModel("gliner", load)
