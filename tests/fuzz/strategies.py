"""Strategies for requests that no client of ours would send: lines, headers, framing and bodies."""

import gzip
import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.alphabet import FRAGMENTS

POSTS: dict[str, dict[str, object]] = {
    "/summarize": {"text": "The council met. It voted for a library.", "max_tokens": 4},
    "/extract": {"text": "Tim Cook will visit Paris."},
    "/audio": {"text": "Hello world"},
    "/v1/audio/speech": {"input": "Hello world", "voice": "alloy"},
}
GETS = ["/health", "/health/ready", "/audio/voices", "/v1/models", "/openapi.json", "/docs", "/"]
TARGETS = [
    *("*", "//extract", "/extract//", "/health/../extract", "/%00", "/%2e%2e/etc/passwd", "/audio/voices?locale="),
    *("/health?", "/health#x", "http://evil.invalid/health", "evil.invalid:80", "/\xff", "/extract/", "/v1/audio/"),
    *("/audio/recordings/0", "/audio/recordings/0?format=wav", "/audio/recordings/%ff"),
]
METHODS = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "get", "PRI", "X" * 300]
VERSIONS = ["1.1", "1.1", "1.1", "1.1", "1.0", "0.9", "2.0", "1.9", "11"]

PLAUSIBLE = {
    "Prefer": [
        "wait=1",
        "wait=86400",
        'wait="5"',
        "respond-async, wait=2",
        "return=minimal; wait=3",
        "wait",
        "wait=-1",
    ],
    "Accept": ["*/*", "text/event-stream", "text/vtt;q=0, audio/mpeg", "application/x-subrip", "audio/*;q=0.1", "q=1"],
    "If-None-Match": ["*", 'W/"0"', '"0", W/"1"', '"unclosed', ",,,"],
    "Range": ["bytes=0-0", "bytes=-1", "bytes=5-1", "bytes=0-,0-,0-", "items=1"],
    "If-Range": ['"0"', 'W/"0"', "Thu, 01 Jan 1970 00:00:00 GMT", '"unclosed'],
    "X-Request-ID": ["a", "a" * 200, "a b", "é", "\x7f"],
    "X-Forwarded-For": ["1.2.3.4", "1.2.3.4, ::1", "unknown", "[::1]:5", "999.1.1.1", ","],
    "X-Forwarded-Proto": ["https", "http,https", "javascript"],
    "X-Forwarded-Host": ["evil.invalid"],
    "Forwarded": ["for=1.2.3.4;proto=https", 'for="[::1]"'],
    "Content-Type": [
        "application/json",
        "application/json; charset=utf-16",
        "text/plain",
        "multipart/form-data",
        "json",
    ],
    "Content-Length": ["0", "1", "99999999999999999999", "-1", "+5", "5, 5", "0x10", "1_0", " 7"],
    "Content-Encoding": ["gzip", "identity", "gzip, gzip", "br", ""],
    "Transfer-Encoding": ["chunked", "gzip, chunked", "chunked, chunked", "identity", "xchunked", "chunked;a=b"],
    "Host": ["evil.invalid", "127.0.0.1:1", "", "a b", "[::1", "evil.invalid\tx"],
    "Expect": ["100-continue", "200-ok"],
    "Connection": ["close", "keep-alive", "Upgrade", "close, keep-alive", "Transfer-Encoding"],
    "Upgrade": ["websocket", "h2c"],
    "Accept-Encoding": ["gzip", "*;q=0"],
    "Cookie": ["a=b"],
    "Authorization": ["Basic !!!", "Bearer x"],
    "Origin": ["https://evil.invalid", "null"],
    "Access-Control-Request-Method": ["POST"],
    "If-Modified-Since": ["Thu, 01 Jan 1970 00:00:00 GMT", "yesterday"],
    "X-HTTP-Method-Override": ["DELETE"],
}
MOST_HEADER_CHARACTERS = 60_000
FRAMING = ["Content-Length", "Transfer-Encoding", "Host", "Expect", "Upgrade", "Connection"]
OTHERS = [name for name in PLAUSIBLE if name not in FRAMING]
LENGTHS = [1, 2, 10, 100, 1000, 8_000, MOST_HEADER_CHARACTERS]

_runs = st.builds(lambda part, length: (part * length)[:length], st.sampled_from(FRAGMENTS), st.sampled_from(LENGTHS))
_odd_text = st.one_of(
    _runs, st.text(max_size=40), st.builds("".join, st.lists(st.sampled_from(FRAGMENTS), max_size=30))
)


def _on_one_line(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass").replace(b"\r", b" ").replace(b"\n", b" ")


@st.composite
def _header(draw: st.DrawFn) -> bytes:
    # What decides over the framing ends most requests at once.
    name = draw(st.sampled_from(FRAMING if not draw(st.integers(0, 9)) else OTHERS))
    known = st.sampled_from(PLAUSIBLE[name])
    several = st.builds(", ".join, st.lists(known, min_size=2, max_size=60))
    grown = st.builds(str.__add__, known, _runs)
    value = draw(st.one_of(known, known, several, grown, _odd_text))
    return name.encode() + draw(st.sampled_from([b": "] * 12 + [b":", b":\t", b" : "])) + _on_one_line(value)


_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), _odd_text, st.sampled_from([10**400, -(10**30), 0.1, 1e308])
)
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=8), inner, max_size=8),
    max_leaves=20,
)
FIELDS = [
    *("text", "texts", "labels", "threshold", "flat_ner", "multi_label", "max_tokens", "temperature", "seed", "stream"),
    *(
        "voice",
        "rate",
        "volume",
        "pitch",
        "input",
        "model",
        "speed",
        "response_format",
        "stream_format",
        "instructions",
    ),
]


