"""Every place in the code where a caller's characters come in, as a function of the text alone."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.types import Scope

from common import callers, sentences, text
from common.errors import FactoryError
from common.http import app, bodies, deadlines, headers, middleware
from functions.audio import captions, ranges, response, splitter
from functions.audio.catalogue import catalogue, closest
from functions.audio.formats import MP3
from functions.audio.openai_schemas import SpeechRequest
from functions.audio.pieces import Word
from functions.audio.schemas import AudioRequest
from functions.extract import windows
from functions.extract.decoding import Span
from functions.extract.schemas import ExtractRequest
from functions.extract.words import Splitter, seen
from functions.summarize import condense, facts
from functions.summarize.schemas import SummarizeRequest
from tests.functions.extract.conftest import decode
from tests.fuzz.growth import Entry

# A server takes no more of all headers together; a text has a bound of its own.
HEADER_CHARACTERS, BODY_CHARACTERS = 60_000, 800_000
TEXT_CHARACTERS, SPOKEN_CHARACTERS = 200_000, 20_000
FIELD_CHARACTERS = 200_000
WINDOW_WORDS, WINDOW_TOKENS, OVERLAP_WORDS = 384, 512, 48
SUMMARY = "Ms. Anna van Berg of the U.S. Air Force won 3-1 on May 5, a hundred and five years after 1.2 million."
SPANS, SPAN_WORDS, LABELS = 20_000, 12, 5


def entries() -> list[Entry]:
    """All of them; those of the models need no model."""
    return [*_headers(), *_texts(), *_fields(), *_bodies()]


def _headers() -> Iterator[Entry]:
    def entry(name: str, call: Callable[[str], object]) -> Entry:
        return Entry(name, _refusing(call), HEADER_CHARACTERS)

    yield entry("headers.elements", lambda value: list(headers.elements([value])))
    yield entry("headers.qualities", lambda value: headers.qualities([value]))
    yield entry("headers.unquoted", headers.unquoted)
    yield entry("Prefer", lambda value: deadlines.preferred_wait(_request("prefer", value)))
    yield entry("Prefer: wait=..", lambda value: deadlines.preferred_wait(_request("prefer", f"wait={value}")))
    yield entry("Accept", lambda value: response.wanted_format(_request("accept", value)))
    yield entry("If-None-Match", lambda value: response.known_tag(_request("if-none-match", value), "0", MP3))
    yield entry("Range", lambda value: ranges.parsed(value, 1000))
    yield entry("Range: bytes=..", lambda value: ranges.parsed(f"bytes={value}", 1000))
    yield entry("X-Request-ID", middleware.SANE_REQUEST_ID.fullmatch)
    yield entry("an address", lambda value: callers.caller_of({"type": "http", "client": (value, 1)}))


def _texts() -> Iterator[Entry]:
    yield Entry("sentences.sentences", sentences.sentences, TEXT_CHARACTERS)
    yield Entry("sentences.finished", sentences.finished, TEXT_CHARACTERS)
    yield Entry("splitter.split", splitter.split, SPOKEN_CHARACTERS, look=5_000, every=8)
    yield Entry(
        "splitter.split, small parts", lambda value: splitter.split(value, 150, 1000), SPOKEN_CHARACTERS, every=4
    )
    yield Entry("spoken text", lambda value: AudioRequest.model_construct(text=value).spoken_text, SPOKEN_CHARACTERS)
    yield Entry("captions", _captions, SPOKEN_CHARACTERS)
    yield Entry("condense", lambda value: condense.condense(value, 384, _tokens).text, TEXT_CHARACTERS)
    yield Entry("condense.windows", lambda value: condense.windows(value, 384, _tokens), TEXT_CHARACTERS)
    yield Entry("facts of an article", partial(facts.unsupported, SUMMARY), TEXT_CHARACTERS)
    yield Entry("facts of a summary", lambda value: facts.unsupported(value, value), TEXT_CHARACTERS, every=2)
    yield Entry("text.without_folders", text.without_folders, TEXT_CHARACTERS)
    yield Entry("windows", _windows, TEXT_CHARACTERS, every=4)
    yield Entry("decode, flat", partial(_decoded, flat=True), SPANS, every=16)
    yield Entry("decode, nested", partial(_decoded, flat=False), SPANS, every=16)


def _fields() -> Iterator[Entry]:
    """Fields that a validator of ours looks at; what they refuse they may name."""
    yield Entry("closest voice", lambda value: closest(value, catalogue), FIELD_CHARACTERS)
    yield Entry("voices that speak", lambda value: catalogue.speaking(value), FIELD_CHARACTERS)
    models: list[tuple[type[BaseModel], str, dict[str, object]]] = [
        (ExtractRequest, "text", {}),
        (SummarizeRequest, "text", {}),
        (AudioRequest, "text", {}),
        (SpeechRequest, "input", {}),
    ]
    models += [(AudioRequest, name, {"text": "a"}) for name in ("voice", "rate", "volume", "pitch")]
    models += [(SpeechRequest, name, {"input": "a"}) for name in ("model", "voice", "speed", "response_format")]
    for model, name, others in models:
        yield Entry(f"{model.__name__}.{name}", _validated(model, name, others), FIELD_CHARACTERS)
    yield Entry("ExtractRequest.labels", _labels, FIELD_CHARACTERS)
    yield Entry("an unknown field", lambda value: _validate(ExtractRequest, {"text": "a", value: 1}), FIELD_CHARACTERS)


def _bodies() -> Iterator[Entry]:
    def checked(value: str) -> None:
        bodies._check_structure(value.encode())

    yield Entry("a body's structure", _refusing(checked), BODY_CHARACTERS)
    yield Entry("a body as JSON", _refusing(lambda value: json.loads(f'{{"text": {value}')), BODY_CHARACTERS)
    yield Entry("a long text in JSON", _refusing(lambda value: _validate_json(value)), FIELD_CHARACTERS)


def _refusing(call: Callable[[str], object]) -> Callable[[str], object]:
    """A refusal is an answer as well; deep nesting is one of the parser's."""

    def refusing(value: str) -> object:
        with suppress(FactoryError, ValueError, RecursionError, bodies._Refused):
            return call(value)
        return None

    return refusing


