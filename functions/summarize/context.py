"""A thin layer over llama.cpp's C API: one model, its vocabulary, and one context that several sequences share."""

import ctypes
import os
import re
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from common.errors import ModelLoadFailed
from functions.summarize import adapter as lora
from functions.summarize import cpu
from functions.summarize.model_kind import NEEDED

# Most rows of one batch.
BATCH_ROWS = 512
# The sequence that holds the opening which every prompt shares; requests have the numbers above it.
SHARED_SEQUENCE = 0
TOP_K, TOP_P, MIN_P = 40, 0.95, 0.05
RANDOM_SEED = 0xFFFFFFFF
DECODE_ABORTED = 2
# ggml.h, enum ggml_log_level.
LOG_LEVEL_ERROR = 4
SPIN_COUNT = "2000"
# llama.h, enum llama_token_attr: a token that is read in any text, as no control token is.
USER_DEFINED = 1 << 4
# Characters of plain text without white space, or of white space, that are tokenised together. The regular expressions
# of some vocabularies recurse for each (40,000 end the process), and SentencePiece takes more than linear time.
LONGEST_RUN = 8192
# Stands before a text that is not to get SentencePiece's space. No longer token has it in it.
GUARD = "\x01"

_loading = threading.Lock()
_RUN = re.compile(r"\S++|\s++")


@dataclass(frozen=True)
class Sampling:
    """`seed` None draws a new one; `temperature` 0 takes the likeliest token.

    `thinking_tokens` are those of thoughts, which may come before the `max_tokens` of the text.
    """

    max_tokens: int
    temperature: float
    seed: int | None
    thinking_tokens: int = 0


@dataclass(frozen=True)
class Options:
    """How llama.cpp computes on this host.

    `repack` lays the weights out anew at load; `micro_batch` is the most rows of one pass through the model.
    """

    threads: int
    repack: bool = False
    micro_batch: int = BATCH_ROWS
    flash_attention: bool = True


@dataclass(frozen=True)
class Row:
    """One token of a batch; `output` asks for the logits behind it."""

    token: int
    position: int
    sequence: int
    output: bool


class DecodeFailed(Exception):
    """llama.cpp could not process a batch."""


class DecodeAborted(Exception):
    """`abort` was called while a batch was processed; some of its micro-batches may be in the cache."""