@st.composite
def _changed(draw: st.DrawFn, fields: dict[str, Any]) -> bytes:
    changes = draw(st.dictionaries(st.sampled_from(FIELDS), _json, max_size=3))
    text = json.dumps({**fields, **changes}, ensure_ascii=draw(st.booleans()))
    return text.encode("utf-8", "surrogatepass")


RAW: list[Callable[[int], bytes]] = [
    lambda n: b"[" * n,
    lambda n: b'{"a":' * n,
    lambda n: b'{"text":' + b"[" * n + b"]" * n + b"}",
    lambda n: b'{"text": "a", "seed": ' + b"9" * n + b"}",
    lambda n: b'{"text": "a", "threshold": 0.' + b"9" * n + b"}",
    lambda n: b'{"text": "a", "threshold": 1e' + b"9" * n + b"}",
    lambda n: b'{"text": "a", "temperature": NaN, "seed": Infinity}' + b" " * n,
    lambda n: b"{" + b",".join(b'"k%d": 1' % k for k in range(n // 8)) + b"}",
    lambda n: b"{" + b'"text": "a",' * (n // 12) + b'"text": "b"}',
    lambda n: b'{"text": "' + b"\\u0041" * (n // 6) + b'"}',
    lambda n: b'{"text": "' + b"\\ud800" * (n // 6) + b'"}',
    lambda n: b'{"text": "' + b"\\n" * (n // 2) + b'a"}',
    lambda n: b'{"text": "' + b"\xff" * n + b'"}',
    lambda n: b'{"text": "' + b"\xcc\x81" * (n // 2) + b'"}',
    lambda n: b'{"input": "' + b"\xcc\x81" * (n // 2) + b'"}',
    lambda n: b'{"texts": [' + b'"",' * (n // 3) + b'"a"]}',
    lambda n: b'{"text": "a", "labels": [' + b'"b",' * (n // 4) + b'"c"]}',
    lambda n: b'{"text": "a", "labels": ["' + b"\xef\xb7\xba" * min(100, n) + b'"]}',
    lambda n: b'{"text": "a", "voice": "' + b"en-" * (n // 3) + b'"}',
    lambda n: b"\xef\xbb\xbf" + b'{"text": "a"}' + b"\n" * n,
    lambda n: ('{"text": "a' + "b" * n + '"}').encode("utf-16"),
    lambda n: gzip.compress(b'{"text": "' + b"a" * n * 20 + b'"}'),
    lambda n: b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\n' + b"a" * n + b"\r\n--x--\r\n",
    lambda n: b"text=" + b"%41" * (n // 3),
    lambda n: b'"' + b"\\" * n,
    lambda n: b'"' * n,
    lambda n: b"\x00" * n,
]
RAW_LENGTHS = [0, 1, 10, 1000, 50_000, 300_000, 2_400_000]


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes]:
    """What kind of request it is, and its bytes."""
    path, fields = draw(st.sampled_from(list(POSTS.items())))
    kind = draw(st.sampled_from(["headers", "headers", "body", "body", "line"]))
    method, target, version = "POST", path, "1.1"
    body = json.dumps(fields).encode()
    if kind == "body":
        raw = st.builds(lambda make, length: make(length), st.sampled_from(RAW), st.sampled_from(RAW_LENGTHS))
        body = draw(st.one_of(_changed(fields), _changed(fields), raw))
    elif kind == "line":
        odd = st.builds(str.__add__, st.sampled_from([*TARGETS, *GETS, path]), _odd_text)
        target = draw(st.one_of(st.sampled_from([*TARGETS, *GETS]), odd))
        method, version = draw(st.sampled_from(METHODS)), draw(st.sampled_from(VERSIONS))
    lines = [
        f"{method} {target} HTTP/{version}".encode("utf-8", "surrogatepass").replace(b"\n", b"").replace(b"\r", b"")
    ]
    lines += draw(st.lists(_header(), max_size=3 if kind == "body" else 8))
    if draw(st.integers(0, 9)):
        lines.append(b"Content-Type: application/json")
        lines.append(b"Host: 127.0.0.1")
    lines.append(b"Connection: close")
    framing, sent = draw(_framed(body))
    return f"{kind} {path if kind != 'line' else ''}".strip(), b"\r\n".join([*lines, *framing, b"", sent])


@st.composite
def _framed(draw: st.DrawFn, body: bytes) -> tuple[list[bytes], bytes]:
    kind = draw(st.sampled_from(["length"] * 12 + ["chunked", "chunked", "small chunks", "wrong", "both"]))
    length = b"Content-Length: %d" % len(body)
    whole = b"%x;a=b\r\n%s\r\n0\r\nX-Trailer: x\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    if kind == "length":
        return [length], body
    if kind == "wrong":
        return [b"Content-Length: %d" % (len(body) + draw(st.integers(-3, 3)))], body
    if kind == "small chunks":
        whole = b"".join(b"1\r\n%c\r\n" % byte for byte in body[:5000]) + b"0\r\n\r\n"
    framing = [b"Transfer-Encoding: chunked"]
    return [*framing, length] if kind == "both" else framing, whole
