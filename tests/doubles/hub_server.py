"""A loopback double of the file endpoints of the Hugging Face hub and of its CDN, that fails by name.

It answers HEAD and GET of `/OWNER/NAME/resolve/REVISION/PATH` as huggingface_hub 2.4.0 expects it: a small file at
once, a large one (LFS) by a redirect to a CDN. The CDN has a port of its own, as clients must not follow a redirect
with HEAD, nor take their token along, once it leads to another host. In a test:

    with HubServer({"owner/name": {"config.json": b"{}", "model.gguf": Path("model.gguf")}}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)  # the library reads it once, when it is imported
        hub.upcoming.extend([HubFault.CUT, HubFault.CUT])  # the next two downloads only
        hub.fault = HubFault.DRIP  # all after them
        hub.downloads("model.gguf"), hub.bytes_sent, hub.requests[0].range, hub.leaked_tokens

From a shell, with a megabyte per second:

    python -m tests.doubles.hub_server --port 8766 --file owner/name:model.gguf=local.gguf --fault none --pace 1000000
"""

import argparse
import asyncio
import hashlib
import io
import re
import secrets
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import quote, unquote

from aiohttp import web

LFS_BYTES = 1_000_000  # a larger file is an LFS file, unless it is said not to be
CHUNK_BYTES = 256 * 1024
POLL_SECONDS = 0.01
PACED_CHUNKS_PER_SECOND = 50
RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
RESOLVE_CACHE = re.compile(r"/api/resolve-cache/models/([^/]+/[^/]+)/([^/]+)/(.+)")
CDN = re.compile(r"/cdn/([^/]+)/[0-9a-f]{64}")
COMPLEMENT = bytes(range(255, -1, -1))
Content = bytes | Path
Files = Mapping[str, Mapping[str, Content]]  # repos to paths to contents
Headers = dict[str, str]
Answer = web.StreamResponse
Refusal = tuple[int, str, str]  # status, X-Error-Code or "" for none, X-Error-Message


class HubFault(Enum):
    """What goes wrong with a request."""

    NONE = "none"  # in `upcoming`: a healthy download
    # Of every request for a file, a HEAD too.
    MUTE = "mute"  # it is never answered
    RESET = "reset"  # the TCP connection is reset
    # Of such a request to the hub, a HEAD too.
    UNAUTHORIZED = "unauthorized"  # 401, as for a token that is none
    GATED = "gated"  # 403, as for a token whose owner has not been granted access
    NO_FILE = "no-file"  # 404
    NO_REVISION = "no-revision"  # 404
    NO_REPO = "no-repo"  # 404, without a token 401
    TOO_MANY = "too-many"  # 429 with Retry-After
    SERVER_ERROR = "server-error"  # 500
    # Of a GET that is answered with content: by the hub when the file is small, by the CDN when it is LFS.
    CUT = "cut"  # the connection is closed after `cut_after` bytes of a longer answer
    WRONG_SIZE = "wrong-size"  # the file is 1000 bytes longer, in the answers to HEAD too, than what comes and a close
    FLIPPED = "flipped"  # the byte in the middle of the answer is another
    DRIP = "drip"  # `drip_bytes` at once, `drip_seconds` between them
    HANG = "hang"  # nothing comes after the headers
    # Of such a GET with a Range; one without never meets them.
    RANGE_IGNORED = "range-ignored"  # 200 and the whole file
    CHANGED = "changed"  # the file has the same size, but other bytes and another ETag, which If-Range is compared with


REFUSALS: dict[HubFault, Refusal] = {
    HubFault.UNAUTHORIZED: (401, "", "Invalid credentials in Authorization header"),
    HubFault.GATED: (403, "GatedRepo", "Access to this model is restricted and you are not in the authorized list."),
    HubFault.NO_FILE: (404, "EntryNotFound", "Entry not found"),
    HubFault.NO_REVISION: (404, "RevisionNotFound", "Invalid rev id"),
    HubFault.NO_REPO: (404, "RepoNotFound", "Repository not found"),
    HubFault.TOO_MANY: (429, "", "Too many requests"),
    HubFault.SERVER_ERROR: (500, "", "Internal Error - We're working hard to fix this as soon as possible!"),
}
LOGIN: Refusal = (401, "GatedRepo", "Access to this model is restricted. You must be authenticated to access it.")
NO_REPO_OR_LOGIN: Refusal = (401, "RepoNotFound", "Invalid username or password.")
MISSING_BYTES: dict[HubFault | None, int] = {HubFault.WRONG_SIZE: 1000}
OF_CONNECTION = {HubFault.MUTE, HubFault.RESET}
OF_RANGE = {HubFault.RANGE_IGNORED, HubFault.CHANGED}
OF_CONTENT = set(HubFault) - OF_CONNECTION - OF_RANGE - set(REFUSALS)


