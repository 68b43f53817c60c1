"""A watchdog over the event loop: how late it is, and what held it up.

Every request passes the loop, so whatever takes long there takes it from everybody. A thread asks the loop again and
again to answer, and measures how long that takes.
"""

import asyncio
import faulthandler
import logging
import sys
import threading
import time
import traceback
from collections import deque

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 0.1
# The largest lag of this time is what health shows.
SHOWN_SECONDS = 60.0
# From here on it is a line in the log, with the place in the code that the loop is at; at most one a while.
STALL_SECONDS = 0.5
BETWEEN_LINES_SECONDS = 10.0
MOST_FRAMES = 12
HANG_SECONDS = 10.0


class LoopLag:
    """Measures one loop at a time. Its thread ends with the process, or when the loop is closed."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()
        self._told_at = -BETWEEN_LINES_SECONDS
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to measure `loop`, which runs on this thread."""
        self._loop = loop
        self._samples.clear()
        thread = threading.Thread(
            target=self._measure, args=(loop, threading.get_ident()), name="loop-lag", daemon=True
        )
        thread.start()

    @property
    def milliseconds(self) -> float | None:
        """The largest lag of the last minute; None where nothing is measured, as on AWS Lambda."""
        samples = list(self._samples)
        return round(max(lag for _, lag in samples) * 1000, 1) if samples else None

    def _measure(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        while loop is self._loop:
            # C code that does not let go of the interpreter stops this thread as well: then another, which needs no
            # interpreter, writes to standard error where all are.
            faulthandler.dump_traceback_later(HANG_SECONDS, file=sys.__stderr__ or 2)
            answered = threading.Event()
            asked_at = time.monotonic()
            try:
                loop.call_soon_threadsafe(answered.set)
            except RuntimeError:
                faulthandler.cancel_dump_traceback_later()
                return
            if not answered.wait(STALL_SECONDS):
                self._tell(thread)
                while not answered.wait(STALL_SECONDS):
                    self._note(time.monotonic() - asked_at)
                    faulthandler.dump_traceback_later(HANG_SECONDS, file=sys.__stderr__ or 2)
                    if loop.is_closed():
                        faulthandler.cancel_dump_traceback_later()
                        return
            self._note(time.monotonic() - asked_at)
            time.sleep(INTERVAL_SECONDS)

    def _note(self, lag: float) -> None:
        now = time.monotonic()
        self._samples.append((now, lag))
        while self._samples[0][0] < now - SHOWN_SECONDS:
            self._samples.popleft()

    def _tell(self, thread: int) -> None:
        now = time.monotonic()
        if now - self._told_at < BETWEEN_LINES_SECONDS:
            return
        self._told_at = now
        frame = sys._current_frames().get(thread)
        # Places in the code only: no values, which may be an article.
        places = traceback.extract_stack(frame)[-MOST_FRAMES:] if frame else []
        named = (f"{place.name} ({place.filename.rpartition('/')[2]}:{place.lineno})" for place in reversed(places))
        logger.warning("the event loop has not answered for %.1f s; it is at %s", STALL_SECONDS, " < ".join(named))


loop_lag = LoopLag()