def _request(name: str, value: str) -> Request:
    # What the server hands on: bytes, which are read as Latin-1.
    scope: Scope = {"type": "http", "headers": [(name.encode(), value.encode())]}
    return Request(scope)


def _tokens(value: str) -> int:
    """As a tokenizer counts, in time linear in the text."""
    return len(value.encode()) // 3 + 1


def _captions(value: str) -> object:
    spoken = [word.strip(".,\"'()[]") for word in value.split()] or [value]
    words = [Word(word, 0.3 * number, 0.3 * number + 0.2) for number, word in enumerate(spoken)]
    found = captions.captions(value, words, 0.3 * len(words))
    return captions.vtt(found), captions.srt(found)


class _Words:
    """Words of a text with about a token for four characters."""

    def __init__(self, value: str) -> None:
        splitter_ = Splitter(value)
        self._words: list[str] = []
        while taken := splitter_.take(256):
            self._words += [seen(word.text) for word in taken]

    def has(self, index: int) -> bool:
        return index < len(self._words)

    def tokens(self, index: int) -> int:
        return 1 + len(self._words[index]) // 4

    def text(self, index: int) -> str:
        return self._words[index]


def _windows(value: str) -> object:
    words = _Words(value)
    return list(windows.iterate_windows(words, max_words=WINDOW_WORDS, max_tokens=WINDOW_TOKENS, overlap=OVERLAP_WORDS))


def _decoded(value: str, *, flat: bool) -> object:
    """Spans whose places and scores the characters decide."""
    codes = value.encode()[: len(value)]
    spans = [
        Span(at, at + code % SPAN_WORDS, code % LABELS, (code * 37 + at * 11) % 100 / 100)
        for at, code in enumerate(codes)
    ]
    return decode(spans, flat=flat, multi_label=True)


def _validated(model: type[BaseModel], name: str, others: dict[str, object]) -> Callable[[str], object]:
    return lambda value: _validate(model, {name: value, **others})


def _validate(model: type[BaseModel], fields: dict[str, object]) -> object:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        return [app._field_error(dict(item)) for item in error.errors()[: app.MOST_FIELD_ERRORS]]


def _validate_json(value: str) -> object:
    return SummarizeRequest.model_validate_json(json.dumps({"text": value}))


def _labels(value: str) -> object:
    """Labels of a hundred characters, and one that has all the rest."""
    labels = [value[at : at + 100] for at in range(0, min(len(value), 4900), 100)]
    return _validate(ExtractRequest, {"text": "a", "labels": [*labels, value[4900:]]})