@dataclass
class HubRequest:
    """One request and how it was answered, as far as it has been until now."""

    method: str
    path: str
    range: str | None
    if_range: str | None
    authorization: str | None
    repo: str = ""  # "" where the path is for no file
    file: str = ""  # its path in the repo, at the CDN too
    status: int = 0  # 0 without an answer
    bytes_sent: int = 0  # of a file, as given to the connection; the client may have got fewer
    finished: bool = False  # all was sent that the headers promised


@dataclass(frozen=True)
class HubFile:
    """A file of a repo."""

    repo: str
    path: str
    commit: str
    content: Content
    size: int
    sha256: str
    etag: str  # the hub's: the SHA-256 of an LFS file, git's SHA-1 of any other, in quotes
    lfs: bool


class HubServer:
    """The double, on a thread and an event loop of its own, as a context manager.

    `files` maps repos to their files, these by path. All attributes may be changed while it runs. `fault` is for every
    request that it can strike, except that the next ones first use up `upcoming`: its first fault waits for a request
    of its kind, and all behind it wait too. `requests` holds what was asked, in order, redirects and errors included.
    """

    def __init__(self, files: Files | None = None, fault: HubFault = HubFault.NONE, port: int = 0) -> None:
        self.fault = fault
        self.upcoming: deque[HubFault] = deque()
        self.only = ""  # faults strike where this is part of "METHOD /path OWNER/NAME:FILE", such as "/cdn/" or "HEAD "
        self.cut_after = 1000
        self.drip_bytes = 100
        self.drip_seconds = 0.05
        self.pace_bytes_per_second = 0.0  # of each answer; 0 for as fast as possible
        self.required_token: str | None = None  # without it 401, with another 403
        self.redirect_small = False  # small files by a relative 307 to /api/resolve-cache, as the hub does since 2025
        self.requests: list[HubRequest] = []
        self.leaked_tokens: list[str] = []  # the Authorization headers that came to the CDN
        self._repos: dict[str, dict[str, dict[str, HubFile]]] = {}
        self._links: dict[str, HubFile] = {}
        self._port, self._cdn_port = port, 0
        for repo, contents in (files or {}).items():
            for path, content in contents.items():
                self.add(repo, path, content)

    def add(self, repo: str, path: str, content: Content, revision: str = "main", lfs: bool | None = None) -> HubFile:
        """Put a file in place, or another in its place; a Path is read through once now, and anew by each download."""
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        lfs = size > LFS_BYTES if lfs is None else lfs
        sha256 = _digest(content, hashlib.sha256)
        etag = sha256 if lfs else _digest(content, lambda: hashlib.sha1(b"blob %d\0" % size))
        file = HubFile(repo, path, commit_of(repo, revision), content, size, sha256, f'"{etag}"', lfs)
        self._repos.setdefault(repo, {}).setdefault(revision, {})[path] = file
        return file

    @property
    def url(self) -> str:
        """For HF_ENDPOINT; nothing listens there afterwards."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def bytes_sent(self) -> int:
        return sum(record.bytes_sent for record in list(self.requests))

    def downloads(self, path: str, repo: str | None = None) -> int:
        """How many GETs were answered with content of the file, whole or not."""
        records = [record for record in list(self.requests) if record.method == "GET" and record.file == path]
        records = [record for record in records if record.status in (200, 206) and repo in (None, record.repo)]
        return sum(record.bytes_sent > 0 or record.finished for record in records)

    def expire_links(self) -> None:
        """From now on the CDN answers 403 to all redirects of before, as the real one does after an hour."""
        self._links.clear()

    def __enter__(self) -> "HubServer":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hub", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        await web.TCPSite(self._runner, "127.0.0.1", self._cdn_port).start()
        self._port, self._cdn_port = (address[1] for address in self._runner.addresses)

    async def _handle(self, request: web.Request) -> Answer:
        raw_path = request.raw_path.partition("?")[0]
        link = CDN.fullmatch(raw_path)
        linked = self._links.get(link[1]) if link else None
        asked = RESOLVE.fullmatch(raw_path) or RESOLVE_CACHE.fullmatch(raw_path)
        repo, revision, path = map(unquote, asked.groups()) if asked else ("", "", "")
        if linked:
            repo, path = linked.repo, linked.path
        method, get = request.method, request.headers.get
        record = HubRequest(method, request.path, get("Range"), get("If-Range"), get("Authorization"), repo, path)
        self.requests.append(record)
        if method not in ("GET", "HEAD") or not (link or asked):
            return _told(record, 404)
        if fault := self._struck(record, OF_CONNECTION):
            return await self._say_nothing(request, fault)
        return await (self._cdn(request, record, linked) if link else self._hub(request, record, revision))

    def _due(self, record: HubRequest) -> HubFault | None:
        """The fault that is next, whatever kind of request it is for; None where `only` spares this one."""
        if self.only not in f"{record.method} {record.path} {record.repo}:{record.file}":
            return None
        return self.upcoming[0] if self.upcoming else self.fault

    def _struck(self, record: HubRequest, kinds: set[HubFault]) -> HubFault | None:
        """The fault that strikes and is used up by that; None when none of these kinds is due."""
        fault = self._due(record)
        if fault not in kinds:
            return None
        if self.upcoming:
            self.upcoming.popleft()
        return fault

    async def _say_nothing(self, request: web.Request, fault: HubFault) -> web.Response:
        if fault is HubFault.MUTE:
            await self._until_gone(request)
        elif request.transport is not None:
            linger = struct.pack("ii", 1, 0)
            request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            request.transport.abort()
        return web.Response()

    async def _until_gone(self, request: web.Request) -> None:
        """Until the client breaks the connection, which a peer that reads nothing only learns from TCP."""
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(POLL_SECONDS)

    async def _hub(self, request: web.Request, record: HubRequest, revision: str) -> Answer:
        found = self._find(record, revision)
        if not isinstance(found, HubFile):
            status, code, message = found
            headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
            if found == REFUSALS[HubFault.NO_FILE]:
                headers["X-Repo-Commit"] = commit_of(record.repo, revision)
            return _told(record, status, headers | ({"Retry-After": "1"} if status == 429 else {}), message)
        headers = {"X-Repo-Commit": found.commit, "ETag": found.etag, "Accept-Ranges": "bytes"}
        if found.lfs:
            token = secrets.token_hex(16)
            self._links[token] = found
            query = f"Expires={int(time.time()) + 3600}&Signature={secrets.token_urlsafe(16)}"
            headers["Location"] = f"http://127.0.0.1:{self._cdn_port}/cdn/{token}/{found.sha256}?{query}"
            size = found.size + MISSING_BYTES.get(self._due(record), 0)
            return _told(record, 302, headers | {"X-Linked-Size": str(size), "X-Linked-Etag": found.etag})
        if self.redirect_small and not request.path.startswith("/api/"):
            cached = f"/api/resolve-cache/models/{quote(f'{found.repo}/{found.commit}/{found.path}')}"
            return _told(record, 307, headers | {"Location": f"{cached}?etag={quote(found.etag)}"})
        return await self._send(request, record, found, headers)

    def _find(self, record: HubRequest, revision: str) -> HubFile | Refusal:
        fault = self._struck(record, set(REFUSALS))
        revisions = self._repos.get(record.repo, {})
        if fault := fault or (None if revisions else HubFault.NO_REPO):
            unknown = fault is HubFault.NO_REPO and not record.authorization
            return NO_REPO_OR_LOGIN if unknown else REFUSALS[fault]
        if self.required_token is not None and record.authorization != f"Bearer {self.required_token}":
            return REFUSALS[HubFault.GATED] if record.authorization else LOGIN
        for name, files in list(revisions.items()):
            if revision in (name, commit_of(record.repo, name)):
                return files.get(record.file, REFUSALS[HubFault.NO_FILE])
        return REFUSALS[HubFault.NO_REVISION]

    async def _cdn(self, request: web.Request, record: HubRequest, file: HubFile | None) -> Answer:
        if record.authorization is not None:
            self.leaked_tokens.append(record.authorization)
        if file is None:
            return _told(record, 403, text="<Error><Code>AccessDenied</Code></Error>")
        return await self._send(request, record, file, {"ETag": _derived_etag(file.sha256), "Accept-Ranges": "bytes"})

    async def _send(self, request: web.Request, record: HubRequest, file: HubFile, headers: Headers) -> Answer:
        size = file.size + MISSING_BYTES.get(self._due(record), 0)
        kinds = OF_CONTENT | OF_RANGE if record.range else OF_CONTENT
        fault = self._struck(record, kinds) if request.method == "GET" else None
        if fault is HubFault.CHANGED:
            headers["ETag"] = _derived_etag(headers["ETag"])
        part = None if fault is HubFault.RANGE_IGNORED else _part(request, size, headers["ETag"])
        start, stop = part or (0, size)
        if part and start >= stop:
            return _told(record, 416, {"Content-Range": f"bytes */{size}"})
        if part:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        headers["Content-Length"] = str(stop - start)
        response = web.StreamResponse(status=206 if part else 200, headers=headers)
        record.status = response.status
        record.finished = request.method == "HEAD" or start == stop
        await response.prepare(request)
        if fault is HubFault.HANG:
            await self._until_gone(request)
        elif request.method == "GET":
            try:
                for pause, chunk in self._chunks(file, start, stop, fault):
                    await asyncio.sleep(pause)
                    record.bytes_sent += len(chunk)
                    record.finished = record.bytes_sent == stop - start  # before the client can see that it has all
                    await response.write(chunk)
            except ConnectionError:
                record.finished = False
            if not record.finished and request.transport is not None:
                request.transport.close()
        return response

    def _chunks(self, file: HubFile, start: int, stop: int, fault: HubFault | None) -> Iterator[tuple[float, bytes]]:
        """The bytes from `start` to `stop`, as far as they come, each time with the seconds to wait before."""
        stop = min(stop, file.size, start + self.cut_after if fault is HubFault.CUT else stop)
        at, flipped = start, (start + stop) // 2 if fault is HubFault.FLIPPED else -1
        pace = self.pace_bytes_per_second
        most = self.drip_bytes if fault is HubFault.DRIP else CHUNK_BYTES
        most = min(most, int(pace / PACED_CHUNKS_PER_SECOND) + 1) if pace > 0 else most
        started = time.monotonic()
        with _opened(file.content) as source:
            source.seek(start)
            while chunk := bytearray(source.read(min(most, stop - at))):
                pause = self.drip_seconds if fault is HubFault.DRIP and at > start else 0.0
                if fault is HubFault.CHANGED:
                    chunk = chunk.translate(COMPLEMENT)
                elif at <= flipped < at + len(chunk):
                    chunk[flipped - at] ^= 0xFF
                at += len(chunk)
                if pace > 0:
                    # By the clock and not by the chunk, so that no delay adds up.
                    pause = max(pause, started + (at - start) / pace - time.monotonic())
                yield pause, bytes(chunk)


def commit_of(repo: str, revision: str = "main") -> str:
    """The hash of the commit that a revision of a repo stands for, itself if it is one."""
    if re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    return hashlib.sha1((repo if revision == "main" else f"{repo}@{revision}").encode()).hexdigest()


def _told(record: HubRequest, status: int, headers: Headers | None = None, text: str = "") -> web.Response:
    """An answer that holds nothing of a file."""
    record.status, record.finished = status, True
    return web.Response(status=status, headers=headers, text=text)


def _part(request: web.Request, size: int, etag: str) -> tuple[int, int] | None:
    """Where the part that is asked for starts and stops, empty when there is no such part; None for the whole file."""
    if request.method == "HEAD" or "Range" not in request.headers or request.headers.get("If-Range", etag) != etag:
        return None
    try:
        return request.http_range.indices(size)[:2]
    except ValueError:  # what is no range of bytes, or several, may be ignored
        return None


def _opened(content: Content) -> io.BufferedIOBase:
    return content.open("rb") if isinstance(content, Path) else io.BytesIO(content)


def _digest(content: Content, algorithm: "Callable[[], hashlib._Hash]") -> str:
    with _opened(content) as source:
        return hashlib.file_digest(source, algorithm).hexdigest()


def _derived_etag(seed: str) -> str:
    return f'"{hashlib.md5(seed.encode()).hexdigest()}"'


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a loopback double of the Hugging Face hub until interrupted.")
    parser.add_argument("--port", type=int, default=0, help="port of the hub, 0 for a free one; the CDN has a free one")
    parser.add_argument("--file", action="append", default=[], metavar="OWNER/NAME:PATH=LOCALFILE")
    parser.add_argument("--fault", choices=[fault.value for fault in HubFault], default=HubFault.NONE.value)
    parser.add_argument("--pace", type=float, default=0.0, help="bytes per second; 0 for as fast as possible")
    options = parser.parse_args()
    hub = HubServer(fault=HubFault(options.fault), port=options.port)
    hub.pace_bytes_per_second = options.pace
    for repo, path, local in (re.split("[:=]", option, maxsplit=2) for option in options.file):
        hub.add(repo, path, Path(local))
    with hub, suppress(KeyboardInterrupt):
        print(hub.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
