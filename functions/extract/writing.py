"""From the spans that the model found to the entities of the answer: decided on and written in short steps."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from functions.extract.bounds import Bounds
from functions.extract.decoding import Span, accepting
from functions.extract.reader import Reader
from functions.extract.schemas import Options

if TYPE_CHECKING:
    from functions.extract.candidates import Candidates

SPANS_AT_A_TIME = 256


def write(
    text: str,
    options: Options,
    reader: Reader,
    candidates: "list[Candidates]",
    limits: Bounds,
    written: bytearray,
) -> Iterator[int]:
    """Decide which of the candidates stay, and add them to `written` as members of a JSON array.

    Each step yields the entities that there are so far. `candidates` is empty after the first. Raises AnswerTooLarge.
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
