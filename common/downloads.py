"""Model files from a hub or a URL: resumed where they broke off, verified, fetched once however many processes ask.

    python -m common.downloads     fetch what the profile needs, ahead of the first start

A file gets its final name only when its size and checksum are right. Until then it is `NAME.part`, beside `NAME.json`
that says which version of the file the part belongs to. The hub's own library does not resume what an earlier process
began, looks at sizes only, and takes 23 s to tell that the hub cannot be reached (huggingface_hub 1.18 and later).
"""

import hashlib
import json
import logging
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from common.errors import ModelLoadFailed
from common.lazy import ModelStatus, Report

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger(__name__)

HUB = "https://huggingface.co"
CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
CHUNK_BYTES = 1 << 20
# Attempts in a row that bring nothing; and with a hub that has never answered.
FRUITLESS, UNREACHED = 6, 3
# Downloads whose checksum was wrong: once may be the network, twice is the file.
CORRUPT = 2
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
# Left free on the disk beside the file.
MARGIN_BYTES = 64 << 20
LOG_SECONDS = 10.0
REDIRECTS = {301, 302, 303, 307, 308}
PASSING = {408, 425, 429}


class DownloadFailed(ModelLoadFailed):
    """Nothing that another attempt would mend; the message says what an operator can do."""


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the hub, which tells the checksum."""

    repo: str
    file: str
    revision: str = "main"
    sha256: None = None

    @property
    def name(self) -> str:
        return f"{self.repo}/{self.file}@{self.revision}"

    @property
    def url(self) -> str:
        endpoint = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
        return f"{endpoint}/{self.repo}/resolve/{quote(self.revision, safe='')}/{quote(self.file)}"

    @property
    def place(self) -> PurePosixPath:
        return PurePosixPath(self.repo.replace("/", "--"), self.revision.replace("/", "--"), self.file)


@dataclass(frozen=True)
class UrlFile:
    """A file at an address; `sha256` in hexadecimal, if it is known."""

    url: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        return self.url

    @property
    def place(self) -> PurePosixPath:
        parts = urlsplit(self.url)
        # Files of the same name at other addresses are other files.
        folder = f"{parts.hostname}-{hashlib.sha256(self.url.encode()).hexdigest()[:12]}"
        return PurePosixPath(folder, PurePosixPath(parts.path).name or "file")


RemoteFile = HubFile | UrlFile


@dataclass(frozen=True)
class Version:
    """What a server says of a file: `etag` changes with its content, `digest` is what the content must hash to."""

    etag: str | None
    size: int | None
    digest: str | None


def fetch(remote: RemoteFile, folder: Path, report: Report, *, offline: bool = False) -> Path:
    """The file on this machine: in `folder`, in the hub's cache, or downloaded now. Raises DownloadFailed."""
    final = folder / remote.place
    if final.is_file():
        return final
    if isinstance(remote, HubFile) and (cached := _in_hubs_cache(remote)) is not None:
        return cached
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
        raise DownloadFailed(f"{remote.name} cannot be kept in {folder}: {error.strerror or error}") from error
    return final


