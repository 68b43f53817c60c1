"""Processes for work whose memory is to be gone with it. They end when the one that started them does."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def waiting_for_child() -> Iterator[int]:
    """The parent's half: a pipe, to be the child's standard input, that ends with this block or with this process."""
    # Neither end is inherited by other children. Nothing is written to it.
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def end_with_parent() -> None:
    """To be called in the child, whose standard input is a pipe that the parent holds open and writes nothing to."""

    def wait() -> None:
        # Not through sys.stdin: its lock, held by a waiting thread, would make the interpreter's own end fail.
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
