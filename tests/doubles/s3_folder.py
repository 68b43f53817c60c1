"""A loopback double of S3 that takes objects, into a folder: `PUT /bucket/key`, in the style of paths."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

POLL_SECONDS = 0.05


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    folder: Path
    refuses = False


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.server.refuses:
            place = self.server.folder / self.path.partition("?")[0].lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(body)
            (place.parent / f"{place.name}.type").write_text(self.headers["Content-Type"], encoding="utf-8")
        self.send_response(403 if self.server.refuses else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class S3Folder:
    """`variables` make boto3 use it. With `refuse` it answers 403 from then on."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self.variables = {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def refuse(self, refuses: bool = True) -> None:
        self._server.refuses = refuses


@contextmanager
def s3_folder(folder: Path) -> Iterator[S3Folder]:
    with _Server(("127.0.0.1", 0), _Requests) as server:
        server.folder = folder
        thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), name="s3")
        thread.start()
        try:
            yield S3Folder(server)
        finally:
            server.shutdown()
            thread.join()
