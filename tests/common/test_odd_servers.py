"""Downloads from servers that are no hub, or an odd one: no HEAD, no ETag, no length, redirects, wrong answers."""

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from common import downloads
from common.downloads import DownloadFailed, fetch
from common.lazy import ModelStatus
from common.remote_files import HubFile, UrlFile

CONTENT = bytes(range(256)) * 20
OTHER = CONTENT[::-1]
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CUT = 1000


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]

    @property
    def line(self) -> str:
        return f"{self.method} {self.headers.get('range', '')}".strip()


@dataclass
class Told:
    """An answer; `cut`: so many bytes of it come. A `length` of None is not told."""

    content: bytes = CONTENT
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    length: int | None = -1


Rule = Callable[[Asked, int], Told]


class Odd(ThreadingHTTPServer):
    """A server that answers by `rule`, which is given the request and how many of its method were before it."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, rule: Rule) -> None:
        super().__init__(("127.0.0.1", 0), OddHandler)
        self.rule = rule
        self.asked: list[Asked] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def lines(self) -> list[str]:
        return [asked.line for asked in self.asked]


class OddHandler(BaseHTTPRequestHandler):
    server: Odd

    def do_GET(self) -> None:
        asked = Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        number = sum(earlier.method == asked.method for earlier in self.server.asked)
        self.server.asked.append(asked)
        told = self.server.rule(asked, number)
        self.send_response(told.status)
        for name, value in told.headers.items():
            self.send_header(name, value)
        if told.length is not None:
            self.send_header("Content-Length", str(len(told.content) if told.length < 0 else told.length))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(told.content[: told.cut])

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


Serve = Callable[[Rule], Odd]


@pytest.fixture
def serve(quick: None) -> Iterator[Serve]:  # noqa: ARG001
    running: list[Odd] = []

    def start(rule: Rule) -> Odd:
        running.append(Odd(rule))
        threading.Thread(target=running[-1].serve_forever, args=(0.01,), daemon=True).start()
        return running[-1]

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def part_of(asked: Asked, headers: dict[str, str], content: bytes = CONTENT) -> Told:
    """What a server with ranges answers."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
    if match is None:
        return Told(content, headers={**headers})
    start, stop = int(match[1]), int(match[2]) + 1 if match[2] else len(content)
    span = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
    return Told(content[start:stop], 206, headers | span)


def cut_first(asked: Asked, number: int, told: Told) -> Told:
    """The first GET of content breaks off."""
    told.cut = CUT if asked.method == "GET" and number == 0 else None
    return told


def get(server: Odd, folder: Path, path: str = "/a/model.gguf", sha256: str | None = None) -> bytes:
    return fetch(UrlFile(server.url + path, sha256), folder, lambda _: None).read_bytes()


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_where_head_is_not_allowed_the_first_byte_tells_the_version(serve: Serve, tmp_path: Path, status: int) -> None:
    def rule(asked: Asked, number: int) -> Told:
        if asked.method == "HEAD":
            return Told(b"", status)
        told = part_of(asked, {"ETag": '"1"'})
        told.cut = CUT if number == 1 else None
        return told

    server = serve(rule)
    assert get(server, tmp_path, "/a/model.gguf?signature=secret") == CONTENT
    assert server.lines == ["HEAD", "GET bytes=0-0", "GET", "HEAD", "GET bytes=0-0", f"GET bytes={CUT}-"]
    assert server.asked[-1].headers["if-range"] == '"1"'
    assert {asked.headers["accept-encoding"] for asked in server.asked} == {"identity"}


def test_neither_password_nor_signature_is_told(serve: Serve, tmp_path: Path) -> None:
    server = serve(lambda *_: Told(b"", 403))
    address = f"{server.url.replace('//', '//user:word@')}/model.gguf?signature=secret"
    with pytest.raises(DownloadFailed, match=f"^{server.url}/model.gguf answers HTTP 403$"):
        fetch(UrlFile(address), tmp_path, lambda _: None)
    assert server.asked[0].headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("headers", "sha256", "second_get", "if_range"),
    [
        ({"ETag": '"strong"'}, None, f"GET bytes={CUT}-", '"strong"'),
        ({"ETag": 'W/"weak"'}, None, "GET", None),
        ({}, None, "GET", None),
        # Whatever is put together wrongly would be seen at last.
        ({"ETag": 'W/"weak"'}, SHA256, f"GET bytes={CUT}-", None),
        ({}, SHA256, f"GET bytes={CUT}-", None),
    ],
)
def test_only_what_can_be_told_to_belong_together_is_put_together(
    serve: Serve,
    tmp_path: Path,
    headers: dict[str, str],
    sha256: str | None,
    second_get: str,
    if_range: str | None,
) -> None:
    server = serve(lambda asked, number: cut_first(asked, number, part_of(asked, headers)))
    assert get(server, tmp_path, sha256=sha256) == CONTENT
    assert server.lines == ["HEAD", "GET", "HEAD", second_get]
    assert server.asked[-1].headers.get("if-range") == if_range


