"""Every fault of the hub, of its CDN and of a plain server, and what comes of a download.

python -m tests.common.download_matrix prints the table; a test checks each row.
"""

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import downloads
from common.downloads import DownloadFailed, fetch
from common.remote_files import HubFile, RemoteFile, UrlFile
from tests.doubles.hub_server import COMPLEMENT, HubFault, HubServer

REPO = "owner/name"
LARGE, SMALL = bytes(range(250)) * 12_000, bytes(range(240)) * 25
# "CDN": faults strike there only.
FILES = {
    "hub, LFS": "model.gguf",
    "CDN": "model.gguf",
    "hub, small": "config.json",
    "URL": "plain.gguf",
    "URL, sha256": "plain.gguf",
}
# Large enough to be progress, and not.
CUT_AFTER, CUT_SHORT = 1_100_000, 1000
# In place of the module's own: a row takes at most some two seconds.
SHORT = {"CONNECT_SECONDS": 5.0, "FIRST_PAUSE_SECONDS": 0.005, "LONGEST_PAUSE_SECONDS": 0.01}
SILENCE_SECONDS = 0.2
BOUND_SECONDS = 10.0

LFS, CDN, SMALL_FILE, URL, CHECKED_URL = FILES
HUB, ALL = (LFS, SMALL_FILE), (LFS, SMALL_FILE, URL)
STAYS, ONCE = True, False
UNREACHED, BROKEN = "127.0.0.1 cannot be reached (", "the connection to 127.0.0.1 broke off ("
# Kinds of files, the fault, whether it stays, what is there at last, and what the message holds.
Expected = tuple[tuple[str, ...], HubFault, bool, str, str]
EXPECTED: list[Expected] = [
    (ALL, HubFault.NONE, STAYS, "whole", ""),
    # One answer is waited for long enough.
    (ALL, HubFault.MUTE, STAYS, "nothing", f"{UNREACHED}timed out)"),
    (ALL, HubFault.MUTE, ONCE, "nothing", f"{UNREACHED}timed out)"),
    (ALL, HubFault.RESET, STAYS, "nothing", UNREACHED),
    (ALL, HubFault.RESET, ONCE, "whole", ""),
    (HUB, HubFault.UNAUTHORIZED, STAYS, "nothing", "HF_TOKEN is wrong or may not read it"),
    (HUB, HubFault.GATED, STAYS, "nothing", "is gated"),
    (HUB, HubFault.NO_FILE, STAYS, "nothing", "has no file"),
    (HUB, HubFault.NO_REVISION, STAYS, "nothing", "has no revision"),
    (HUB, HubFault.NO_REPO, STAYS, "nothing", "no repository"),
    # What the hub answers for a repository that it does not have: it may be there for a token.
    ((URL,), HubFault.NO_REPO, STAYS, "nothing", "answers HTTP 401"),
    ((URL,), HubFault.UNAUTHORIZED, STAYS, "nothing", "answers HTTP 401"),
    ((URL,), HubFault.GATED, STAYS, "nothing", "answers HTTP 403"),
    ((URL,), HubFault.NO_FILE, STAYS, "nothing", "answers HTTP 404"),
    ((URL,), HubFault.NO_REVISION, STAYS, "nothing", "answers HTTP 404"),
    (ALL, HubFault.TOO_MANY, STAYS, "nothing", "127.0.0.1 answers HTTP 429"),
    (ALL, HubFault.TOO_MANY, ONCE, "whole", ""),
    (ALL, HubFault.SERVER_ERROR, STAYS, "nothing", "127.0.0.1 answers HTTP 500"),
    (ALL, HubFault.SERVER_ERROR, ONCE, "whole", ""),
    (ALL, HubFault.WRONG_SIZE, STAYS, "part", f"{BROKEN}peer closed connection"),
    (ALL, HubFault.WRONG_SIZE, ONCE, "whole", ""),
    ((*HUB, CHECKED_URL), HubFault.FLIPPED, STAYS, "nothing", "what came is damaged, its checksum is "),
    ((*HUB, CHECKED_URL), HubFault.FLIPPED, ONCE, "whole", ""),
    # Without a checksum nobody can tell.
    ((URL,), HubFault.FLIPPED, STAYS, "damaged", ""),
    ((URL,), HubFault.FLIPPED, ONCE, "damaged", ""),
    (ALL, HubFault.DRIP, STAYS, "whole", ""),
    (ALL, HubFault.HANG, STAYS, "nothing", f"{BROKEN}timed out)"),
    (ALL, HubFault.HANG, ONCE, "whole", ""),
    ((CDN,), HubFault.MUTE, STAYS, "nothing", BROKEN),
    ((CDN,), HubFault.MUTE, ONCE, "whole", ""),
    ((CDN,), HubFault.RESET, STAYS, "nothing", BROKEN),
    ((CDN,), HubFault.RESET, ONCE, "whole", ""),
]
# The same of connections that are cut, which stays so, or which another fault comes after, by the bytes before the cut.
CUTS: list[tuple[tuple[str, ...], int, HubFault, str, str]] = [
    ((*ALL, CHECKED_URL), CUT_SHORT, HubFault.CUT, "part", f"{BROKEN}peer closed connection"),
    ((LFS, URL, CHECKED_URL), CUT_AFTER, HubFault.CUT, "whole", ""),
    ((LFS, URL, CHECKED_URL), CUT_AFTER, HubFault.RANGE_IGNORED, "whole", ""),
    ((SMALL_FILE,), CUT_SHORT, HubFault.RANGE_IGNORED, "whole", ""),
    ((LFS, CHECKED_URL), CUT_AFTER, HubFault.CHANGED, "whole", ""),
    ((SMALL_FILE,), CUT_SHORT, HubFault.CHANGED, "whole", ""),
    ((URL,), CUT_AFTER, HubFault.CHANGED, "new version", ""),
]


