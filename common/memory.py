"""Memory that is given back to the system after a peak.

malloc keeps what is freed for later: after a crowd has left, the process would stay as large as it was at its largest.
"""

import ctypes
import logging
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

STATM = Path("/proc/self/statm")
# malloc.h
M_ARENA_MAX = -8
ARENAS = 2
LOOK_SECONDS = 5.0
# It is worth the milliseconds that it takes when the process has grown by so much since the last time.
WORTH_BYTES = 16 * 1024 * 1024


def resident_bytes() -> int:
    """The resident memory of this process; 0 where the system does not tell."""
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def give_back() -> bool:
    """Give the memory that malloc keeps back to the system. Returns whether the C library can do that."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return False
    return True


def keep_together() -> None:
    """Have malloc use few arenas. To be called before threads are started.

    By default it has some for each thread. Free memory is then spread over all of them and cannot be given back.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def give_back_after_peaks() -> None:
    """From now on, on a thread, whenever the process has grown and come to rest."""
    threading.Thread(target=_watch, name="give-back", daemon=True).start()


def _watch() -> None:
    least = last = resident_bytes()
    while last and give_back():
        time.sleep(LOOK_SECONDS)
        now = resident_bytes()
        # While it still grows it is needed.
        if now > least + WORTH_BYTES and now <= last + WORTH_BYTES // 4:
            give_back()
            now = least = resident_bytes()
        least, last = min(least, now), now