class LlamaContext:
    """Not thread-safe, but for `tokenize`, `piece` and `abort`, which any thread may call at any time."""

    def __init__(self, path: Path, cells: int, sequences: int, options: Options, adapter: Path | None = None) -> None:
        """Load `path` with a cache of `cells` tokens for `sequences` sequences and the shared one.

        `adapter` is a LoRA for it. Raises ModelLoadFailed.
        """
        self._c: Any = _library()
        self._path, self._cells, self._sequences, self._options = path, cells, sequences, options
        self._context: Any = None
        self._adapter: Any = None
        self._pieces: dict[int, bytes] = {}
        # llama.cpp asks between any two operations of the graph whether to stop. A callback in Python would have to
        # take the interpreter's lock each time; strlen answers as well: 0 as long as the flag is an empty string.
        self._flag = ctypes.create_string_buffer(b"", 2)
        self._abort_callback = ctypes.cast(ctypes.CDLL(None).strlen, self._c.ggml_abort_callback)
        messages = _error_log(self._c)[0].messages
        messages.clear()
        model_params = self._c.llama_model_default_params()
        model_params.use_extra_bufts = options.repack
        self._model = self._c.llama_model_load_from_file(str(path).encode(), model_params)
        if self._model is None:
            raise ModelLoadFailed(f"llama.cpp could not load {path}: {'; '.join(messages) or 'no reason given'}")
        self._vocab = self._c.llama_model_get_vocab(self._model)
        self._batch = self._c.llama_batch_init(BATCH_ROWS, 0, 1)
        # A state that has taken in a token cannot be without it again. Within a batch llama.cpp moves states about, so
        # that one which was not finished may have spoilt those of other sequences as well.
        self.can_cut_back = not (
            self._c.llama_model_is_recurrent(self._model) or self._c.llama_model_is_hybrid(self._model)
        )
        # Tokens that a layer with a sliding window looks back at; 0 without one.
        self._window: int = self._c.llama_model_n_swa(self._model)
        try:
            self._check_kind()
            self._check_prompt_format()
            if adapter is not None:
                self._load_adapter(adapter)
            self.rebuild()
        except ModelLoadFailed:
            self.close()
            raise

    def rebuild(self) -> None:
        """A new, empty context in place of the old one. Raises ModelLoadFailed."""
        messages = _error_log(self._c)[0].messages
        messages.clear()
        if self._context is not None:
            self._c.llama_free(self._context)
        params = self._c.llama_context_default_params()
        params.n_ctx = self._cells
        params.n_batch = BATCH_ROWS
        params.n_ubatch = self._options.micro_batch
        params.n_seq_max = self._sequences + 1
        # Every sequence ends a batch with one row at most; without this a buffer for 512 rows of logits is kept.
        params.n_outputs_max = self._sequences + 1
        params.n_threads = params.n_threads_batch = self._options.threads
        params.flash_attn_type = (
            self._c.LLAMA_FLASH_ATTN_TYPE_ENABLED
            if self._options.flash_attention
            else self._c.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        # One cache for all: a sequence may be as long as what the others leave, and a shared opening is stored once.
        params.kv_unified = True
        # Layers with a sliding window keep that much of each sequence, not all: `_holds` tells when it is too little.
        params.swa_full = False
        params.abort_callback = self._abort_callback
        params.abort_callback_data = ctypes.cast(self._flag, ctypes.c_void_p)
        self._context = self._c.llama_init_from_model(self._model, params)
        if self._context is None:
            reason = "; ".join(messages) or "no reason given"
            raise ModelLoadFailed(f"llama.cpp could not make a context of {self._cells} tokens: {reason}")
        if self._adapter is not None:
            adapters, scales = (self._c.llama_adapter_lora_p_ctypes * 1)(self._adapter), (ctypes.c_float * 1)(1.0)
            if self._c.llama_set_adapters_lora(self._context, adapters, 1, scales) != 0:
                raise ModelLoadFailed("llama.cpp could not use the adapter")
        self._memory = self._c.llama_get_memory(self._context)
        if self._memory is None:
            raise ModelLoadFailed(f"{self._path.name} remembers no sequence: {NEEDED}")
        self.cells: int = self._c.llama_n_ctx(self._context)

    def close(self) -> None:
        """Give the memory back; nothing may be called after it."""
        if self._context is not None:
            self._c.llama_free(self._context)
            self._context = None
        if self._adapter is not None:
            self._c.llama_adapter_lora_free(self._adapter)
            self._adapter = None
        if self._model is not None:
            self._c.llama_batch_free(self._batch)
            self._c.llama_model_free(self._model)
            self._model = None

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Tokens of `text` without a BOS; `special` reads `<|eot_id|>` and its like as the tokens they name.

        Plain text is cut within runs of more than LONGEST_RUN characters.
        """
        first, *rest = _parts(text, special)
        return [*self._tokens(first, special), *self._behind_text(rest, special)]

    def continued(self, text: str, special: bool) -> list[int]:
        """Tokens of `text` as they are where other text stands before it."""
        return self._behind_text(_parts(text, special), special)

    @cached_property
    def adds_space(self) -> bool:
        """Whether a space is put before a text, as SentencePiece does it."""
        return any(self.piece(token).startswith(b" ") for token in self._tokens("a", False))

    def _behind_text(self, parts: Sequence[str], special: bool) -> list[int]:
        guard = GUARD if self.adds_space else ""
        skipped = len(self._tokens(guard, False))
        return [token for part in parts for token in self._tokens(guard + part, special)[skipped:]]

    def _tokens(self, text: str, special: bool) -> list[int]:
        data = text.encode()
        # A token is at least one byte, so there are never more tokens than bytes.
        tokens = (self._c.llama_token * (len(data) + 1))()
        count = self._c.llama_tokenize(self._vocab, data, len(data), tokens, len(tokens), False, special)
        if count < 0:
            raise DecodeFailed(f"llama_tokenize returned {count}")
        return list(tokens[:count])

    def piece(self, token: int) -> bytes:
        """The bytes that `token` stands for; part of a character at times."""
        known = self._pieces.get(token)
        if known is None:
            size = 64
            while known is None:
                buffer = ctypes.create_string_buffer(size)
                count = self._c.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
                known, size = (bytes(buffer.raw[:count]), size) if count >= 0 else (None, -count)
            self._pieces[token] = known
        return known

    def text(self, token: int) -> str:
        """The name of `token` in the vocabulary: of a control token as it is written in prompts."""
        return (self._c.llama_vocab_get_text(self._vocab, token) or b"").decode("utf-8", "replace")

    def is_user_defined(self, token: int) -> bool:
        """Whether `token` is read in a text even with special tokens off."""
        return bool(self._c.llama_vocab_get_attr(self._vocab, token) & USER_DEFINED)

    @property
    def path(self) -> Path:
        return self._path

    @property
    def chat_template(self) -> str:
        return (self._c.llama_model_chat_template(self._model, None) or b"").decode("utf-8", "replace")

    @property
    def bos(self) -> int:
        """The token that begins a text, or -1."""
        return int(self._c.llama_vocab_bos(self._vocab))

    @property
    def adds_bos(self) -> bool:
        """Whether every text is to begin with `bos`."""
        return self.bos >= 0 and bool(self._c.llama_vocab_get_add_bos(self._vocab))

    @property
    def special_tokens(self) -> dict[str, str]:
        """The texts of the tokens that chat templates know by name; empty where the vocabulary has none."""
        named = {"bos": self.bos, "eos": self._c.llama_vocab_eos(self._vocab)}
        return {f"{name}_token": self.text(token) if token >= 0 else "" for name, token in named.items()}

    def is_end(self, token: int) -> bool:
        return bool(self._c.llama_vocab_is_eog(self._vocab, token))

    def decode(self, rows: Sequence[Row]) -> None:
        """Process a batch. Raises DecodeAborted and DecodeFailed; the caller then forgets what the batch added."""
        batch = self._batch
        for index, row in enumerate(rows):
            batch.token[index] = row.token
            batch.pos[index] = row.position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = row.sequence
            batch.logits[index] = row.output
        batch.n_tokens = len(rows)
        status = self._c.llama_decode(self._context, batch)
        if status == DECODE_ABORTED:
            raise DecodeAborted
        if status != 0:
            raise DecodeFailed(f"llama_decode returned {status}")

    def abort(self) -> None:
        """Stop the batch that is being processed, or the next one, until `allow` is called."""
        self._flag[0] = b"\x01"

    def allow(self) -> None:
        self._flag[0] = b"\x00"

    def share(self, sequence: int, length: int) -> int:
        """Let `sequence` begin with `length` tokens of the shared one, where that is the same as reading them.

        Returns how many it begins with: `length` or 0. A state is shared as a whole only. Of a sliding window there
        must be all that the next token looks back at, and cells for it: shared ones cannot be used anew.
        """
        self.forget(sequence)
        if self._window and length > self._window:
            return 0
        if not self.can_cut_back and length != self.length(SHARED_SEQUENCE):
            return 0
        self._c.llama_memory_seq_cp(self._memory, SHARED_SEQUENCE, sequence, 0, length)
        if self._holds(sequence, length):
            return length
        self.forget(sequence)
        return 0

    def forget(self, sequence: int) -> None:
        """Free the cells of `sequence`."""
        self._c.llama_memory_seq_rm(self._memory, sequence, 0, -1)

    def cut_back(self, sequence: int, position: int) -> bool:
        """Free the cells of `sequence` from `position` on.

        False where it cannot go on from there as if the rest had never been: then all of it is forgotten.
        """
        removed = self._c.llama_memory_seq_rm(self._memory, sequence, position, -1)
        if removed and self._holds(sequence, position):
            return True
        self.forget(sequence)
        return False

    def _holds(self, sequence: int, length: int) -> bool:
        """Whether the memory ends at `length` tokens and has what the next one looks back at."""
        if self.length(sequence) != length:
            return False
        if not self._window or not self.can_cut_back:
            return True
        first = self._c.llama_memory_seq_pos_min(self._memory, sequence)
        return bool(first <= max(0, length - self._window + 1))

    def length(self, sequence: int) -> int:
        """Tokens of `sequence` that the cache holds."""
        return int(self._c.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    def sampler(self, sampling: Sampling) -> "Sampler":
        return Sampler(self._c, sampling)

    def sample(self, sampler: "Sampler", row: int) -> int:
        """The next token, drawn from the logits of row `row` of the last batch."""
        return int(self._c.llama_sampler_sample(sampler.chain, self._context, row))

    def _load_adapter(self, path: Path) -> None:
        lora.check(path, self._path)
        messages = _error_log(self._c)[0].messages
        messages.clear()
        self._adapter = self._c.llama_adapter_lora_init(self._model, str(path).encode())
        if self._adapter is None:
            reason = "; ".join(messages) or "no reason given"
            raise ModelLoadFailed(f"llama.cpp could not load the adapter {path}: {reason}")

    def _check_kind(self) -> None:
        """What the header does not tell: architectures that llama.cpp knows and `model_kind` does not."""
        if self._c.llama_model_is_diffusion(self._model):
            raise ModelLoadFailed(f"{self._path.name} is a diffusion model: {NEEDED}")
        if self._c.llama_model_has_encoder(self._model) or not self._c.llama_model_has_decoder(self._model):
            raise ModelLoadFailed(f"{self._path.name} has an encoder: {NEEDED}")

    def _check_prompt_format(self) -> None:
        if self._c.llama_model_chat_template(self._model, None) is None:
            raise ModelLoadFailed(f"{self._path} has no chat template: an Instruct model is needed")


def _parts(text: str, special: bool) -> list[str]:
    # A frame's markers are kept whole: it is short, and the operator's.
    if special or len(text) <= LONGEST_RUN:
        return [text]
    cuts = [cut for run in _RUN.finditer(text) for cut in range(run.start() + LONGEST_RUN, run.end(), LONGEST_RUN)]
    return [text[start:end] for start, end in pairwise((0, *cuts, len(text)))]


class Sampler:
    """A chain of samplers for one sequence; it holds the state of its random numbers."""

    def __init__(self, c: Any, sampling: Sampling) -> None:
        self._c = c
        self.chain = c.llama_sampler_chain_init(c.llama_sampler_chain_default_params())
        if sampling.temperature == 0:
            stages = [c.llama_sampler_init_greedy()]
        else:
            seed = RANDOM_SEED if sampling.seed is None else sampling.seed
            stages = [
                c.llama_sampler_init_top_k(TOP_K),
                c.llama_sampler_init_top_p(TOP_P, 1),
                c.llama_sampler_init_min_p(MIN_P, 1),
                c.llama_sampler_init_temp(sampling.temperature),
                c.llama_sampler_init_dist(seed),
            ]
        for stage in stages:
            c.llama_sampler_chain_add(self.chain, stage)

    def free(self) -> None:
        if self.chain is not None:
            self._c.llama_sampler_free(self.chain)
            self.chain = None


def _library() -> Any:
    # Two models may be loaded at once, and what is done the first time must not be done twice.
    with _loading:
        return _prepared_library()


@lru_cache(maxsize=1)
def _prepared_library() -> Any:
    # A thread that waits at one of OpenMP's barriers spins for long by default, and so keeps the processor from the
    # very thread it waits for when the machine is shared. After fewer turns it sleeps instead.
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    import llama_cpp

    _error_log(llama_cpp)
    cpu.load_backend(llama_cpp)
    llama_cpp.llama_backend_init()
    return llama_cpp


class _Errors(threading.local):
    """Each thread has its own: llama.cpp logs on the thread that called it."""

    def __init__(self) -> None:
        self.messages: deque[str] = deque(maxlen=3)


@lru_cache(maxsize=1)
def _error_log(c: Any) -> tuple[_Errors, object]:
    """The latest errors that llama.cpp logged; the rest of its log is dropped.

    With them comes the callback that collects them: llama.cpp holds a bare pointer to it as long as the process lives,
    and the cache of this function is what keeps it.
    """
    errors = _Errors()

    def log(level: int, text: bytes, _: object) -> None:
        if level == LOG_LEVEL_ERROR:
            errors.messages.append(text.decode("utf-8", "replace").strip())

    callback = c.llama_log_callback(log)
    c.llama_log_set(callback, ctypes.c_void_p(0))
    return errors, callback


def library_version() -> str:
    """Version of the bindings, and so of the llama.cpp inside."""
    return str(_library().__version__)
