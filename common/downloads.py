"""Model files from a hub or a URL: resumed where they broke off, verified, fetched once however many processes ask.

A file gets its final name only when its size and checksum are right. Until then it is `NAME.part`, and `NAME.part.json`
says which version of the file that belongs to. The hub's own library does not resume what an earlier process began,
looks at sizes only, and takes 23 s to tell that the hub cannot be reached (huggingface_hub 1.18 and later).
"""

import errno
import json
import logging
import os
import random
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn
from urllib.parse import urljoin

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from common.errors import ModelLoadFailed
from common.lazy import ModelStatus, Report
from common.progress import Progress, amount
from common.remote_files import HubFile, RemoteFile, Version, origin, refusal

if TYPE_CHECKING:
    import hashlib

    import httpx2

logger = logging.getLogger(__name__)
# It would log whole addresses, and they may hold a signature.
logging.getLogger("httpx2").setLevel(logging.WARNING)

CONNECT_SECONDS, READ_SECONDS = 5.0, 10.0
CHUNK_BYTES = 1 << 20
MOST_REDIRECTS = 10
# Attempts in a row that bring less than CHUNK_BYTES.
FRUITLESS = 5
# For a server that has never answered: attempts, and the seconds after which there is no other one.
UNREACHED, UNREACHED_SECONDS = 3, 4.0
# Downloads that were damaged: once may be the network, twice is the file.
CORRUPT = 2
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
# Left free on the disk beside the file.
MARGIN_BYTES = 64 << 20
# Between two looks at what another process downloads.
WAIT_SECONDS = 0.5
REDIRECTS = {301, 302, 303, 307, 308}
PASSING = {408, 425, 429}
# To HEAD: the address is signed for GET only, or the server knows no HEAD.
NO_HEAD = {400, 403, 405, 501}

_CHECKSUM = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


class DownloadFailed(ModelLoadFailed):
    """Another attempt would not help. The message says what an operator can do."""


def fetch(remote: RemoteFile, folder: Path, report: Report, *, offline: bool = False) -> Path:
    """The file on this machine: in `folder`, in the hub's cache, or downloaded now. Raises DownloadFailed."""
    final = folder / remote.place
    if (there := found(remote, folder)) is not None:
        return there
    if offline:
        raise DownloadFailed(
            f"{remote.name} is not in {folder}, and downloads are off (FACTORY_OFFLINE, HF_HUB_OFFLINE)"
        )
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(remote, final, report):
            if not final.is_file():
                _Download(remote, final, report).run()
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            with suppress(OSError):
                reason += f", {amount(shutil.disk_usage(folder).free)} are free"
        raise DownloadFailed(f"{remote.name} cannot be kept in {folder}: {reason}") from error
    return final


def found(remote: RemoteFile, folder: Path) -> Path | None:
    """The file in `folder` or in the hub's cache, if it is there."""
    final = folder / remote.place
    if final.is_file():
        return final
    return _in_hubs_cache(remote) if isinstance(remote, HubFile) else None


