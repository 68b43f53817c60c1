"""How far a download is: for health, for the 503 of a request that meets it, and for the log."""

import logging
import time

from common.lazy import ModelStatus, Report

logger = logging.getLogger(__name__)

TELL_SECONDS, LOG_SECONDS = 0.1, 10.0


class Progress:
    """Tells how far a download is: to health ten times a second, to the log every ten seconds."""

    def __init__(self, name: str, report: Report) -> None:
        self._name = name
        self._report = report
        self._start = self.done = 0
        self._size: int | None = None
        self._begun = self._told = self._logged = 0.0

    def begin(self, start: int, size: int | None) -> None:
        self._start, self.done, self._size = start, start, size
        self._begun = self._logged = time.monotonic()
        logger.info("%s: %s", self._name, self._text())
        self._tell()

    def add(self, received: int) -> None:
        self.done += received
        now = time.monotonic()
        if now - self._told >= TELL_SECONDS or self.done == self._size:
            self._tell()
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            logger.info("%s: %s", self._name, self._text())

    def look(self, done: int, size: int | None) -> None:
        """At what another process does."""
        if not self._begun or done < self.done or size != self._size:
            self.begin(done, size)
        self.add(done - self.done)

    def _tell(self) -> None:
        self._told = time.monotonic()
        share = self.done / self._size if self._size else None
        rate = self._rate()
        left = (self._size - self.done) / rate if self._size and rate else None
        self._report(ModelStatus("downloading", share, f"{self._name}: {self._text()}", left))

    def _text(self) -> str:
        whole = f" of {amount(self._size)}" if self._size else ""
        rate = f", {amount(self._rate())}/s" if self.done > self._start else ""
        return f"{amount(self.done)}{whole}{rate}"

    def _rate(self) -> float:
        return (self.done - self._start) / max(time.monotonic() - self._begun, 0.001)


def amount(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
