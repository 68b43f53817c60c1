"""Whatever strangers ask for, they add no label values of their own."""

import random
from typing import Any

import httpx

from tests.conftest import Runner
from tests.doubles import lead_model
from tests.runner.exposition import Samples, is_possible, scrape

REQUESTS = 1000
# The text may not grow with what is asked for.
MOST_BYTES = 100_000
SIGNS = "aZ09-_.~%/?#&=:;,@!$'()*+ \\\"{}[]|<>^`\n\r\t\0éß漢𝄞\u202e"
METHODS = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "get", "PROPFIND", "XYZZY"]
PATHS = [
    "/summarize",
    "/extract",
    "/audio",
    "/v1/audio/speech",
    "/v1/models",
    "/health",
    "/metrics",
    "/audio/recordings",
    "",
]


def word(source: random.Random, most: int = 24) -> str:
    return "".join(source.choices(SIGNS, k=source.randint(1, most)))


def body(source: random.Random) -> Any:
    text = source.choice(["A bridge.", word(source), "", None, 7])
    return source.choice(
        [
            {"text": text, "model": word(source), "voice": word(source)},
            {"text": text, "labels": [word(source) for _ in range(source.randint(0, 4))]},
            {"text": text, "voice": f"{word(source, 3)}-{word(source, 3)}-{word(source)}Neural"},
            {"input": text, "model": word(source), "voice": word(source), "response_format": word(source, 5)},
            {word(source): word(source)},
            {"text": text, "max_tokens": source.choice([1, 0, 10**9, -1]), "temperature": source.choice([0, 99])},
        ]
    )


def ask(client: httpx.Client, url: str, source: random.Random) -> None:
    path = source.choice(PATHS) + source.choice(["", "/", f"/{word(source)}", f"?{word(source)}={word(source)}"])
    escaped = "".join(sign if sign in "/?=%" or (sign.isalnum() and sign.isascii()) else "_" for sign in path)
    told = word(source, 60).encode("utf-8").translate(None, b"\r\n\0") or b"x"
    names = [
        "X-Request-ID",
        "User-Agent",
        "Accept",
        "X-Forwarded-For",
        "Authorization",
        "X-API-Key",
        "Prefer",
        "Referer",
    ]
    headers = [(source.choice(names).encode(), told.strip())]
    client.request(source.choice(METHODS), url + escaped, json=body(source), headers=headers)


def values(samples: Samples) -> set[tuple[str, str, str]]:
    return {
        (name, label, value)
        for name, series in samples.series().items()
        for labels in series
        for label, value in labels
        if label != "le"
    }


def test_a_thousand_strange_requests_add_no_label_values_of_their_own(runner: Runner) -> None:
    source = random.Random(19)
    before = scrape(runner.url).sum("factory_requests_total")
    with httpx.Client(timeout=30, trust_env=False) as client:
        for _ in range(REQUESTS):
            ask(client, runner.url, source)
    answered = httpx.get(f"{runner.url}/metrics")
    found = Samples(answered.text)
    assert found.sum("factory_requests_total") >= before + REQUESTS * 0.9
    assert len(answered.content) < MOST_BYTES
    models = {lead_model.NAME, *httpx.get(f"{runner.url}/health").json()["models"]}
    for name, label, value in values(found):
        assert is_possible(name, label, value), (name, label, value)
        assert label != "model" or value in models, (name, value)