@pytest.mark.parametrize("length", [0, None])
def test_a_head_without_a_length_is_no_empty_file(serve: Serve, tmp_path: Path, length: int | None) -> None:
    server = serve(lambda asked, _: Told(length=length if asked.method == "HEAD" else -1, headers={"ETag": '"1"'}))
    assert get(server, tmp_path) == CONTENT
    assert left_in(tmp_path) == ["model.gguf"]


def test_a_file_of_unknown_length_ends_with_the_connection(serve: Serve, tmp_path: Path) -> None:
    seen: list[ModelStatus] = []
    server = serve(lambda *_: Told(length=None))
    assert fetch(UrlFile(f"{server.url}/"), tmp_path, seen.append).read_bytes() == CONTENT
    assert [(status.progress, status.seconds_left) for status in seen] == [(None, None)]
    assert left_in(tmp_path) == ["file"]


def test_redirects_are_followed_to_other_hosts(serve: Serve, tmp_path: Path) -> None:
    last = serve(lambda asked, number: cut_first(asked, number, part_of(asked, {"ETag": '"1"'})))
    steps = {"/a/model.gguf": "../b", "/b": "/c", "/c": f"{last.url}/d"}
    first = serve(lambda asked, _: Told(b"moved", 302, {"Location": steps[asked.path]}))
    assert get(first, tmp_path) == CONTENT
    assert last.lines == ["HEAD", "GET", "HEAD", f"GET bytes={CUT}-"]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (Told(b"moved", 302, {"Location": "/a/model.gguf"}), "is nowhere: 10 redirects lead to another"),
        (Told(b"moved", 302), "answers HTTP 302"),
        (Told(b"moved", 302, {"Location": "http://["}), "could not be downloaded: Invalid IPv6 URL"),
        (
            Told(b"moved", 302, {"Location": "ftp://127.0.0.1/"}),
            "Request URL has an unsupported protocol",
        ),
        (Told(b"moved", 302, {"Location": "http://127.0.0.1:9/"}), "127.0.0.1 cannot be reached (["),
        (Told(b"", 204), "answers HTTP 204"),
        (Told(headers={"Content-Encoding": "gzip"}), "comes with Content-Encoding gzip"),
    ],
)
def test_no_answer_but_the_file_is_taken_for_it(serve: Serve, tmp_path: Path, told: Told, message: str) -> None:
    with pytest.raises(DownloadFailed, match=re.escape(message)):
        get(serve(lambda *_: told), tmp_path)
    assert [name for name in left_in(tmp_path) if not name.endswith(".json")] in ([], ["model.gguf.part"])


def test_a_redirect_of_the_content_alone(serve: Serve, tmp_path: Path) -> None:
    def rule(asked: Asked, number: int) -> Told:
        if asked.method == "GET" and asked.path != "/there":
            return Told(b"moved", 302, {"Location": "/there"})
        return cut_first(asked, number - 1, part_of(asked, {"ETag": '"1"'}))

    assert get(serve(rule), tmp_path) == CONTENT


@pytest.mark.parametrize("headers", [{"Content-Range": "bytes 7-5119/5120"}, {"Content-Range": "bytes 1000-5119/6000"}])
def test_another_part_than_was_asked_for_is_thrown_away(serve: Serve, tmp_path: Path, headers: dict[str, str]) -> None:
    def rule(asked: Asked, number: int) -> Told:
        told = cut_first(asked, number, part_of(asked, {"ETag": '"1"'}))
        told.headers |= headers if told.status == 206 else {}
        return told

    server = serve(rule)
    assert get(server, tmp_path) == CONTENT
    assert server.lines == ["HEAD", "GET", "HEAD", f"GET bytes={CUT}-", "HEAD", "GET"]


def test_a_part_of_another_version_is_thrown_away_even_if_the_server_ignores_if_range(
    serve: Serve, tmp_path: Path
) -> None:
    def rule(asked: Asked, number: int) -> Told:
        is_new = asked.method == "GET" and number > 0
        version = ({"ETag": '"2"'}, OTHER) if is_new else ({"ETag": '"1"'}, CONTENT)
        return cut_first(asked, number, part_of(asked, *version))

    assert get(serve(rule), tmp_path) == OTHER


def test_a_version_that_head_does_not_know_yet_is_not_mixed_with_the_old_one(serve: Serve, tmp_path: Path) -> None:
    # The first GET meets a new version and breaks off, the others meet the old one.
    def rule(asked: Asked, number: int) -> Told:
        is_new = asked.method == "GET" and number == 0
        version = ({"ETag": '"2"'}, OTHER) if is_new else ({"ETag": '"1"'}, CONTENT)
        return cut_first(asked, number, part_of(asked, *version))

    server = serve(rule)
    assert get(server, tmp_path) == CONTENT
    assert server.lines == ["HEAD", "GET", "HEAD", "GET"]


def test_a_file_that_has_shrunk_is_begun_anew(serve: Serve, tmp_path: Path) -> None:
    def rule(asked: Asked, number: int) -> Told:
        return Told(b"", 416) if "range" in asked.headers else cut_first(asked, number, Told(headers={"ETag": '"1"'}))

    server = serve(rule)
    assert get(server, tmp_path) == CONTENT
    assert server.lines == ["HEAD", "GET", "HEAD", f"GET bytes={CUT}-", "HEAD", "GET"]


