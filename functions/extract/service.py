"""The use case: a text and labels in, entities with offsets into that text out.

Everything takes turns, in steps of some milliseconds: reading a window, running the model on it, deciding on spans. So
a short text is done between two windows of a long one.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from common.errors import FieldError, InvalidInput
from common.settings import ExtractSettings, get_settings
from common.worker import Worker
from functions.extract import bounds
from functions.extract.bounds import Bounds
from functions.extract.decoding import Span, accepting, ranked
from functions.extract.engine import GlinerEngine
from functions.extract.reader import Piece, Prompt, Reader
from functions.extract.schemas import Options

# What finds spans: the engine by itself, or behind a queue.
Find = Callable[[Sequence[Piece]], Awaitable[list[Span]]]

# So little is done at once: another thread would take longer to begin.
FEW_CHARACTERS = 512
FEW_SPANS = 64
WINDOWS_COUNTED_AT_A_TIME = 4
SPANS_AT_A_TIME = 4096
ENTITIES_AT_A_TIME = 1024

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
        if sum(map(len, labels)) < FEW_CHARACTERS:
            prompt = engine.prompt(labels)
        else:
            prompt = await _worker.run(lambda _: engine.prompt(labels))
    except ValueError as error:
        raise InvalidInput([FieldError("labels", str(error))]) from None
    bounds.check_labels(prompt.tokens, settings)
    return prompt


async def count(text: str, prompt: Prompt, engine: GlinerEngine, limits: Bounds) -> int:
    """The tokens of all windows of `text`. Raises InvalidInput when they are too many, before the model runs."""
    reader = engine.read(text, prompt, (), 1.0)
    total = 0
    while sizes := await _worker.run(lambda _: list(islice(iter(reader.take_size, None), WINDOWS_COUNTED_AT_A_TIME))):
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
    candidates: list[Span] = []
    windows = 0
    piece = await _taken(reader, text)
    while piece is not None:
        windows += 1
        # The next one is read while the model is at this one.
        following = None if reader.finished else asyncio.create_task(_taken(reader, text))
        try:
            spans = await find([piece])
            limits.add_spans(len(spans))
        except BaseException:
            if following is not None:
                following.cancel()
            raise
        candidates += spans
        piece = await following if following is not None else None
    written: list[str] = []
    steps = _write(text, options, reader, candidates, limits, written)
    if len(candidates) <= FEW_SPANS:
        for _ in steps:
            pass
    else:
        while await _worker.run(lambda _: next(steps, True)) is None:
            pass
    milliseconds = round((time.monotonic() - begun) * 1000)
    return Extraction(", ".join(written).encode(), milliseconds, len(reader.starts), windows)


async def _taken(reader: Reader, text: str) -> Piece | None:
    return reader.take() if len(text) < FEW_CHARACTERS else await _worker.run(lambda _: reader.take())


def _write(
    text: str, options: Options, reader: Reader, candidates: Sequence[Span], limits: Bounds, written: list[str]
) -> Iterator[None]:
    """Decide which of the candidates stay, and add them to `written` as JSON: a step each time it is resumed."""
    accepts = accepting(flat=options.flat_ner, multi_label=options.multi_label)
    accepted: list[Span] = []
    waiting = iter(ranked(candidates))
    while some := list(islice(waiting, SPANS_AT_A_TIME)):
        accepted += filter(accepts, some)
        yield
    accepted.sort(key=lambda span: span.first)
    labels = [json.dumps(label, ensure_ascii=False) for label in options.labels]
    for at in range(0, len(accepted), ENTITIES_AT_A_TIME):
        spans = accepted[at : at + ENTITIES_AT_A_TIME]
        entities = [_entity(text, reader, span, labels[span.label]) for span in spans]
        limits.add_entities(len(entities), sum(map(len, entities)))
        written += entities
        yield


def _entity(text: str, reader: Reader, span: Span, label: str) -> str:
    start, end = reader.starts[span.first], reader.ends[span.last]
    shown = json.dumps(text[start:end], ensure_ascii=False)
    score = round(span.score, 4)
    return f'{{"text": {shown}, "label": {label}, "score": {score}, "start": {start}, "end": {end}}}'
