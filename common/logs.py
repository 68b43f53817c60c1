"""One log line per request: id, method, route, status, milliseconds. Article text is never logged.

A request's timings are collected in its `Trace`; they become the `Server-Timing` header and the log line.
"""

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

from common.errors import FactoryError

access = logging.getLogger("factory.access")
logger = logging.getLogger(__name__)

# The parts of a long recording each wait in a queue.
MOST_SPANS = 64
# The name of a phase, when it began and when it ended.
Span = tuple[str, float, float]


@dataclass
class Trace:
    """One request so far. `phases` has milliseconds by the name of a phase. `left`: the client has gone.

    `notes` are further fields of the log line. `problem` is the last part of the type of the error that it ended with.
    `spans` has when each phase began and ended (`time.monotonic`); of many the first ones.
    """

    request_id: str
    caller: str = ""
    phases: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    left: bool = False
    problem: str = ""

    def add(self, phase: str, milliseconds: float, ended: float | None = None) -> None:
        """`ended` is a time of `time.monotonic`; by default the phase ends now."""
        self.phases[phase] = self.phases.get(phase, 0.0) + milliseconds
        if len(self.spans) < MOST_SPANS:
            ended = time.monotonic() if ended is None else ended
            self.spans.append((phase, ended - milliseconds / 1000, ended))

    def add_in_turn(self, phases: Mapping[str, float]) -> None:
        """Milliseconds of phases that followed each other in this order; the last one ends now."""
        ended = time.monotonic() - sum(phases.values()) / 1000
        for phase, milliseconds in phases.items():
            ended += milliseconds / 1000
            self.add(phase, milliseconds, ended)

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.add(phase, (time.monotonic() - begun) * 1000)

    def server_timing(self) -> str:
        """The value of a Server-Timing header (W3C Server Timing): `queue;dur=0.1, model;dur=81.5`."""
        return ", ".join(f"{name};dur={milliseconds:.1f}" for name, milliseconds in self.phases.items())


_current: ContextVar[Trace] = ContextVar("trace")


def trace() -> Trace:
    """The trace of the request that this task serves; outside a request one that goes nowhere."""
    return _current.get(Trace("-"))


def begin_trace(request_id: str, caller: str) -> Trace:
    started = Trace(request_id, caller)
    _current.set(started)
    return started


def log_request(finished: Trace, *, method: str, route: str, status: int, total_ms: float) -> None:
    fields = {
        "id": finished.request_id,
        "caller": finished.caller,
        "method": method,
        "route": route,
        "status": status,
        "total_ms": round(total_ms, 1),
        **finished.notes,
        **{f"{name}_ms": round(milliseconds, 1) for name, milliseconds in finished.phases.items()},
    }
    text = " ".join(f"{name}={value}" for name, value in fields.items())
    access.info(text, extra={"fields": fields})


def unexpected() -> FactoryError:
    """What a caller sees in place of the exception that is being handled. The log gets all of it."""
    logger.exception("request %s failed", trace().request_id)
    return FactoryError("the service failed to answer; the log has the reason under this request id")


class JsonFormatter(logging.Formatter):
    """One JSON object a line, for whatever collects the logs."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        line |= getattr(record, "fields", None) or {"message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(style: Literal["auto", "text", "json"], level: str) -> None:
    """Send the log to standard error: text on a terminal, JSON lines elsewhere, unless `style` says otherwise."""
    handler = logging.StreamHandler(sys.stderr)
    if style == "json" or (style == "auto" and not sys.stderr.isatty()):
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
