"""Processes for work whose memory is to be gone with it. They end when the one that started them does."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Of variables that hold what strangers must not have: our keys, the hub's token, a cloud's credentials.
SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)


def harmless_environment() -> dict[str, str]:
    """The environment for a child that reads what strangers wrote: without anything secret."""
    return {name: value for name, value in os.environ.items() if not SECRET_NAMES.search(name)}


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
