"""Whether somebody waits for the CPUs by a deadline: what is ahead of its own time leaves them to it meanwhile.

Belongs to one event loop.
"""

from collections.abc import Iterator
from contextlib import contextmanager

_in_need = 0


@contextmanager
def in_need() -> Iterator[None]:
    """Until the block ends every CPU is wanted for something that somebody waits for."""
    global _in_need
    _in_need += 1
    try:
        yield
    finally:
        _in_need -= 1


def are_in_need() -> bool:
    return _in_need > 0
