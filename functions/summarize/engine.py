"""Llama on llama.cpp: one model, one context, one thread that owns both.

The boundary is `tokenize`, `context_tokens` and `generate`: whoever replaces the inside keeps these.
"""

import asyncio
import codecs
import ctypes
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from threading import Event
from typing import Any, Literal, TypeVar

from common.errors import ModelLoadFailed
from common.lazy import LazyModel, Report
from common.settings import SummarizeSettings, cpu_threads, get_settings
from common.worker import Cancelled, Worker

T = TypeVar("T")

# Most tokens that one call of llama_decode gets; between two calls a cancelled request stops at the latest.
BATCH_TOKENS = 512
TOP_K, TOP_P, MIN_P = 40, 0.95, 0.05
RANDOM_SEED = 0xFFFFFFFF
DECODE_ABORTED = 2
# ggml.h, enum ggml_log_level.
LOG_LEVEL_ERROR = 4


@dataclass(frozen=True)
class Sampling:
    """`seed` None draws a new one; `temperature` 0 takes the likeliest token."""

    max_tokens: int
    temperature: float
    seed: int | None


@dataclass(frozen=True)
class Completion:
    """How a generation ended, with its counts (tokens) and times (milliseconds)."""

    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    prefill_ms: float
    decode_ms: float


class DecodeFailed(Exception):
    """llama.cpp could not process a batch; the context is clean again for the next request."""


class LlamaEngine:
    """One loaded GGUF. Everything that touches the context runs on one thread, in order of arrival."""

    def __init__(self, settings: SummarizeSettings) -> None:
        self.name = settings.model_name
        self._worker = Worker("llama")
        self._context = _Context(settings)
        self.context_tokens: int = self._context.size
        # What the KV cache holds for certain: the next prompt skips the part it shares with this one.
        self._kept: list[int] = []

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Tokens of `text` without a BOS; `special` reads `<|eot_id|>` and its like as the tokens they name."""
        return self._context.tokenize(text, special)

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work` on the model's thread: for tokenising a whole article, which takes its time."""
        return await self._worker.run(lambda _: work())

    async def generate(self, prompt: Sequence[int], sampling: Sampling) -> AsyncGenerator[str | Completion]:
        """Pieces of text as they come, and a Completion at last. Raises DecodeFailed.

        Closing the generator stops the model within a token or in the middle of a prefill, and returns when it has
        stopped.
        """
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | Completion | None] = asyncio.Queue()

        def work(cancelled: Event) -> None:
            for piece in self._generate(prompt, sampling, cancelled):
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        running = asyncio.create_task(self._worker.run(work))
        running.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            await running
        finally:
            if not running.done():
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running

    def _generate(self, prompt: Sequence[int], sampling: Sampling, cancelled: Event) -> Iterator[str | Completion]:
        context = self._context
        began = time.monotonic()
        cached = self._prefill(prompt, cancelled)
        prefilled = time.monotonic()
        # A character may be spread over several tokens: what is not whole yet is held back.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        finish_reason: Literal["stop", "length"] = "length"
        count = 0
        with context.sampler(sampling) as sample:
            while count < sampling.max_tokens:
                token = sample()
                if context.is_end(token):
                    finish_reason = "stop"
                    break
                count += 1
                if text := decoder.decode(context.piece(token)):
                    yield text
                if count < sampling.max_tokens:
                    self._decode([token], cancelled)
        if text := decoder.decode(b"", True):
            yield text
        yield Completion(
            finish_reason,
            prompt_tokens=len(prompt),
            cached_tokens=cached,
            completion_tokens=count,
            prefill_ms=(prefilled - began) * 1000,
            decode_ms=(time.monotonic() - prefilled) * 1000,
        )

    def _prefill(self, prompt: Sequence[int], cancelled: Event) -> int:
        """Bring the context to the end of `prompt`; returns how many of its tokens were there already."""
        # The last token is always decoded: the first sample needs its logits.
        limit = min(len(self._kept), len(prompt) - 1)
        shared = next((i for i in range(limit) if self._kept[i] != prompt[i]), limit)
        self._context.forget_from(shared)
        del self._kept[shared:]
        for start in range(shared, len(prompt), BATCH_TOKENS):
            self._decode(prompt[start : start + BATCH_TOKENS], cancelled)
        return shared

    def _decode(self, tokens: Sequence[int], cancelled: Event) -> None:
        try:
            self._context.decode(tokens, cancelled)
        except Exception:
            # An aborted or failed call may leave some of its micro-batches behind.
            self._context.forget_from(len(self._kept))
            raise
        self._kept.extend(tokens)