@dataclass(frozen=True)
class Row:
    """`faults` come one after the other, and the last one always if `stays`; `state` and a piece of the message are
    what is expected."""

    kind: str
    faults: tuple[HubFault, ...]
    stays: bool
    state: str
    message: str
    cut_after: int = CUT_AFTER

    @property
    def name(self) -> str:
        names = [fault.value + f" at {self.cut_after}" * (fault is HubFault.CUT) for fault in self.faults]
        return ", then ".join(names) + ("" if self.stays else ", once")

    @property
    def constants(self) -> dict[str, float]:
        """What to set in the module for this row."""
        is_silent = self.faults[-1] in (HubFault.MUTE, HubFault.HANG)
        gives_up = self.faults[-1] is HubFault.MUTE and self.kind != "CDN"
        read, unreached = SILENCE_SECONDS if is_silent else 5.0, SILENCE_SECONDS / 2 if gives_up else 4.0
        return SHORT | {"READ_SECONDS": read, "UNREACHED_SECONDS": unreached}

    @property
    def size(self) -> int:
        return len(SMALL if self.kind == "hub, small" else LARGE)

    @property
    def most_bytes(self) -> float:
        """What the server may have to send at most."""
        fault = self.faults[-1]
        known = {HubFault.CUT: self.size, HubFault.RANGE_IGNORED: self.cut_after + self.size}
        # Two versions and a part of one; else at most twice all of it.
        return known.get(fault, (2.5 if fault is HubFault.CHANGED else 2) * self.size)


@dataclass(frozen=True)
class Outcome:
    """`state`: what is there at last; `bytes_sent` by the server."""

    attempts: int
    bytes_sent: int
    state: str
    message: str
    seconds: float

    def is_as_expected(self, row: Row) -> bool:
        return self.state == row.state and row.message in self.message and bool(row.message) == bool(self.message)


def rows() -> Iterator[Row]:
    for kinds, fault, stays, state, message in EXPECTED:
        for kind in kinds:
            yield Row(kind, (fault,), stays, state, message)
    for kinds, cut_after, fault, state, message in CUTS:
        stays = fault is HubFault.CUT
        for kind in kinds:
            faults = (fault,) if stays else (HubFault.CUT, fault)
            yield Row(kind, faults, stays, state, message, cut_after)


def serve() -> HubServer:
    hub = HubServer({REPO: {"model.gguf": LARGE, "config.json": SMALL}})
    hub.add(REPO, "plain.gguf", LARGE, lfs=False)
    hub.drip_bytes, hub.drip_seconds = 500_000, 0.01
    return hub


def download(hub: HubServer, row: Row, folder: Path) -> Outcome:
    """One row with a healthy hub at its end; `folder` is empty, and HF_ENDPOINT set."""
    hub.requests.clear()
    hub.only = "/cdn/" if row.kind == "CDN" else ""
    hub.cut_after = row.cut_after
    hub.upcoming.clear()
    hub.upcoming.extend(row.faults[:-1] if row.stays else row.faults)
    hub.fault = row.faults[-1] if row.stays else HubFault.NONE
    remote = remote_of(hub, row.kind)
    message = ""
    begun = time.monotonic()
    try:
        fetch(remote, folder, lambda _: None)
    except DownloadFailed as error:
        message = str(error)
    seconds = time.monotonic() - begun
    hub.fault = HubFault.NONE
    hub.upcoming.clear()
    attempts = sum(request.method == "HEAD" for request in hub.requests)
    return Outcome(attempts, hub.bytes_sent, state_of(folder / remote.place, row), message, seconds)


def remote_of(hub: HubServer, kind: str) -> RemoteFile:
    file = FILES[kind]
    if not kind.startswith("URL"):
        return HubFile(REPO, file)
    known = hub.add(REPO, file, LARGE, lfs=False)
    return UrlFile(f"{hub.url}/{REPO}/resolve/main/{file}", known.sha256 if "sha256" in kind else None)


def state_of(final: Path, row: Row) -> str:
    if not final.exists():
        return "part" if (part := final.with_name(f"{final.name}.part")).exists() and part.stat().st_size else "nothing"
    content, whole = final.read_bytes(), SMALL if row.kind == "hub, small" else LARGE
    return {whole: "whole", whole.translate(COMPLEMENT): "new version"}.get(content, "damaged")


def main() -> None:
    logging.disable()
    print("| file | fault | attempts | bytes sent | of the file | there at last | message |")
    print("| --- | --- | ---: | ---: | ---: | --- | --- |")
    with tempfile.TemporaryDirectory() as folder, serve() as hub:
        os.environ |= {"HF_ENDPOINT": hub.url, "HF_HOME": folder, "NO_PROXY": "127.0.0.1"}
        for number, row in enumerate(rows()):
            for name, value in row.constants.items():
                setattr(downloads, name, value)
            outcome = download(hub, row, Path(folder) / str(number))
            sign = "" if outcome.is_as_expected(row) else f" (expected {row.state}: {row.message})"
            cells = [row.kind, row.name, outcome.attempts, outcome.bytes_sent, f"{outcome.bytes_sent / row.size:.2f}"]
            print("|", *(f"{cell} |" for cell in (*cells, outcome.state + sign, outcome.message or "-")), flush=True)


if __name__ == "__main__":
    main()
