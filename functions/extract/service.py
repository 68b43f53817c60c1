"""The use case: a text and labels in, entities with offsets into that text out.

Everything takes turns, in steps of some milliseconds: reading a window, running the model on it, deciding on spans. So
a short text is done between two windows of a long one.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from common.errors import FieldError, InvalidInput
from common.settings import ExtractSettings, get_settings
from common.worker import Worker
from functions.extract import bounds
from functions.extract.bounds import Bounds
from functions.extract.decoding import Span, accepting
from functions.extract.engine import GlinerEngine
from functions.extract.reader import Piece, Prompt, Reader
from functions.extract.schemas import Options

if TYPE_CHECKING:
    from functions.extract.candidates import Candidates

T = TypeVar("T")
# What finds spans: the engine by itself, or behind a queue.
Find = Callable[[Piece], "Awaitable[Candidates]"]

# So little is done at once: another thread would take longer to begin.
FEW_CHARACTERS = 512
FEW_SPANS = 64
# How long the thread is held; then it is another's turn.
SECONDS_AT_A_TIME = 0.01
SPANS_AT_A_TIME = 256

_worker = Worker("extract-text")


@dataclass(frozen=True)
class Extraction:
    """What was found in one text: its entities as the members of a JSON array, in the order of the text."""

    entities: bytes
    inference_time_ms: int
    words: int
    windows: int

    def members(self, *, cached: bool, inference_time_ms: int) -> bytes:
        """The members of the JSON object that tells it; see schemas.TextResult."""
        rest = json.dumps(
            {
                "inference_time_ms": inference_time_ms,
                "words": self.words,
                "windows": self.windows,
                "cached_answer": cached,
            }
        )
        return b'"entities": [' + self.entities + b"], " + rest[1:-1].encode()


@lru_cache(maxsize=64)
def _known(engine: GlinerEngine, labels: tuple[str, ...]) -> Prompt:
    """Most callers ask for the same few labels again and again."""
    return engine.prompt(labels)


async def prepared(labels: Sequence[str], engine: GlinerEngine, settings: ExtractSettings) -> Prompt:
    """The prompt of `labels`. Raises InvalidInput for labels that are too long, or hold a token of the model's own."""
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
            await _check_labels(labels, engine, settings)
            prompt = await _worker.run(lambda _: engine.prompt(labels))
    except ValueError as error:
        raise InvalidInput([FieldError("labels", str(error))]) from None
    bounds.check_labels(prompt.tokens, settings)
    return prompt


async def _check_labels(labels: Sequence[str], engine: GlinerEngine, settings: ExtractSettings) -> None:
    """Raises InvalidInput for labels that are too long together, when that is clear: the others are not looked at."""
    sizes = map(engine.label_tokens, labels)
    total = 0
    while some := await _worker.run(lambda _: _for_a_while(sizes)):
        total += sum(some)
        bounds.check_labels(total, settings)


async def count(text: str, prompt: Prompt, engine: GlinerEngine, limits: Bounds) -> int:
    """The tokens of all windows of `text`. Raises InvalidInput when they are too many, before the model runs."""
    windows = iter(engine.read(text, prompt, (), 1.0).take_size, None)
    total = 0
    while sizes := await _worker.run(lambda _: _for_a_while(windows)):
        for size in sizes:
            limits.add_window(size)
            total += size
    return total


async def extract(
    text: str,
    options: Options,
    engine: GlinerEngine,
    find: Find,
    prompt: Prompt | None = None,
    limits: Bounds | None = None,
) -> Extraction:
    """`find` runs the model on one window. Raises AnswerTooLarge for an answer over the bounds."""
    begun = time.monotonic()
    settings = get_settings().extract
    limits = limits or Bounds(settings)
    prompt = prompt or await prepared(options.labels, engine, settings)
    reader = engine.read(text, prompt, options.labels, options.threshold)
    candidates: list[Candidates] = []
    windows = number = 0
    piece = await _taken(reader, text)
    while piece is not None:
        windows += 1
        # The next one is read while the model is at this one.
        following = None if reader.finished else asyncio.create_task(_taken(reader, text))
        try:
            found = await find(piece)
            limits.add_spans(len(found))
        except BaseException:
            if following is not None:
                following.cancel()
            raise
        candidates.append(found)
        number += len(found)
        piece = await following if following is not None else None
    written = bytearray()
    steps = _write(text, options, reader, candidates, limits, written)
    if number <= FEW_SPANS:
        while _for_a_while(steps):
            pass
    else:
        while await _worker.run(lambda _: _for_a_while(steps)):
            pass
    milliseconds = round((time.monotonic() - begun) * 1000)
    return Extraction(bytes(written), milliseconds, len(reader.starts), windows)


async def _taken(reader: Reader, text: str) -> Piece | None:
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


def _write(
    text: str,
    options: Options,
    reader: Reader,
    candidates: "list[Candidates]",
    limits: Bounds,
    written: bytearray,
) -> Iterator[int]:
    """Decide which of the candidates stay, and add them to `written` as members of a JSON array.

    It is done in short steps. Each yields the entities that there are so far.
    """
    accepted: list[Span] = []
    for accepted in _decided(candidates, options, limits):
        yield len(accepted)
    labels = [json.dumps(label, ensure_ascii=False) for label in options.labels]
    for at in range(0, len(accepted), SPANS_AT_A_TIME):
        spans = accepted[at : at + SPANS_AT_A_TIME]
        entities = [_entity(text, reader, span, labels[span.label]) for span in spans]
        some = ", ".join(entities).encode()
        limits.add_bytes(len(some))
        written += b", " * bool(written) + some
        yield len(accepted)


def _decided(candidates: "list[Candidates]", options: Options, limits: Bounds) -> Iterator[list[Span]]:
    """The candidates that stay, more each time, at last all of them in the order of the text."""
    from functions.extract.candidates import Candidates

    ranked = Candidates.joined(candidates).ranked()
    candidates.clear()
    yield []
    accepts = accepting(flat=options.flat_ner, multi_label=options.multi_label)
    accepted: list[Span] = []
    for some in ranked.parts(SPANS_AT_A_TIME):
        before = len(accepted)
        accepted += filter(accepts, some)
        limits.add_entities(len(accepted) - before)
        yield accepted
    accepted.sort(key=lambda span: span.first)
    yield accepted


def _entity(text: str, reader: Reader, span: Span, label: str) -> str:
    start, end = reader.starts[span.first], reader.ends[span.last]
    shown = json.dumps(text[start:end], ensure_ascii=False)
    score = round(span.score, 4)
    return f'{{"text": {shown}, "label": {label}, "score": {score}, "start": {start}, "end": {end}}}'
