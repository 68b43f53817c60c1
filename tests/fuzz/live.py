"""Requests to a service that lives: whatever hypothesis makes of them, and every entry filled to its brim."""

import json
import time
from collections.abc import Callable
from itertools import chain, count
from random import Random

from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.harness.wire import request
from tests.fuzz.alphabet import made, pairs, singles
from tests.fuzz.strategies import MOST_HEADER_CHARACTERS, POSTS, requests
from tests.fuzz.watch import Watch

BATCH = 50
# A framing that promises more than is sent has no answer before the end is told.
SILENCE_SECONDS = 0.5
FIELD_CHARACTERS = 200_000
# Nobody knows where the bounds are: all of the most there may be, and parts of it.
SHARES = [1, 1, 4, 8]


def odd_requests(watch: Watch, until: float) -> None:
    """Lines, headers, framing and bodies, until that time (`time.monotonic`)."""

    def one(made_up: tuple[str, bytes]) -> None:
        if time.monotonic() < until:
            watch.send(*made_up, silence_seconds=SILENCE_SECONDS)

    for number in count():
        if time.monotonic() >= until:
            return
        # In batches, each with a seed of its own: hypothesis has no end by the clock.
        run = given(requests())(one)
        run = settings(
            max_examples=BATCH,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(run)
        seed(watch.seed * 100_000 + number)(run)()


def _header(name: str, path: str) -> Callable[[str], bytes]:
    def build(value: str) -> bytes:
        line = value.encode().replace(b"\r", b" ").replace(b"\n", b" ")
        head, body = request(path, POSTS.get(path))
        return head.replace(b"\r\n\r\n", b"\r\n" + name.encode() + b": " + line + b"\r\n\r\n") + body

    return build


def _field(path: str, name: str, wrap: Callable[[str], object] = str, **others: object) -> Callable[[str], bytes]:
    def build(value: str) -> bytes:
        fields = {**POSTS[path], **others, name: wrap(value)}
        return b"".join(request(path, json.dumps(fields, ensure_ascii=False).encode()))

    return build


def _labels(value: str) -> object:
    """As many labels as there may be, each as long as it may be, and each another."""
    return [f"{number}{value[number * 98 : number * 98 + 98]}" for number in range(50)]


def _query(value: str) -> bytes:
    escaped = "".join(f"%{byte:02x}" for byte in value.encode())
    return b"".join(request(f"/audio/voices?locale={escaped}"))


HEADERS = ["Prefer", "Accept", "If-None-Match", "Range", "X-Request-ID", "X-Forwarded-For", "Content-Type", "Cookie"]
BRIMS: dict[str, tuple[Callable[[str], bytes], int]] = {
    **{f"{name} of {path}": (_header(name, path), MOST_HEADER_CHARACTERS) for name in HEADERS for path in POSTS},
    "Accept of /health": (_header("Accept", "/health"), MOST_HEADER_CHARACTERS),
    "locale": (_query, MOST_HEADER_CHARACTERS // 6),
    "text of /summarize": (_field("/summarize", "text"), FIELD_CHARACTERS),
    "text of /extract": (_field("/extract", "text"), FIELD_CHARACTERS // 4),
    "text of /audio": (_field("/audio", "text"), 20_000),
    "text of captions": (
        lambda value: _field("/audio", "text")(value).replace(b"\r\n", b"\r\nAccept: text/vtt\r\n", 1),
        20_000,
    ),
    "input of speech": (_field("/v1/audio/speech", "input"), 20_000),
    "labels": (_field("/extract", "labels", _labels), 4900),
    "one label": (_field("/extract", "labels", lambda value: [value]), FIELD_CHARACTERS),
    "all labels, all spans": (
        _field("/extract", "labels", _labels, threshold=0.01, flat_ner=False, multi_label=True),
        4900,
    ),
    **{
        f"{name} of /audio": (_field("/audio", name), FIELD_CHARACTERS) for name in ("voice", "rate", "volume", "pitch")
    },
    **{
        f"{name} of speech": (_field("/v1/audio/speech", name), FIELD_CHARACTERS)
        for name in ("model", "voice", "speed", "response_format", "instructions")
    },
    "an unknown field": (lambda value: b"".join(request("/extract", {"text": "a", value: 1})), FIELD_CHARACTERS),
}


def brims(watch: Watch, until: float) -> None:
    """Every entry with as many characters as it takes, of each fragment and of pairs of them."""
    random = Random(watch.seed)
    alone = list(singles())
    random.shuffle(alone)
    for case in chain(alone, pairs(random)):
        name = random.choice(list(BRIMS))
        build, most = BRIMS[name]
        if time.monotonic() >= until:
            return
        watch.send(f"at the brim: {name}", build(made(case, most // random.choice(SHARES))))
