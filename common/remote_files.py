"""Files that can be downloaded, from a hub or an address; the version that a server tells; the meaning of refusals."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar
from urllib.parse import quote, urlsplit

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the hub, which tells the checksum."""

    repo: str
    file: str
    revision: str = "main"
    sha256: ClassVar[None] = None

    @property
    def name(self) -> str:
        return f"{self.repo}/{self.file}@{self.revision}"

    @property
    def url(self) -> str:
        endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
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
        """The address without its query and its user, which may hold a signature or a password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def place(self) -> PurePosixPath:
        parts = urlsplit(self.url)
        # Files of the same name at other addresses are other files, unless their content is known.
        identity = self.sha256 or hashlib.sha256(self.url.encode()).hexdigest()
        file = PurePosixPath(parts.path).name
        return PurePosixPath(f"{parts.hostname}-{identity[:12]}", "file" if file in ("", "..") else file)


RemoteFile = HubFile | UrlFile


@dataclass(frozen=True)
class Version:
    """A version of a file as a server tells it. `etag` changes with the content. The content must hash to `digest`."""

    etag: str | None
    size: int | None
    digest: str | None

    @property
    def validator(self) -> str | None:
        """The ETag where it stands for every byte."""
        return self.etag if self.etag and not self.etag.startswith("W/") else None

    @property
    def resumable(self) -> bool:
        """Whether parts that came at different times can be told to belong together."""
        return self.size is not None and bool(self.digest or self.validator)

    def hasher(self) -> "hashlib._Hash":
        """For `digest`: SHA-256, or Git's SHA-1 of a blob, which begins with the size."""
        if self.digest and len(self.digest) == 40:
            return hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False)
        return hashlib.sha256()


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port: where a token may be sent, and nowhere else."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def refusal(remote: RemoteFile, status: int, code: str | None) -> str:
    """What an operator can do about a status that no other attempt would change; `code` is the hub's."""
    if isinstance(remote, UrlFile):
        return f"{remote.name} answers HTTP {status}"
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
