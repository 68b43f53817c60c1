"""Processes for work whose memory is to be gone with it. They end when the one that started them does."""

import os
import threading


def end_with_parent() -> None:
    """To be called in the child, whose standard input is a pipe that the parent holds open and writes nothing to."""

    def wait() -> None:
        # Not through sys.stdin: its lock, held by a waiting thread, would make the interpreter's own end fail.
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
