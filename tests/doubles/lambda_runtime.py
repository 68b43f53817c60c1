"""A loopback double of AWS Lambda's Runtime API, version 2018-06-01, and of the box in which Lambda runs a function.

A runtime such as awslambdaric asks it for the `next` invocation and posts a `response` or an `error`. In a test:

    with LambdaRuntime() as runtime, start("functions.health.handler.handler", runtime, tmp_path) as function:
        runtime.wait_until_ready(), function.init_seconds, function.log_text()
        result = function.invoke(event, deadline_seconds=5)
        result.status, result.json, result.seconds

From a shell, with an event as a front door sends it, and settings as variables:

    FACTORY_PROFILE=embedded python -m tests.doubles.lambda_runtime functions.health.handler.handler event.json
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent.parent
API = "/2018-06-01/runtime"
POSTED = re.compile(rf"{API}/(?:(?P<init>init)/error|invocation/(?P<id>[0-9a-f-]+)/(?P<outcome>response|error))")
# 6 MB, and the 100 bytes more that Lambda allows.
MAX_PAYLOAD_BYTES = 6 * 1024 * 1024 + 100
POLL_SECONDS = 0.05
# What Lambda gives a function from its start to its first `next`; no invocation is charged with it.
INIT_SECONDS = 10.0
ARN = "arn:aws:lambda:eu-central-1:123456789012:function:factory"
ACCEPTED = 202, b'{"status":"OK"}'
Status = Literal["response", "error", "timeout"]


@dataclass(frozen=True)
class Result:
    """What became of an invocation, and the seconds since the runtime took it.

    `error` is what the runtime reported, or what Lambda says when it ended or its answer was too large. `timeout`:
    there was nothing by the deadline, at which Lambda kills the function.
    """

    status: Status
    payload: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


@dataclass
class _Invocation:
    payload: bytes
    seconds: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    taken_at: float | None = None
    result: Result | None = None

    def finish(self, status: Status, payload: bytes) -> None:
        """What is known first holds."""
        now = time.monotonic()
        self.result = self.result or Result(status, payload, now - (self.taken_at or now))


class LambdaRuntime:
    """The double, on threads of its own; a context manager. It has one runtime and one invocation at a time.

    `address` is for AWS_LAMBDA_RUNTIME_API. `first_next_at` (`time.monotonic`) is None until the runtime asks for its
    first invocation, `init_error` until it reports that it could not start.
    """

    def __init__(self) -> None:
        self.first_next_at: float | None = None
        self.init_error: dict[str, Any] | None = None
        self._changed = threading.Condition()
        self._upcoming: _Invocation | None = None
        self._current: _Invocation | None = None
        self._gone = ""
        self._server = _Server(("127.0.0.1", 0), _Requests)
        self._server.runtime = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,), name="lambda-runtime")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "LambdaRuntime":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gone("the double was stopped")
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_until_ready(self) -> bool:
        """Whether the runtime asks for an invocation before Lambda gives up; false at once when it never will."""
        with self._changed:
            self._changed.wait_for(lambda: self.first_next_at or self.init_error or self._gone, INIT_SECONDS)
            return self.first_next_at is not None

    def invoke(self, event: object, deadline_seconds: float = 30.0) -> Result:
        """Hand `event` to the runtime, once it has started, and wait until the deadline for what it makes of it.

        Raises RuntimeError when the runtime does not ask for it.
        """
        invocation = _Invocation(json.dumps(event).encode(), deadline_seconds)
        with self._changed:
            self._upcoming = invocation
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: invocation.taken_at or self._gone, INIT_SECONDS):
                raise RuntimeError("the runtime asks for no invocation")
            self._changed.wait_for(lambda: invocation.result or self._gone, deadline_seconds)
            if self._gone:
                invocation.finish("error", _error("Runtime.ExitError", self._gone))
            invocation.finish("timeout", _error("Sandbox.Timedout", f"Task timed out after {deadline_seconds} seconds"))
        assert invocation.result
        return invocation.result

    def gone(self, reason: str) -> None:
        """There is no runtime any more: whoever waits for it is told so."""
        with self._changed:
            self._gone = self._gone or reason
            self._changed.notify_all()

    def take(self) -> _Invocation | None:
        """What `next` answers, once there is something; None when the double is stopped."""
        with self._changed:
            self.first_next_at = self.first_next_at or time.monotonic()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._upcoming or self._gone)
            self._current, self._upcoming = self._upcoming, None
            if self._current:
                self._current.taken_at = time.monotonic()
                self._changed.notify_all()
            return self._current

    def post(self, path: str, payload: bytes) -> tuple[int, bytes]:
        """Status and body for what the runtime posts."""
        if not (match := POSTED.fullmatch(path)):
            return 404, _error("NotFound", path)
        with self._changed:
            self._changed.notify_all()
            if match["init"]:
                self.init_error = json.loads(payload)
                return ACCEPTED
            invocation = self._current
            if invocation is None or invocation.id != match["id"] or invocation.result:
                return 400, _error("InvalidRequestID", "Invalid request ID")
            if match["outcome"] == "response" and len(payload) > MAX_PAYLOAD_BYTES:
                told = f"exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes)."
                size = f"Response payload size ({len(payload)} bytes) {told}"
                invocation.finish("error", _error("Function.ResponseSizeTooLarge", size))
                return 413, _error("RequestEntityTooLarge", told.capitalize())
            invocation.finish("response" if match["outcome"] == "response" else "error", payload)
            return ACCEPTED


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    runtime: LambdaRuntime

    def handle_error(self, *_: object) -> None:
        """A runtime that is killed resets its connections."""


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        invocation = self.server.runtime.take() if self.path == f"{API}/invocation/next" else None
        if invocation is None:
            self.close_connection = True
            return
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.id,
            "Lambda-Runtime-Deadline-Ms": str(round((time.time() + invocation.seconds) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": ARN,
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
        }
        self._answer(200, invocation.payload, headers)

    def do_POST(self) -> None:
        payload = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(*self.server.runtime.post(self.path, payload))

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


@dataclass
class Function:
    """A handler in awslambdaric, as a process of its own; `log` is what it wrote to its standard streams."""

    runtime: LambdaRuntime
    process: subprocess.Popen[bytes]
    log: Path
    started_at: float

    @property
    def init_seconds(self) -> float:
        """From the start of the process to its first `next`."""
        assert self.runtime.first_next_at, f"the function did not start:\n{self.log_text()}"
        return self.runtime.first_next_at - self.started_at

    def invoke(self, event: object, deadline_seconds: float = 30.0) -> Result:
        """As LambdaRuntime.invoke; a function that misses its deadline is killed."""
        result = self.runtime.invoke(event, deadline_seconds)
        if result.status == "timeout":
            self.process.kill()
        return result

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8")


@contextmanager
def start(handler: str, runtime: LambdaRuntime, folder: Path, **variables: str) -> Iterator[Function]:
    """Run `handler` (MODULE.NAME) in awslambdaric, with the variables that Lambda sets and `variables`, and stop it.

    Its log goes to `folder`, which is also its TMPDIR: the one place where a function may write. Nothing else of this
    process's environment reaches it.
    """
    environment = {
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3008",
        "AWS_LAMBDA_FUNCTION_NAME": "factory",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        # What LoggingConfig becomes.
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_LOG_LEVEL": "INFO",
        "AWS_LAMBDA_RUNTIME_API": runtime.address,
        "AWS_REGION": "eu-central-1",
        # There is no home on Lambda; in /proc nobody can make one, not even root.
        "HOME": "/proc/nowhere",
        "LAMBDA_TASK_ROOT": str(ROOT),
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(folder),
        "TZ": ":UTC",
        "_HANDLER": handler,
    }
    log = folder / "lambda.log"
    command = [sys.executable, "-m", "awslambdaric", handler]
    started_at = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment | variables, stdout=file, stderr=file)

    watcher = threading.Thread(target=lambda: runtime.gone(f"Runtime exited with status {process.wait()}"))
    watcher.start()
    try:
        yield Function(runtime, process, log, started_at)
    finally:
        # Lambda does not ask first either.
        process.kill()
        watcher.join()


def main() -> None:
    parser = argparse.ArgumentParser(description="Invoke a Lambda handler once, offline.")
    parser.add_argument("handler", help="MODULE.NAME")
    parser.add_argument("event", type=Path, help="a JSON file")
    options = parser.parse_args()
    event = json.loads(options.event.read_text(encoding="utf-8"))
    settings = {name: value for name, value in os.environ.items() if name.startswith("FACTORY_")}
    with tempfile.TemporaryDirectory() as name, LambdaRuntime() as runtime:
        with start(options.handler, runtime, Path(name), **settings) as function:
            result = function.invoke(event)
        print(function.log_text(), f"{result.status} after {result.seconds:.3f} s", sep="", file=sys.stderr)
    print(result.payload.decode())


if __name__ == "__main__":
    main()