class _Context:
    """A thin layer over the C API: model, vocabulary and one context with one sequence."""

    def __init__(self, settings: SummarizeSettings) -> None:
        import llama_cpp

        self._c: Any = llama_cpp
        self._cancelled = Event()
        # ctypes keeps no reference to a callback: without this attribute it would be freed under llama.cpp.
        self._abort_callback = llama_cpp.ggml_abort_callback(lambda _: self._cancelled.is_set())
        messages, _ = _error_log()
        messages.clear()
        llama_cpp.llama_backend_init()

        model_params = llama_cpp.llama_model_default_params()
        # Repacked weights load slower, take 3 GB more for an 8B, and are slower at prefill on AVX2.
        model_params.use_extra_bufts = False
        self._model = llama_cpp.llama_model_load_from_file(str(settings.model_path).encode(), model_params)
        if self._model is None:
            reason = "; ".join(messages) or "no reason given"
            raise ModelLoadFailed(f"llama.cpp could not load {settings.model_path}: {reason}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = settings.context_tokens
        params.n_batch = params.n_ubatch = min(BATCH_TOKENS, settings.context_tokens)
        params.n_threads = params.n_threads_batch = cpu_threads(settings.threads)
        params.abort_callback = self._abort_callback
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if self._context is None:
            llama_cpp.llama_model_free(self._model)
            reason = "; ".join(messages) or "no reason given"
            raise ModelLoadFailed(f"llama.cpp could not make a context of {settings.context_tokens} tokens: {reason}")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self.size: int = llama_cpp.llama_n_ctx(self._context)

    def tokenize(self, text: str, special: bool) -> list[int]:
        data = text.encode()
        # A token is at least one byte, so there are never more tokens than bytes.
        tokens = (self._c.llama_token * (len(data) + 1))()
        count = self._c.llama_tokenize(self._vocab, data, len(data), tokens, len(tokens), False, special)
        if count < 0:
            raise DecodeFailed(f"llama_tokenize returned {count}")
        return list(tokens[:count])

    def piece(self, token: int) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = self._c.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
            if count >= 0:
                return bytes(buffer.raw[:count])
            size = -count

    def is_end(self, token: int) -> bool:
        return bool(self._c.llama_vocab_is_eog(self._vocab, token))

    def decode(self, tokens: Sequence[int], cancelled: Event) -> None:
        if cancelled.is_set():
            raise Cancelled
        self._cancelled = cancelled
        array = (self._c.llama_token * len(tokens))(*tokens)
        status = self._c.llama_decode(self._context, self._c.llama_batch_get_one(array, len(tokens)))
        if status == DECODE_ABORTED:
            raise Cancelled
        if status != 0:
            raise DecodeFailed(f"llama_decode returned {status}")

    def forget_from(self, position: int) -> None:
        self._c.llama_memory_seq_rm(self._memory, 0, position, -1)

    def sampler(self, sampling: Sampling) -> "_Sampler":
        return _Sampler(self._c, self._context, sampling)


class _Sampler:
    """A sampler chain for one request; calling it draws the next token."""

    def __init__(self, c: Any, context: Any, sampling: Sampling) -> None:
        self._c, self._context = c, context
        self._chain = c.llama_sampler_chain_init(c.llama_sampler_chain_default_params())
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
            c.llama_sampler_chain_add(self._chain, stage)

    def __enter__(self) -> Callable[[], int]:
        return lambda: int(self._c.llama_sampler_sample(self._chain, self._context, -1))

    def __exit__(self, *_: object) -> None:
        self._c.llama_sampler_free(self._chain)


@lru_cache(maxsize=1)
def _error_log() -> tuple[deque[str], object]:
    """The latest errors that llama.cpp logged; the rest of its log is dropped.

    With them comes the callback that collects them: llama.cpp holds a bare pointer to it as long as the process lives,
    and the cache of this function is what keeps it.
    """
    import llama_cpp

    messages: deque[str] = deque(maxlen=3)

    def log(level: int, text: bytes, _: object) -> None:
        if level == LOG_LEVEL_ERROR:
            messages.append(text.decode("utf-8", "replace").strip())

    callback = llama_cpp.llama_log_callback(log)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    return messages, callback


def load(_: Report) -> LlamaEngine:
    """Load the GGUF that the settings name; raises ModelLoadFailed."""
    settings = get_settings().summarize
    if not settings.model_path.is_file():
        raise ModelLoadFailed(f"there is no file {settings.model_path}")
    return LlamaEngine(settings)


model: LazyModel[LlamaEngine] = LazyModel("llama", load)
