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

ABSENT = {HubFault.NO_FILE: "has no file", HubFault.NO_REVISION: "has no revision", HubFault.NO_REPO: "no repository"}
REFUSED = ABSENT | {HubFault.UNAUTHORIZED: "HF_TOKEN is wrong or may not read it", HubFault.GATED: "is gated"}
# Of what is there for a token only, the hub says so.
STATUS = {HubFault.UNAUTHORIZED: 401, HubFault.GATED: 403, HubFault.NO_REPO: 401}
BUSY = {HubFault.TOO_MANY: "HTTP 429", HubFault.SERVER_ERROR: "HTTP 500"}
SILENT = (HubFault.MUTE, HubFault.RESET)
PASSING = {*BUSY, *SILENT, HubFault.HANG, HubFault.WRONG_SIZE, HubFault.FLIPPED}
OF_RANGE = {HubFault.RANGE_IGNORED, HubFault.CHANGED}


@dataclass(frozen=True)
class Row:
    """`faults` come one after the other, and the last one always if `stays`."""

    kind: str
    faults: tuple[HubFault, ...]
    stays: bool
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

    @property
    def expected(self) -> tuple[str, str]:
        """The final state, and what the message holds."""
        fault = self.faults[-1]
        if fault is HubFault.FLIPPED and self.kind == "URL":
            # Without a checksum nobody can tell.
            return "damaged", ""
        if fault is HubFault.CHANGED and self.kind == "URL":
            return "new version", ""
        if fault is HubFault.MUTE and self.kind != "CDN":
            # One answer is waited for long enough.
            return "nothing", "127.0.0.1 cannot be reached (timed out)"
        if not self.stays or fault in (HubFault.NONE, HubFault.DRIP):
            return "whole", ""
        if fault in REFUSED:
            return "nothing", f"answers HTTP {STATUS.get(fault, 404)}" if self.kind == "URL" else REFUSED[fault]
        return self._given_up(fault)

    def _given_up(self, fault: HubFault) -> tuple[str, str]:
        if fault in SILENT:
            what = "the connection to 127.0.0.1 broke off" if self.kind == "CDN" else "127.0.0.1 cannot be reached"
            return "nothing", f"{what} ("
        if fault in BUSY:
            return "nothing", f"127.0.0.1 answers {BUSY[fault]}"
        if fault is HubFault.FLIPPED:
            return "nothing", "what came is damaged, its checksum is "
        if fault is HubFault.HANG:
            return "nothing", "the connection to 127.0.0.1 broke off (timed out)"
        if fault is HubFault.CUT and self.cut_after >= downloads.CHUNK_BYTES:
            return "whole", ""
        return "part", "the connection to 127.0.0.1 broke off (peer closed connection"


@dataclass(frozen=True)
class Outcome:
    """`state`: what is there at last; `bytes_sent` by the server."""

    attempts: int
    bytes_sent: int
    state: str
    message: str
    seconds: float

    def is_as_expected(self, row: Row) -> bool:
        state, fragment = row.expected
        return self.state == state and fragment in self.message and bool(fragment) == bool(self.message)


def rows() -> Iterator[Row]:
    for kind in FILES:
        is_small = kind == "hub, small"
        for fault in SILENT if kind == "CDN" else HubFault:
            if fault in OF_RANGE:
                yield Row(kind, (HubFault.CUT, fault), False, CUT_SHORT if is_small else CUT_AFTER)
            elif fault is HubFault.CUT:
                yield Row(kind, (fault,), True, CUT_SHORT)
                if not is_small:
                    yield Row(kind, (fault,), True, CUT_AFTER)
            elif kind != "URL, sha256" or fault is HubFault.FLIPPED:
                yield Row(kind, (fault,), True)
                if fault in PASSING:
                    yield Row(kind, (fault,), False)


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
            sign = "" if outcome.is_as_expected(row) else f" (expected {row.expected})"
            cells = [row.kind, row.name, outcome.attempts, outcome.bytes_sent, f"{outcome.bytes_sent / row.size:.2f}"]
            print("|", *(f"{cell} |" for cell in (*cells, outcome.state + sign, outcome.message or "-")), flush=True)


if __name__ == "__main__":
    main()
