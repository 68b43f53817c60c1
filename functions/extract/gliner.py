"""GLiNER without torch: `tokenizers` for the prompt, `onnxruntime` for the model, numpy between them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import ModelLoadFailed
from common.settings import ExtractSettings
from functions.extract.reader import EncodedWindow, Prompt, Reader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

    from functions.extract.candidates import Candidates

# Attention takes memory with the square of a window's tokens, labels included; 384 words of news are some 500.
MAX_WINDOW_TOKENS = 1024
# Labels may take so much of a window: a word of the longest has room beside them.
MAX_LABELS_SHARE = 0.75
# RoBERTa's kin count positions from behind the number of the padding token.
COUNTED_BEHIND_PADDING = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"}
# This engine supports these values only. A configuration with another one is refused.
SUPPORTED = {
    "span_mode": "markerV0",
    "subtoken_pooling": "first",
    "words_splitter_type": "whitespace",
    "labels_encoder": None,
}


@dataclass(frozen=True)
class GlinerConfig:
    """The entries of `gliner_config.json` that inference depends on."""

    max_width: int
    max_len: int
    ent_token: str
    sep_token: str
    class_token_index: int | None
    # What a window may have, labels included.
    max_tokens: int = MAX_WINDOW_TOKENS

    @classmethod
    def read(cls, path: Path) -> "GlinerConfig":
        """Raises ModelLoadFailed for a model that this engine would answer wrongly for."""
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for key, supported in SUPPORTED.items():
            if raw.get(key, supported) != supported:
                raise ModelLoadFailed(f"{path}: {key} {raw[key]!r} is not supported, only {supported!r}")
        tokens = raw.get("ent_token", "<<ENT>>"), raw.get("sep_token", "<<SEP>>")
        max_tokens = _max_tokens(raw.get("encoder_config") or {})
        return cls(raw["max_width"], raw["max_len"], *tokens, raw.get("class_token_index"), max_tokens)


def _max_tokens(encoder: dict[str, Any]) -> int:
    """No more than the encoder has positions for, unless it knows only how far apart tokens are."""
    positions = encoder.get("max_position_embeddings")
    # DeBERTa may add absolute positions to its relative ones.
    is_absolute = encoder.get("position_biased_input", not encoder.get("relative_attention", False))
    if positions is None or not is_absolute:
        return MAX_WINDOW_TOKENS
    first = encoder.get("pad_token_id", 1) + 1 if encoder.get("model_type") in COUNTED_BEHIND_PADDING else 0
    return min(MAX_WINDOW_TOKENS, int(positions) - int(first))


class GlinerEngine:
    """One loaded model. Its methods may be called from several threads."""

    def __init__(
        self, name: str, config: GlinerConfig, tokenizer: "Tokenizer", session: Any, settings: ExtractSettings
    ) -> None:
        self.name = name
        # Quantised activations are scaled by the whole batch: what runs beside a text would change its scores.
        self.batch_tokens = settings.batch_tokens if settings.precision != "int8" else 0
        self.max_label_tokens = min(settings.max_label_tokens, int(MAX_LABELS_SHARE * config.max_tokens))
        self._config = config
        self._tokenizer = tokenizer
        self._session = session
        self._overlap = settings.window_overlap_words
        pad = tokenizer.token_to_id("[PAD]")
        self._pad_id = 0 if pad is None else pad
        self._reserved = [token.content for token in tokenizer.get_added_tokens_decoder().values()]

    def reserved_token_in(self, label: str) -> str | None:
        """A token of the prompt's own that `label` would smuggle in, if there is one."""
        return next((token for token in self._reserved if token in label), None)

    def prompt(self, labels: Sequence[str]) -> Prompt:
        """The tokens of `labels`; raises ValueError when one of them is read as a token that the model reserves."""
        parts = [token for label in labels for token in (self._config.ent_token, label)] + [self._config.sep_token]
        encoding: Encoding = self._tokenizer.encode(parts, is_pretokenized=True)
        ids = encoding.ids
        tokens = encoding.tokens
        # Normalising can make such a token of other characters.
        if (tokens.count(self._config.ent_token), tokens.count(self._config.sep_token)) != (len(labels), 1):
            raise ValueError("must not contain what the model reads as a token of its own")
        behind = 0
        while behind < len(ids) and encoding.special_tokens_mask[-1 - behind]:
            behind += 1
        return Prompt(ids[: len(ids) - behind], ids[len(ids) - behind :])

    def read(self, text: str, prompt: Prompt, labels: Sequence[str], threshold: float) -> Reader:
        """The windows in which the model looks at the whole of `text`."""
        return Reader(
            text,
            self._tokenizer,
            prompt,
            labels,
            threshold,
            max_words=self._config.max_len,
            max_tokens=self._config.max_tokens,
            overlap=self._overlap,
        )

    def label_tokens(self, label: str) -> int:
        """How many tokens the prompt takes for `label`."""
        return 1 + len(self._tokenizer.encode(label, add_special_tokens=False).ids)

    def spans(self, windows: Sequence[EncodedWindow]) -> "list[Candidates]":
        """Of each window every span that it has to report and that scores over its threshold.

        Blocks while the model runs, once for all windows, padded to the longest.
        """
        from functions.extract.feeds import feeds

        inputs = feeds([encoded.row for encoded in windows], self._config.max_width, self._pad_id)
        (logits,) = self._session.run(["logits"], inputs)
        return [_spans(encoded, rows) for encoded, rows in zip(windows, logits, strict=True)]

    def rest(self) -> None:
        """Give back the memory that large windows took: onnxruntime keeps it, and lets go of it only in a run."""
        from functions.extract.feeds import feeds
        from functions.extract.runtime import onnxruntime

        options = onnxruntime().RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._session.run(["logits"], feeds([self._least_window().row], self._config.max_width, self._pad_id), options)

    def check(self, path: Path) -> None:
        """Raises ModelLoadFailed when the model at `path` cannot answer for a text of one word."""
        for role, token in (("ent_token", self._config.ent_token), ("sep_token", self._config.sep_token)):
            if self._tokenizer.token_to_id(token) is None:
                raise ModelLoadFailed(f"the tokenizer in {path.parent} has no {role} {token!r}: it is another model's")
        index, expected = self._tokenizer.token_to_id(self._config.ent_token), self._config.class_token_index
        if expected is not None and index != expected:
            reason = f"{self._config.ent_token!r} is token {index}, but {expected} for the model"
            raise ModelLoadFailed(f"the tokenizer in {path.parent} is another model's: {reason}")
        try:
            self.spans([self._least_window()])
        except Exception as error:
            raise ModelLoadFailed(f"{path} does not answer: {error}") from error

    def _least_window(self) -> EncodedWindow:
        labels = ["label"]
        encoded = self.read("word", self.prompt(labels), labels, 0.5).take()
        assert encoded is not None
        return encoded


def _spans(encoded: EncodedWindow, logits: "NDArray[np.float32]") -> "Candidates":
    """`logits` is [words, max_width, labels], padded in its first and last axis."""
    import numpy as np

    from functions.extract.candidates import Candidates

    window = encoded.window
    length = window.stop - window.start
    own = logits[window.core_start - window.start : window.core_stop - window.start, :, : len(encoded.labels)]
    # A logit below -88 overflows to infinity, whose inverse is the 0 it should be.
    with np.errstate(over="ignore"):
        scores = 1 / (1 + np.exp(-own))
    # A span may not end behind the window.
    ends = np.arange(window.core_start, window.core_stop)[:, None] + np.arange(scores.shape[1])
    found = (scores > encoded.threshold) & (ends < window.start + length)[:, :, None]
    offset, width, label = np.nonzero(found)
    first = window.core_start + offset
    return Candidates.of(first, first + width, label, scores[found])
