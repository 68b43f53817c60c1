"""The use case: a text and labels in, entities with offsets into that text out."""

import threading
import time

from common.errors import FieldError, InvalidInput
from functions.extract.decoding import decode
from functions.extract.engine import GlinerEngine
from functions.extract.schemas import Entity, ExtractRequest, ExtractResponse
from functions.extract.windows import split_words


def extract(request: ExtractRequest, engine: GlinerEngine, cancelled: threading.Event) -> ExtractResponse:
    """Blocks while the model runs; raises InvalidInput for a label that holds a token of the model's own."""
    _check_labels(request.labels, engine)
    begun = time.monotonic()
    words = split_words(request.text)
    windows = engine.windows(words)
    candidates = engine.spans(words, windows, request.labels, request.threshold, cancelled)
    spans = decode(candidates, flat=request.flat_ner, multi_label=request.multi_label)
    entities = []
    for span in spans:
        start, end = words[span.first].start, words[span.last].end
        entities.append(
            Entity(
                text=request.text[start:end],
                label=request.labels[span.label],
                score=round(span.score, 4),
                start=start,
                end=end,
            )
        )
    return ExtractResponse(
        entities=entities,
        model=engine.name,
        inference_time_ms=round((time.monotonic() - begun) * 1000),
        words=len(words),
        windows=len(windows),
    )


def _check_labels(labels: list[str], engine: GlinerEngine) -> None:
    errors = [
        FieldError(f"labels[{index}]", f"must not contain {token!r}, which the model reserves")
        for index, label in enumerate(labels)
        if (token := engine.reserved_token_in(label)) is not None
    ]
    if errors:
        raise InvalidInput(errors)
