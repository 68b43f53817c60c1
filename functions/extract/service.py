"""The use case: a text and labels in, entities with offsets into that text out.

Everything takes turns, in steps of some milliseconds: reading a window, running the model on it, deciding on spans. So
a short text is done between two windows of a long one.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from common.admission import DOUBT, Limits, Places, register_queue
from common.cache import AnswerCache, register_cache, request_key
from common.errors import FactoryError, FieldError, InvalidInput, QueueFull
from common.logs import trace, unexpected
from common.settings import get_settings
from common.worker import Worker
from functions.extract import bounds, metrics, writing
from functions.extract.batches import Batches
from functions.extract.bounds import SURELY_FEW_CHARACTERS, Bounds
from functions.extract.engine import model
from functions.extract.gliner import GlinerEngine
from functions.extract.reader import EncodedWindow, Prompt, Reader
from functions.extract.schemas import ExtractRequest, Options, Text, TextProblem

T = TypeVar("T")

# So little is done at once: another thread would take longer to begin.
FEW_CHARACTERS = 512
FEW_SPANS = 64
# How long the thread is held; then it is another's turn.
SECONDS_AT_A_TIME = 0.01
# Of the texts of one request so many are at work at the same time: enough for the largest batch.
TEXTS_AT_A_TIME = 16
# What a kept result takes beside its JSON: key, objects, links.
ENTRY_BYTES = 1024


@dataclass(frozen=True)
class Extraction:
    """What was found in one text: its entities as the members of a JSON array, in the order of the text."""

    entities: bytes
    inference_time_ms: int
    words: int
    windows: int
    cached_answer: bool = False

    def members(self) -> bytes:
        """The members of the JSON object that tells it; see schemas.TextResult."""
        rest = json.dumps(
            {
                "inference_time_ms": self.inference_time_ms,
                "words": self.words,
                "windows": self.windows,
                "cached_answer": self.cached_answer,
            }
        )
        return b'"entities": [' + self.entities + b"], " + rest[1:-1].encode()


# Requests at work take turns at the model, window by window.
places = Places("extract", lambda: Limits(1, get_settings().extract.max_waiting))
register_queue("extract", places.status)
batches = Batches()
answers: AnswerCache[Extraction, Extraction] = AnswerCache(
    lambda extraction: ENTRY_BYTES + len(extraction.entities), lambda: get_settings().extract.answer_cache_bytes
)
register_cache("extract", lambda: answers.status)
_worker = Worker("extract-text")
_text: TypeAdapter[str] = TypeAdapter(Text)


async def respond(request: ExtractRequest, deadline: float | None) -> bytes:
    """The JSON of ExtractResponse for a `text`, of TextsResponse for `texts`.

    `deadline` is a time of `time.monotonic`. Raises ModelNotReady, InvalidInput for what is too much to look at,
    AnswerTooLarge, and QueueFull when there is no place or no time.
    """
    begun = time.monotonic()
    settings = get_settings().extract
    texts = request.texts if request.text is None else [request.text]
    assert texts is not None
    if request.text is None:
        bounds.check_texts(texts, settings)
    engine = await model.ready(get_settings().model_wait_seconds)
    with places.hold():
        try:
            async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
                options = Options.model_validate(request.model_dump(exclude={"text", "texts"}))
                begin_by = begun + settings.patience_seconds if deadline is None else deadline
                is_long = sum(map(len, texts)) > SURELY_FEW_CHARACTERS
                prompt = await _prompt(options, engine)
                work = _Work(options, engine, prompt, Bounds(settings), deadline, begin_by, is_long)
                return await (work.answer(texts[0]) if request.text is not None else work.answers(texts, begun))
        except TimeoutError:
            detail = "extract: it could not be answered within the time that the request may wait"
            raise QueueFull(detail, places.retry_after()) from None


async def extract(text: str, options: Options, engine: GlinerEngine) -> Extraction:
    """What is found in one text, kept and shared by nobody. Raises as `respond` does."""
    settings = get_settings().extract
    prompt = await _prompt(options, engine)
    return await _Work(options, engine, prompt, Bounds(settings)).extract(text)


class _Work:
    """One request, with all that its texts are answered with."""

    def __init__(
        self,
        options: Options,
        engine: GlinerEngine,
        prompt: Prompt,
        limits: Bounds,
        deadline: float | None = None,
        begin_by: float = inf,
        is_long: bool = False,
    ) -> None:
        """`deadline` is when the answer has to be there, `begin_by` when the model has to be at it (`time.monotonic`).

        The windows of a request that `is_long` are counted before the model begins.
        """
        self._options, self._engine, self._prompt, self._limits = options, engine, prompt, limits
        self._deadline, self._begin_by, self._is_long = deadline, begin_by, is_long
        self._turns = asyncio.Semaphore(TEXTS_AT_A_TIME)
        self._came_at = time.monotonic()
        # When the model began with the first window.
        self._started_at: float | None = None

    async def answer(self, text: str) -> bytes:
        """The JSON of ExtractResponse."""
        result = await self._result(text)
        self._time()
        return b"{" + result.members() + b', "model": ' + self._name() + b"}"

    async def answers(self, texts: list[str], begun: float) -> bytes:
        """The JSON of TextsResponse."""
        results = [self._result_or_error(f"texts[{number}]", text) for number, text in enumerate(texts)]
        listed = b", ".join(await asyncio.gather(*results))
        self._time()
        milliseconds = str(_since(begun)).encode()
        name = self._name()
        return b'{"results": [' + listed + b'], "model": ' + name + b', "inference_time_ms": ' + milliseconds + b"}"

    async def extract(self, text: str) -> Extraction:
        """What is found in one text, window by window."""
        begun = time.monotonic()
        if self._is_long:
            await self._check_time(text)
        reader = self._engine.read(text, self._prompt, self._options.labels, self._options.threshold)
        candidates = []
        number = 0
        window = await _next_window(reader, text)
        while window is not None:
            # The next one is read while the model is at this one.
            following = None if reader.finished else asyncio.create_task(_next_window(reader, text))
            try:
                found = await batches.spans(self._engine, window, self._started, self._latest_begin())
                self._limits.add_spans(len(found))
            except BaseException:
                if following is not None:
                    following.cancel()
                raise
            candidates.append(found)
            number += len(found)
            window = await following if following is not None else None
        windows = len(candidates)
        written = bytearray()
        steps = writing.write(text, self._options, reader, candidates, self._limits, written)
        if number <= FEW_SPANS:
            while _for_a_while(steps):
                pass
        else:
            while await _worker.run(lambda _: _for_a_while(steps)):
                pass
        metrics.texts.inc()
        metrics.words.inc(len(reader.starts))
        metrics.windows.inc(windows)
        return Extraction(bytes(written), _since(begun), len(reader.starts), windows)

    async def _result_or_error(self, field: str, text: str) -> bytes:
        """What went wrong with one text is told in its place; the others have their results."""
        try:
            async with self._turns:
                _text.validate_python(text)
                return b"{" + (await self._result(text)).members() + b"}"
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            problem = InvalidInput([FieldError(field, reason)]).problem("")
        except FactoryError as error:
            problem = error.problem("")
        except Exception:
            problem = unexpected().problem("")
        return json.dumps({"error": TextProblem.model_validate(problem).model_dump()}).encode()

    async def _result(self, text: str) -> Extraction:
        """A kept result, or that of a run which equal texts at the same time share."""
        begun = time.monotonic()
        key = request_key(self._engine.name, self._options, text)
        if (kept := answers.get(key)) is not None:
            return replace(kept, cached_answer=True, inference_time_ms=_since(begun))

        async def run(_: object) -> AsyncGenerator[Extraction]:
            result = await self.extract(text)
            answers.keep(key, result)
            yield result

        async with aclosing(answers.join(key, run)) as results:
            return await anext(results)

    async def _check_time(self, text: str) -> None:
        """Raises InvalidInput when the windows are too many, QueueFull when they take too long."""
        windows = iter(self._engine.read(text, self._prompt, (), 1.0).take_size, None)
        tokens = 0
        while sizes := await _worker.run(lambda _: _for_a_while(windows)):
            for size in sizes:
                self._limits.add_window(size)
                tokens += size
        seconds = batches.seconds(tokens)
        if self._deadline is not None and seconds > DOUBT * (self._deadline - time.monotonic()):
            raise QueueFull("extract: it would take longer than the request may wait", seconds)

    def _started(self) -> None:
        if self._started_at is None:
            self._started_at = time.monotonic()

    def _latest_begin(self) -> float:
        """Only the first window has a latest begin."""
        return self._begin_by if self._started_at is None else inf

    def _time(self) -> None:
        """The request's phases: waiting for the model's first window, and from there on."""
        started = self._started_at or self._came_at
        now = time.monotonic()
        trace().add_in_turn({"queue": (started - self._came_at) * 1000, "model": (now - started) * 1000})

    def _name(self) -> bytes:
        return json.dumps(self._engine.name).encode()


@lru_cache(maxsize=64)
def _known(engine: GlinerEngine, labels: tuple[str, ...]) -> Prompt:
    """Most callers ask for the same few labels again and again."""
    return engine.prompt(labels)


async def _prompt(options: Options, engine: GlinerEngine) -> Prompt:
    """The prompt of the labels. Raises InvalidInput for those that are too long or hold a token of the model's own."""
    labels = options.labels
    most = min(get_settings().extract.max_label_tokens, engine.max_label_tokens)
    errors = [
        FieldError(f"labels[{index}]", f"must not contain {token!r}, which the model reserves")
        for index, label in enumerate(labels)
        if (token := engine.reserved_token_in(label)) is not None
    ]
    if errors:
        raise InvalidInput(errors)
    try:
        # Normalising makes no more of ASCII.
        if sum(map(len, labels)) < FEW_CHARACTERS and all(map(str.isascii, labels)):
            prompt = _known(engine, tuple(labels))
        else:
            # When they are clearly too long together, the others are not looked at.
            sizes = map(engine.label_tokens, labels)
            total = 0
            while some := await _worker.run(lambda _: _for_a_while(sizes)):
                total += sum(some)
                bounds.check_labels(total, most)
            prompt = await _worker.run(lambda _: engine.prompt(labels))
    except ValueError as error:
        raise InvalidInput([FieldError("labels", str(error))]) from None
    bounds.check_labels(prompt.tokens, most)
    return prompt


async def _next_window(reader: Reader, text: str) -> EncodedWindow | None:
    return reader.take() if len(text) < FEW_CHARACTERS else await _worker.run(lambda _: reader.take())


def _for_a_while(steps: Iterator[T]) -> list[T]:
    """The next of `steps`, as many as are made in a short time, one at least; none after the last."""
    made: list[T] = []
    until = time.monotonic() + SECONDS_AT_A_TIME
    for step in steps:
        made.append(step)
        if time.monotonic() > until:
            break
    return made


def _since(begun: float) -> int:
    return round((time.monotonic() - begun) * 1000)