def test_a_file_that_is_longer_than_it_was_said_to_be_is_not_kept(serve: Serve, tmp_path: Path) -> None:
    server = serve(lambda asked, _: Told(length=100 if asked.method == "HEAD" else -1))
    with pytest.raises(DownloadFailed, match="what came is damaged, it is longer than 100 bytes"):
        get(server, tmp_path)
    assert (server.lines, left_in(tmp_path)) == (["HEAD", "GET"] * downloads.CORRUPT, [])


def test_a_flaky_server_without_ranges_is_given_up(serve: Serve, tmp_path: Path) -> None:
    content = CONTENT * 1000
    cuts = [4_000_000, 1_200_000]

    def rule(asked: Asked, number: int) -> Told:
        return Told(content, headers={"ETag": '"1"'}, cut=cuts[number % 2] if asked.method == "GET" else None)

    server = serve(rule)
    with pytest.raises(DownloadFailed, match=r"the connection to 127\.0\.0\.1 broke off"):
        get(server, tmp_path)
    assert server.lines.count("HEAD") <= 2 * downloads.FRUITLESS


def test_what_the_server_asks_for_is_waited(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(downloads, "LONGEST_PAUSE_SECONDS", 30.0)
    paused: list[float] = []
    monkeypatch.setattr(time, "sleep", paused.append)
    answers = [Told(b"", 503, {"Retry-After": seconds}) for seconds in ("7", "3600", "soon")]
    server = serve(lambda asked, number: answers[number] if asked.method == "HEAD" and number < 3 else Told())
    assert get(server, tmp_path) == CONTENT
    assert [seconds for seconds in paused if seconds >= 1] == [7.0, 30.0]
    assert "127.0.0.1 answers HTTP 503; again in 7.0 s" in caplog.text


def test_a_pinned_file_has_a_place_of_its_own(serve: Serve, tmp_path: Path) -> None:
    contents = [OTHER, CONTENT]
    server = serve(lambda asked, number: Told(contents[number] if asked.method == "GET" else b"", length=None))
    assert get(server, tmp_path) == OTHER
    # What was fetched without a checksum is not taken for it.
    assert get(server, tmp_path, sha256=SHA256) == CONTENT
    # Signed anew, it is still the same file.
    assert get(server, tmp_path, "/a/model.gguf?signature=other", SHA256) == CONTENT
    assert len(server.asked) == 4


class TestHub:
    """An endpoint that is odd for a hub."""

    FILE: ClassVar = HubFile("owner/name", "model.gguf")

    def test_a_mirror_that_sends_on_gets_no_token_along(
        self, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # What is a checksum at the hub need not be one elsewhere.
        last = serve(lambda asked, number: cut_first(asked, number, part_of(asked, {"ETag": f'"{"0" * 64}"'})))
        first = serve(lambda asked, _: Told(b"", 307, {"Location": last.url + asked.path, "ETag": f'"{"1" * 40}"'}))
        monkeypatch.setenv("HF_ENDPOINT", f"{first.url}/")
        monkeypatch.setenv("HF_TOKEN", "secret")
        assert fetch(self.FILE, tmp_path, lambda _: None).read_bytes() == CONTENT
        assert {asked.headers.get("authorization") for asked in first.asked} == {"Bearer secret"}
        assert {asked.headers.get("authorization") for asked in last.asked} == {None}
        assert last.lines == ["HEAD", "GET", "HEAD", f"GET bytes={CUT}-"]

    def test_a_mirror_that_keeps_all_itself(
        self, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        headers = {"X-Linked-Etag": f'"{SHA256}"', "X-Linked-Size": str(len(CONTENT)), "ETag": '"of the mirror"'}
        server = serve(lambda asked, number: cut_first(asked, number, part_of(asked, headers)))
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert fetch(self.FILE, tmp_path, lambda _: None).read_bytes() == CONTENT
        assert server.lines == ["HEAD", "GET", "HEAD", f"GET bytes={CUT}-"]
        assert "if-range" not in server.asked[-1].headers

    @pytest.mark.parametrize(
        ("status", "message"),
        [
            (401, "the hub refuses owner/name with HTTP 401: HF_TOKEN is wrong or may not read it"),
            (403, "the hub refuses owner/name with HTTP 403: HF_TOKEN is wrong or may not read it"),
            (404, "the hub has no repository owner/name, or it is private"),
            (410, "the hub answers HTTP 410 for owner/name/model.gguf@main"),
        ],
    )
    def test_a_refusal_without_a_reason(
        self, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, message: str
    ) -> None:
        server = serve(lambda *_: Told(b"", status))
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises(DownloadFailed, match=re.escape(message)):
            fetch(self.FILE, tmp_path, lambda _: None)
        assert len(server.asked) == 1

    @pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "http://[", "http://127.0.0.1:99999"])
    @pytest.mark.usefixtures("quick")
    def test_an_endpoint_that_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(DownloadFailed, match=r"model\.gguf@main could not be downloaded: "):
            fetch(self.FILE, tmp_path, lambda _: None)