class _Again(Exception):
    """What another attempt may mend; `after`: the seconds that the server asks for."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class _Download:
    """One file until it is there or given up."""

    def __init__(self, remote: RemoteFile, final: Path, report: Report) -> None:
        self._remote = remote
        self._is_on_hub = isinstance(remote, HubFile)
        self._final = final
        self._part = final.with_name(f"{final.name}.part")
        self._notes = final.with_name(f"{final.name}.json")
        self._progress = _Progress(remote.name, report)
        self._reached = False
        self._fruitless = 0
        self._corrupt = 0

    def run(self) -> None:
        import httpx2

        retrying = Retrying(
            stop=self._is_given_up, wait=self._pause, retry=retry_if_exception_type(_Again), reraise=True
        )
        timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        try:
            with httpx2.Client(timeout=timeout) as client:
                retrying(self._attempt, client)
        except _Again as error:
            raise DownloadFailed(f"{self._remote.name} could not be downloaded: {error}") from error

    def _attempt(self, client: "httpx2.Client") -> None:
        import httpx2

        begun = self._size_of_part()
        self._fruitless += 1
        try:
            self._receive(client)
        except httpx2.TransportError as error:
            what = "the connection broke off" if self._reached else "the server cannot be reached"
            raise _Again(f"{what} ({error or type(error).__name__})") from error
        finally:
            # A little at a time is no reason to give up.
            if self._size_of_part() >= begun + CHUNK_BYTES:
                self._fruitless = 0

    def _receive(self, client: "httpx2.Client") -> None:
        version, address = self._ask(client)
        start = self._continued(version)
        hashed = _Hash(version)
        with self._part.open("ab") as part:
            hashed.add_file(self._part)
            if version.size is None or start < version.size:
                self._check_disk((version.size or 0) - start)
                self._progress.begin(start, version.size)
                self._append(client, address, version, start, part, hashed)
            part.flush()
            os.fsync(part.fileno())
        self._finish(version, hashed)

    def _ask(self, client: "httpx2.Client") -> tuple[Version, str]:
        """The file's version, and the address of its content: a hub sends on to where large files are kept."""
        url = self._remote.url
        for _ in range(5):
            response = client.head(url, headers=self._headers(url))
            self._reached = True
            location = response.headers.get("location")
            if response.status_code not in REDIRECTS or not location:
                break
            if self._is_on_hub and urlsplit(location).netloc:
                # Elsewhere; the hub has told what there is to know.
                return self._version(response.headers), location
            url = urljoin(url, location)
        if response.status_code in (405, 501):
            # No HEAD here: the answer to GET will have to do, and nothing is resumed.
            return Version(None, None, self._remote.sha256), url
        self._check_status(response)
        return self._version(response.headers), url

    def _version(self, headers: Mapping[str, str]) -> Version:
        etag = headers.get("x-linked-etag") or headers.get("etag")
        size = headers.get("x-linked-size") or headers.get("content-length")
        bare = etag.removeprefix("W/").strip('"') if etag else ""
        # The hub's entity tags are checksums: SHA-256 of what it keeps elsewhere, else Git's of a blob.
        digest = bare if self._is_on_hub and len(bare) in (40, 64) else self._remote.sha256
        return Version(etag, int(size) if size and size.isdecimal() else None, digest)

    def _continued(self, version: Version) -> int:
        """How much of this version is there already; what is there of another one is thrown away."""
        if version.etag is None or self._noted() != asdict(version) or self._size_of_part() > (version.size or 0):
            self._discard()
        self._notes.write_text(json.dumps(asdict(version)), encoding="utf-8")
        return self._size_of_part()

    def _append(
        self, client: "httpx2.Client", address: str, version: Version, start: int, part: Any, hashed: "_Hash"
    ) -> None:
        headers = self._headers(address) | {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            # Only a strong one of this very address is a validator for a part.
            if not self._is_on_hub and version.etag and not version.etag.startswith("W/"):
                headers["If-Range"] = version.etag
        with client.stream("GET", address, headers=headers, follow_redirects=not self._is_on_hub) as response:
            self._check_status(response)
            if start and response.status_code != 206:
                # All of it from the beginning.
                part.truncate(0)
                hashed.restart()
            elif start and not response.headers.get("content-range", "").startswith(f"bytes {start}-"):
                self._discard()
                raise _Again("the server sent another part than was asked for")
            for chunk in response.iter_raw(CHUNK_BYTES):
                part.write(chunk)
                hashed.add(chunk)
                self._progress.add(len(chunk))

    def _finish(self, version: Version, hashed: "_Hash") -> None:
        size = self._size_of_part()
        if version.size is not None and size < version.size:
            raise _Again(f"the connection ended after {size} of {version.size} bytes")
        expected = self._remote.sha256 or version.digest
        if (version.size is not None and size > version.size) or not hashed.is_right(expected):
            self._discard()
            self._corrupt += 1
            reason = f"its checksum is not {expected}" if expected else f"it is longer than {version.size} bytes"
            raise _Again(f"what came is damaged, {reason}")
        os.replace(self._part, self._final)
        self._notes.unlink(missing_ok=True)
        logger.info(
            "%s is complete, %s%s", self._remote.name, _amount(size), "" if expected else ", of no known checksum"
        )

    def _check_status(self, response: "httpx2.Response") -> None:
        status = response.status_code
        if status < 400:
            return
        if status == 416:
            self._discard()
            raise _Again("the server does not know the part that is missing")
        if status >= 500 or status in PASSING:
            after = response.headers.get("retry-after", "")
            raise _Again(f"the server answers HTTP {status}", float(after) if after.isdecimal() else None)
        if self._is_on_hub and "x-error-code" not in response.headers and status == 403:
            raise _Again("the address has expired")
        raise DownloadFailed(_refusal(self._remote, status, response.headers.get("x-error-code")))

    def _check_disk(self, missing: int) -> None:
        free = shutil.disk_usage(self._final.parent).free
        if missing + MARGIN_BYTES > free:
            raise DownloadFailed(
                f"{self._remote.name} needs {_amount(missing + MARGIN_BYTES)} more in {self._final.parent}, "
                f"{_amount(free)} are free"
            )

    def _headers(self, url: str) -> dict[str, str]:
        """The hub's token goes to the hub only."""
        token = _token() if self._is_on_hub else None
        same = urlsplit(url).netloc == urlsplit(self._remote.url).netloc
        return {"Authorization": f"Bearer {token}"} if token and same else {}

    def _size_of_part(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _noted(self) -> Any:
        try:
            return json.loads(self._notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def _is_given_up(self, _: RetryCallState) -> bool:
        return self._corrupt >= CORRUPT or self._fruitless >= (FRUITLESS if self._reached else UNREACHED)

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.after if isinstance(error, _Again) else None
        backed_off: float = FIRST_PAUSE_SECONDS * 2 ** max(0, self._fruitless - 1) * random.uniform(0.5, 1.5)
        seconds = min(max(backed_off, asked or 0.0), LONGEST_PAUSE_SECONDS)
        logger.warning("%s: %s; again in %.1f s", self._remote.name, error, seconds)
        return seconds


class _Hash:
    """The checksum of a file while it comes: SHA-256, or Git's of a blob, which begins with the size."""

    def __init__(self, version: Version) -> None:
        self._size = version.size if version.digest and len(version.digest) == 40 else None
        self.restart()

    def restart(self) -> None:
        self._hash = hashlib.sha256() if self._size is None else hashlib.sha1(f"blob {self._size}\0".encode())

    def add(self, chunk: bytes) -> None:
        self._hash.update(chunk)

    def add_file(self, path: Path) -> None:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                self.add(chunk)

    def is_right(self, expected: str | None) -> bool:
        return expected is None or self._hash.hexdigest() == expected.lower()


class _Progress:
    """Tells how far a download is: to health with every megabyte, to the log every ten seconds."""

    def __init__(self, name: str, report: Report) -> None:
        self._name = name
        self._report = report

    def begin(self, start: int, size: int | None) -> None:
        self._start, self._done, self._size = start, start, size
        self._begun = self._logged = time.monotonic()
        self._tell()

    def add(self, received: int) -> None:
        self._done += received
        self._tell()
        if time.monotonic() - self._logged >= LOG_SECONDS:
            self._logged = time.monotonic()
            logger.info("%s: %s", self._name, self._text())

    def _tell(self) -> None:
        share = self._done / self._size if self._size else None
        rate = self._rate()
        left = (self._size - self._done) / rate if self._size and rate else None
        self._report(ModelStatus("downloading", share, f"{self._name}: {self._text()}", left))

    def _text(self) -> str:
        whole = f" of {_amount(self._size)}" if self._size else ""
        return f"{_amount(self._done)}{whole}, {_amount(self._rate())}/s"

    def _rate(self) -> float:
        return (self._done - self._start) / max(time.monotonic() - self._begun, 0.001)


@contextmanager
def _only_one(remote: RemoteFile, final: Path, report: Report) -> Iterator[None]:
    """Of all processes one at a time; the others report how far it is."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{final}.lock")
    while True:
        try:
            lock.acquire(timeout=0.5)
            break
        except Timeout:
            with suppress(OSError):
                there = final.with_name(f"{final.name}.part").stat().st_size
                report(ModelStatus("downloading", None, f"{remote.name}: {_amount(there)}, by another process"))
    try:
        yield
    finally:
        lock.release()


def _in_hubs_cache(remote: HubFile) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(remote.repo, remote.file, revision=remote.revision)
    return Path(found) if isinstance(found, str) else None


def _token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _refusal(remote: RemoteFile, status: int, code: str | None) -> str:
    if isinstance(remote, UrlFile):
        return f"{remote.url} answers HTTP {status}"
    if code == "GatedRepo":
        return f"{remote.repo} is gated: accept its licence on the hub, and set HF_TOKEN to a token of that account"
    if code == "RevisionNotFound":
        return f"{remote.repo} has no revision {remote.revision}"
    if code == "EntryNotFound":
        return f"{remote.repo} has no file {remote.file} at revision {remote.revision}"
    if code == "RepoNotFound" or status == 404:
        return f"the hub has no repository {remote.repo}, or it is private and HF_TOKEN may not read it"
    if status in (401, 403):
        return f"the hub refuses {remote.repo} with HTTP {status}: HF_TOKEN is wrong or may not read it"
    return f"the hub answers HTTP {status} for {remote.name}"


def _amount(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def is_offline(setting: bool) -> bool:
    """Whether downloads are off, by the setting or by the hub's own variable."""
    return setting or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def main() -> None:
    """Fetch what the profile needs; a bar on a terminal, else lines of the log."""
    from tqdm import tqdm

    from common import logs, models
    from common.settings import get_settings

    settings = get_settings()
    logs.configure(settings.log_style, settings.log_level)
    try:
        files = [models.llama(settings.summarize).file, *models.gliner(settings.extract).files]
        for file in files:
            with tqdm(total=100, unit="%", disable=not sys.stderr.isatty(), leave=False) as bar:

                def show(status: ModelStatus, bar: "tqdm[Any]" = bar) -> None:
                    bar.set_description_str(status.detail, refresh=False)
                    bar.update(round(100 * (status.progress or 0)) - bar.n)

                path = models.local(file, settings, show)
            print(path)
    except ModelLoadFailed as error:
        sys.exit(f"downloads: {error}")


if __name__ == "__main__":
    main()
