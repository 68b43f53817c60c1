"""GLiNER without torch: `tokenizers` for the prompt, `onnxruntime` for the model, numpy between them."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import ModelLoadFailed
from common.settings import ExtractSettings
from functions.extract.reader import EncodedWindow, Prompt, Reader
from functions.extract.words import seen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

    from functions.extract.candidates import Candidates

logger = logging.getLogger(__name__)

# Attention takes memory with the square of a window's tokens, labels included; 384 words of news are some 500.
MAX_WINDOW_TOKENS = 1024
# Labels may take so much of a window: a word of the longest has room beside them.
MAX_LABELS_SHARE = 0.75
# RoBERTa's kin count positions from behind the number of the padding token.
COUNTED_BEHIND_PADDING = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"}
# What the package takes for entries that a configuration leaves out, and for an index that is not set.
MAX_WIDTH, MAX_LEN, UNSET = 12, 384, -1
# This engine supports these values only. A configuration with another one is refused.
SUPPORTED = {
    "subtoken_pooling": "first",
    "words_splitter_type": "whitespace",
    "labels_encoder": None,
}
# All other modes are the graph's own affair: from the same inputs they make the same logits.
TOKEN_LEVEL = ("token_level", "token-level")


@dataclass(frozen=True)
class GlinerConfig:
    """The entries of `gliner_config.json` that inference depends on."""

    max_width: int
    max_len: int
    ent_token: str
    sep_token: str
    # None where it is not set: it is then the place of `ent_token` in the tokenizer.
    class_token_index: int | None
    # What a window may have, labels included.
    max_tokens: int = MAX_WINDOW_TOKENS

    @classmethod
    def read(cls, path: Path) -> "GlinerConfig":
        """Raises ModelLoadFailed for a model that this engine would answer wrongly for."""
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if raw.get("span_mode") in TOKEN_LEVEL:
            raise ModelLoadFailed(f"{path}: span_mode {raw['span_mode']!r} is not supported, only modes of spans")
        for key, supported in SUPPORTED.items():
            if raw.get(key, supported) != supported:
                raise ModelLoadFailed(f"{path}: {key} {raw[key]!r} is not supported, only {supported!r}")
        tokens = raw.get("ent_token", "<<ENT>>"), raw.get("sep_token", "<<SEP>>")
        index = raw.get("class_token_index", UNSET)
        # The package sets both when one of them is not set.
        is_set = index not in (None, UNSET) and raw.get("vocab_size") != UNSET
        sizes = raw.get("max_width", MAX_WIDTH), raw.get("max_len", MAX_LEN)
        return cls(*sizes, *tokens, index if is_set else None, _max_tokens(raw.get("encoder_config") or {}))

    def add_tokens(self, tokenizer: "Tokenizer") -> None:
        """Give the tokenizer the tokens of the prompt if it lacks them and no index is set; in the package's order."""
        lacks = None in map(tokenizer.token_to_id, (self.ent_token, self.sep_token))
        if lacks and self.class_token_index is None:
            tokenizer.add_special_tokens(["[FLERT]", self.ent_token, self.sep_token])


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
        # What /health tells of it.
        self.facts: dict[str, str] = {}
        # Written by those who let it run.
        self.rates: dict[str, float] = {}
        self.batch_tokens = settings.batch_tokens
        self.max_label_tokens = int(MAX_LABELS_SHARE * config.max_tokens)
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
        parts = [part for label in labels for part in (self._config.ent_token, seen(label))] + [self._config.sep_token]
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
        return 1 + len(self._tokenizer.encode(seen(label), add_special_tokens=False).ids)

    def spans(self, windows: Sequence[EncodedWindow]) -> "list[Candidates]":
        """Of each window every span that it has to report and that scores over its threshold.

        Blocks while the model runs, once for all windows, padded to the longest.
        """
        return [_spans(encoded, rows) for encoded, rows in zip(windows, self.logits(windows), strict=True)]

    def logits(self, windows: Sequence[EncodedWindow]) -> "NDArray[np.float32]":
        """[windows, words, max_width, labels], padded to the longest window and to the most labels.

        Raises ValueError for a graph that counts otherwise: it is made for another width, or another token of labels.
        """
        logits = self.run(windows)
        words, labels = (max(sizes) for sizes in zip(*((w.row.words, len(w.labels)) for w in windows), strict=True))
        if logits.shape != (expected := (len(windows), words, self._config.max_width, labels)):
            raise ValueError(f"its logits have the shape {logits.shape} instead of {expected}")
        return logits

    def run(self, windows: Sequence[EncodedWindow]) -> "NDArray[np.float32]":
        """What the model makes of them."""
        from functions.extract.feeds import feeds

        inputs = feeds([encoded.row for encoded in windows], self._config.max_width, self._pad_id)
        logits: NDArray[np.float32] = self._session.run(["logits"], inputs)[0]
        return logits

    def run_one_by_one(self, reason: str) -> None:
        """No batches from now on. `reason` is what the log says of the model."""
        if self.batch_tokens:
            logger.info("model %s: one text at a time: %s", self.name, reason)
        self.batch_tokens = 0

    def rest(self) -> None:
        """Give back the memory that large windows took: onnxruntime keeps it, and lets go of it only in a run."""
        from functions.extract.feeds import feeds
        from functions.extract.runtime import onnxruntime

        options = onnxruntime().RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        least = self.window("word", ["label"]).row
        self._session.run(["logits"], feeds([least], self._config.max_width, self._pad_id), options)

    def window(self, text: str, labels: Sequence[str]) -> EncodedWindow:
        """The first window of a text that has words."""
        encoded = self.read(text, self.prompt(labels), labels, 0.5).take()
        assert encoded is not None
        return encoded

    def check(self, path: Path) -> None:
        """Raises ModelLoadFailed when the tokenizer is not that of the model at `path`."""
        for role, token in (("ent_token", self._config.ent_token), ("sep_token", self._config.sep_token)):
            if self._tokenizer.token_to_id(token) is None:
                raise ModelLoadFailed(f"the tokenizer in {path.parent} has no {role} {token!r}: it is another model's")
        index, expected = self._tokenizer.token_to_id(self._config.ent_token), self._config.class_token_index
        if expected is not None and index != expected:
            reason = f"{self._config.ent_token!r} is token {index}, but {expected} for the model"
            raise ModelLoadFailed(f"the tokenizer in {path.parent} is another model's: {reason}")


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
