"""A hub on the loopback with one pace for all that it sends: python -m benchmarks.summarize.hub --pace 40e6 FILE ..

Each file is that of a repository `bench/STEM` of its own. It answers as huggingface.co does where it sends no one on to
another host: HEAD and GET of `/bench/STEM/resolve/REVISION/NAME`, with commit, checksum and ranges.
"""

import argparse
import hashlib
import re
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

OWNER = "bench"
CHUNK_BYTES = 1 << 18
_RANGE = re.compile(r"bytes=(\d+)-")


def address(file: Path) -> str:
    """What the settings call it."""
    return f"hf://{OWNER}/{file.stem}/{file.name}"


class Pace:
    """So many bytes a second, however many ask."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self, size: int) -> None:
        with self._lock:
            self._next = max(self._next, time.monotonic()) + size / self._rate
            pause = self._next - time.monotonic()
        time.sleep(max(0.0, pause))


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, files: Sequence[Path], bytes_per_second: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pace = Pace(bytes_per_second)
        self.files = {(file.stem, file.name): file for file in files}
        self.digests = {file: _digest(file) for file in files}


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        if (found := self._head()) is None:
            return
        file, start = found
        with file.open("rb") as source:
            source.seek(start)
            while chunk := source.read(CHUNK_BYTES):
                self.server.pace.wait(len(chunk))
                self.wfile.write(chunk)

    def _head(self) -> tuple[Path, int] | None:
        """The file that is asked for, and where the answer begins; None where there is none."""
        asked = re.fullmatch(rf"/{OWNER}/([^/]+)/resolve/[^/]+/([^/?]+)", self.path)
        file = self.server.files.get((asked[1], asked[2])) if asked else None
        if file is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        size, digest = file.stat().st_size, self.server.digests[file]
        part = _RANGE.fullmatch(self.headers.get("Range", ""))
        start = int(part[1]) if part else 0
        self.send_response(206 if part else 200)
        if part:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("X-Repo-Commit", digest[:40])
        self.send_header("ETag", f'"{digest}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        return file, start


def _digest(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, hashlib.sha256).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve files as a hub does, at a pace.")
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--pace", type=float, default=40e6, help="bytes a second")
    options = parser.parse_args()
    hub = Hub([file.resolve() for file in options.files], options.pace)
    print(f"http://127.0.0.1:{hub.server_port}", flush=True)
    hub.serve_forever()


if __name__ == "__main__":
    main()
