"""The use case: a text and labels in, entities with offsets into that text out."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from common.errors import FieldError, InvalidInput
from common.worker import Worker
from functions.extract.decoding import Span, decode
from functions.extract.engine import GlinerEngine, Piece
from functions.extract.schemas import Entity, Options, TextResult
from functions.extract.windows import Word, split_words

# What finds spans: the engine by itself, or behind a queue.
Find = Callable[[Sequence[Piece]], Awaitable[list[Span]]]

_worker = Worker("extract-text")


@dataclass(frozen=True)
class _Prepared:
    words: list[Word]
    pieces: list[Piece]


def check_labels(labels: Sequence[str], engine: GlinerEngine) -> None:
    """Raises InvalidInput for a label that holds a token of the model's own."""
    errors = [
        FieldError(f"labels[{index}]", f"must not contain {token!r}, which the model reserves")
        for index, label in enumerate(labels)
        if (token := engine.reserved_token_in(label)) is not None
    ]
    if errors:
        raise InvalidInput(errors)


async def extract(text: str, options: Options, engine: GlinerEngine, find: Find) -> TextResult:
    """`find` runs the model; tokenising and decoding, which take a while for a long text, have their own thread."""
    begun = time.monotonic()
    prepared = await _worker.run(lambda _: _prepare(text, options, engine))
    spans = await find(prepared.pieces)
    entities = await _worker.run(lambda _: _entities(text, options, prepared.words, spans))
    return TextResult(
        entities=entities,
        inference_time_ms=round((time.monotonic() - begun) * 1000),
        words=len(prepared.words),
        windows=len(prepared.pieces),
    )


def _prepare(text: str, options: Options, engine: GlinerEngine) -> _Prepared:
    words = split_words(text)
    return _Prepared(words, engine.pieces(words, options.labels, options.threshold))


def _entities(text: str, options: Options, words: Sequence[Word], candidates: Sequence[Span]) -> list[Entity]:
    spans = decode(candidates, flat=options.flat_ner, multi_label=options.multi_label)
    entities = []
    for span in spans:
        start, end = words[span.first].start, words[span.last].end
        label = options.labels[span.label]
        entities.append(Entity(text=text[start:end], label=label, score=round(span.score, 4), start=start, end=end))
    return entities
