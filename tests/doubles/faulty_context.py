"""llama.cpp with faults: batches that fail, a context that is broken, a step that takes as long as a test wants."""

import threading
from collections.abc import Sequence
from pathlib import Path

from functions.summarize.context import DecodeFailed, LlamaContext, Options, Row
from tests.conftest import WAIT_SECONDS


class FaultyContext(LlamaContext):
    """The real context, whose `decode` fails for batches with a certain token, or until it is rebuilt."""

    def __init__(self, path: Path, cells: int, sequences: int, options: Options) -> None:
        super().__init__(path, cells, sequences, options)
        self.poison: int | None = None
        self.broken = False
        self.rebuilt = 0
        self.hold = threading.Event()
        self.hold.set()

    def decode(self, rows: Sequence[Row]) -> None:
        self.hold.wait(WAIT_SECONDS)
        if self.broken:
            raise DecodeFailed("llama_decode returned -3")
        if any(row.token == self.poison for row in rows):
            raise DecodeFailed("llama_decode returned -1")
        super().decode(rows)

    def rebuild(self) -> None:
        super().rebuild()
        self.broken = False
        self.rebuilt = getattr(self, "rebuilt", -1) + 1