class _Again(Exception):
    """Another attempt may help. `after`: the seconds that the server asks to wait."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class _Download:
    """One file until it is there or given up."""

    def __init__(self, remote: RemoteFile, final: Path, report: Report) -> None:
        self._remote = remote
        self._is_on_hub = isinstance(remote, HubFile)
        self._final = final
        self._part = _part(final)
        self._report = report
        self._progress = Progress(remote.name, report)
        # Of all that is in the part; None while that is not known.
        self._hash: hashlib._Hash | None = None
        self._begun = time.monotonic()
        self._reached = False
        self._furthest = self._fruitless = self._corrupt = 0

    def run(self) -> None:
        import httpx2

        retrying = Retrying(
            stop=self._is_given_up,
            wait=self._pause,
            before_sleep=self._log,
            retry=retry_if_exception_type(_Again),
            reraise=True,
        )
        timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        try:
            self._token = _token() if self._is_on_hub else None
            with httpx2.Client(timeout=timeout) as client:
                retrying(self._attempt, client)
        except _Again as error:
            kept = f"; the next start goes on at {amount(there)}" if (there := _size(self._part)) else ""
            raise DownloadFailed(f"{self._remote.name} could not be downloaded: {error}{kept}") from error
        except (httpx2.UnsupportedProtocol, httpx2.TooManyRedirects, httpx2.InvalidURL, ValueError) as error:
            raise DownloadFailed(f"{self._remote.name} could not be downloaded: {error}") from error

    def _attempt(self, client: "httpx2.Client") -> None:
        import httpx2

        self._fruitless += 1
        try:
            self._receive(client)
        except httpx2.UnsupportedProtocol:
            raise
        except httpx2.TransportError as error:
            host, away = error.request.url.host, (httpx2.ConnectError, httpx2.ConnectTimeout)
            is_away = not self._reached or isinstance(error, away)
            what = f"{host} cannot be reached" if is_away else f"the connection to {host} broke off"
            raise _Again(f"{what} ({str(error) or type(error).__name__})") from error
        finally:
            # Bytes that only replace damaged ones are no progress.
            if (there := _size(self._part)) >= self._furthest + CHUNK_BYTES:
                self._furthest, self._fruitless = there, 0

    def _receive(self, client: "httpx2.Client") -> None:
        version, address = self._ask(client)
        start = self._continued(version)
        self._furthest = max(self._furthest, start)
        self._check_disk((version.size or 0) - start)
        with self._part.open("ab") as part:
            if start == 0 or start != version.size:
                version = self._append(client, address, version, start, part)
            digest = self._hashed(version).hexdigest()
            part.flush()
            os.fsync(part.fileno())
        self._finish(version, digest)

    def _ask(self, client: "httpx2.Client") -> tuple[Version, str]:
        """The file's version, and the address of its content: a hub sends on to where large files are kept."""
        url = self._remote.url
        for _ in range(MOST_REDIRECTS):
            response = self._head(client, url)
            self._reached = True
            location = response.headers.get("location")
            if response.status_code not in REDIRECTS or not location:
                self._check_status(response)
                return self._version(response), url
            url = urljoin(url, location)
            if self._is_on_hub and "x-linked-etag" in response.headers:
                # These headers are complete: the file itself need not be asked.
                return self._version(response), url
        raise DownloadFailed(f"{self._remote.name} is nowhere: {MOST_REDIRECTS} redirects lead to another")

    def _head(self, client: "httpx2.Client", url: str) -> "httpx2.Response":
        response = client.head(url, headers=self._headers(url))
        if not self._is_on_hub and response.status_code in NO_HEAD:
            # The answer for the first byte tells as much.
            with client.stream("GET", url, headers=self._headers(url) | {"Range": "bytes=0-0"}) as response:
                pass
        return response

    def _version(self, response: "httpx2.Response") -> Version:
        headers = response.headers
        is_linked = self._is_on_hub and "x-linked-etag" in headers
        etag = headers.get("x-linked-etag" if is_linked else "etag")
        # Of the first byte's answer the length of the whole; of a redirect not its own.
        length = headers.get("content-range", "").rpartition("/")[2] or headers.get("content-length", "")
        length = headers.get("x-linked-size", "") if is_linked else length
        # There is no empty model, but there are servers that say so to HEAD.
        size = int(length) or None if length.isdecimal() else None
        digest = self._remote.sha256
        if etag and size and (is_linked or (self._is_on_hub and self._is_at_home(str(response.url)))):
            # The hub's entity tags are checksums: SHA-256 of what it keeps elsewhere, else Git's of a blob.
            bare = etag.removeprefix("W/").strip('"')
            digest = bare if _CHECKSUM.fullmatch(bare) else None
        return Version(etag, size, digest)

    def _continued(self, version: Version) -> int:
        """Bytes of this version that are there already. A part of another version is thrown away."""
        there = _size(self._part)
        if not version.resumable or _noted(self._final) != asdict(version) or there > (version.size or 0):
            if there:
                logger.info("%s: %s are of another version, or may be", self._remote.name, amount(there))
            self._discard()
            self._note(version)
        return _size(self._part)

    def _append(self, client: "httpx2.Client", address: str, version: Version, start: int, part: BinaryIO) -> Version:
        """Download everything behind `start`. Returns the version that the server sent."""
        headers = self._headers(address)
        if start:
            headers["Range"] = f"bytes={start}-"
            # Where the hub keeps a file, that has another ETag; but it cannot change there.
            if version.validator and not (self._is_on_hub and version.digest):
                headers["If-Range"] = version.validator
        with client.stream("GET", address, headers=headers, follow_redirects=True) as response:
            version = self._answered(response, version, start)
            if response.status_code != 206:
                # All of it from the beginning.
                start = 0
                part.truncate(0)
                self._hash = None
            hashed = self._hashed(version)
            self._progress.begin(start, version.size)
            for chunk in response.iter_raw():
                part.write(chunk)
                hashed.update(chunk)
                self._progress.add(len(chunk))
                if version.size is not None and self._progress.done > version.size:
                    self._throw_away(f"it is longer than {version.size} bytes")
        return version

    def _answered(self, response: "httpx2.Response", version: Version, start: int) -> Version:
        """The version that an answer is of; raises unless it goes on at `start` or begins anew."""
        self._check_status(response)
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise DownloadFailed(f"{self._remote.name} comes with Content-Encoding {encoding}, not as it is")
        has_changed = not self._is_on_hub and response.headers.get("etag", version.etag) != version.etag
        if response.status_code == 206:
            span = response.headers.get("content-range", "")
            if has_changed or not re.fullmatch(rf"bytes {start}-\d+/({version.size}|\*)", span):
                self._discard()
                raise _Again("the server sent another part than was asked for")
        elif has_changed:
            version = self._version(response)
            self._note(version)
        return version

    def _finish(self, version: Version, digest: str) -> None:
        size = _size(self._part)
        if version.size is not None and size < version.size:
            raise _Again(f"the connection ended after {size} of {version.size} bytes")
        if version.digest and digest != version.digest:
            self._throw_away(f"its checksum is {digest}, not {version.digest}")
        os.replace(self._part, self._final)
        _notes(self._final).unlink(missing_ok=True)
        known = "" if version.digest else ", of no known checksum"
        logger.info("%s is complete, %s%s", self._remote.name, amount(size), known)

    def _throw_away(self, reason: str) -> NoReturn:
        self._discard()
        self._corrupt += 1
        raise _Again(f"what came is damaged, {reason}")

    def _check_status(self, response: "httpx2.Response") -> None:
        status = response.status_code
        if status in (200, 206):
            return
        if status == 416:
            self._discard()
            raise _Again("the server does not know the part that is missing")
        if status >= 500 or status in PASSING:
            after = response.headers.get("retry-after", "")
            raise _Again(f"{response.url.host} answers HTTP {status}", float(after) if after.isdecimal() else None)
        if self._is_on_hub and not self._is_at_home(str(response.url)):
            raise _Again(f"{response.url.host} answers HTTP {status}, as if the hub's link had expired")
        raise DownloadFailed(refusal(self._remote, status, response.headers.get("x-error-code")))

    def _check_disk(self, missing: int) -> None:
        free = shutil.disk_usage(self._final.parent).free
        if missing + MARGIN_BYTES > free:
            raise DownloadFailed(
                f"{self._remote.name} needs {amount(missing + MARGIN_BYTES)} more in {self._final.parent}, "
                f"{amount(free)} are free"
            )

    def _headers(self, url: str) -> dict[str, str]:
        """The hub's token is sent to the hub only. A compressed answer would have another size, so none is wanted."""
        headers = {"Accept-Encoding": "identity"}
        if self._token and self._is_at_home(url):
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _is_at_home(self, url: str) -> bool:
        return origin(url) == origin(self._remote.url)

    def _hashed(self, version: Version) -> "hashlib._Hash":
        """The hash of the part. If an earlier process left bytes, they are read once for it."""
        if self._hash is None:
            self._hash = version.hasher()
            if there := _size(self._part):
                share = there / version.size if version.size else None
                detail = f"{self._remote.name}: looking through the {amount(there)} that are there"
                self._report(ModelStatus("downloading", share, detail))
                with self._part.open("rb") as file:
                    while chunk := file.read(CHUNK_BYTES):
                        self._hash.update(chunk)
        return self._hash

    def _note(self, version: Version) -> None:
        _notes(self._final).write_text(json.dumps(asdict(version)), encoding="utf-8")

    def _discard(self) -> None:
        self._hash = None
        self._part.unlink(missing_ok=True)
        _notes(self._final).unlink(missing_ok=True)

    def _is_given_up(self, _: RetryCallState) -> bool:
        if self._reached:
            return self._corrupt >= CORRUPT or self._fruitless >= FRUITLESS
        return self._fruitless >= UNREACHED or time.monotonic() - self._begun >= UNREACHED_SECONDS

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.after if isinstance(error, _Again) else None
        backed_off: float = FIRST_PAUSE_SECONDS * 2 ** max(0, self._fruitless - 1) * random.uniform(0.5, 1.5)
        return min(max(backed_off, asked or 0.0), LONGEST_PAUSE_SECONDS)

    def _log(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        logger.warning("%s: %s; again in %.1f s", self._remote.name, error, state.upcoming_sleep)


@contextmanager
def _only_one(remote: RemoteFile, final: Path, report: Report) -> Iterator[None]:
    """Of all processes one at a time, and the next when that one ends, however it does; the others report on it."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{_part(final)}.lock")
    progress = Progress(f"{remote.name}, by another process", report)
    while True:
        try:
            lock.acquire(timeout=WAIT_SECONDS)
            break
        except Timeout:
            progress.look(_size(_part(final)), (_noted(final) or {}).get("size"))
    try:
        yield
    finally:
        lock.release()


def _part(final: Path) -> Path:
    return final.with_name(f"{final.name}.part")


def _notes(final: Path) -> Path:
    return final.with_name(f"{final.name}.part.json")


def _noted(final: Path) -> dict[str, Any] | None:
    """The version that a part is of, as it was written down."""
    try:
        noted = json.loads(_notes(final).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return noted if isinstance(noted, dict) else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _in_hubs_cache(remote: HubFile) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(remote.repo, remote.file, revision=remote.revision)
    except (OSError, ValueError):
        # A cache of someone else's, or a name that the hub cannot have.
        return None
    return Path(found) if isinstance(found, str) else None


def _token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def is_offline(setting: bool) -> bool:
    """Whether downloads are off, by the setting or by the hub's own variable."""
    return setting or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


if __name__ == "__main__":
    sys.exit("the command is: python -m runner.downloads")
