"""The tokens with which every prompt begins: read once, and shared where the model's memory allows it."""

import logging
import time
from collections.abc import Sequence

from functions.summarize.context import BATCH_ROWS, SHARED_SEQUENCE, DecodeAborted, LlamaContext, Row
from functions.summarize.rates import Rates

logger = logging.getLogger(__name__)

CALIBRATION_STEPS = 3
# Enough for a pace, and over soon.
MEASURED_ROWS = 32
# No request has it while none is at work.
FREE_SEQUENCE = SHARED_SEQUENCE + 1
# Most rows of a batch that cannot be broken off: whoever leaves is waited for.
WHOLE_ROWS = 64


class Opening:
    """Called on the thread that computes, but for `tokens` and `shared`."""

    def __init__(self, context: LlamaContext, tokens: Sequence[int]) -> None:
        self.tokens = list(tokens)
        # How many of them a prompt need not read: all or none.
        self.shared = 0
        self.most_rows = BATCH_ROWS if context.can_cut_back else WHOLE_ROWS
        self._context = context

    def calibrate(self, rates: Rates) -> None:
        """Read them and draw a few tokens, so that the first request is planned with measured rates."""
        # The first pass reads the weights from the disk; it says nothing about the others.
        self._context.decode([Row(self.tokens[0], 0, SHARED_SEQUENCE, False)])
        begun = time.monotonic()
        self._read()
        rates.observe(len(self.tokens), 0, False, time.monotonic() - begun)
        self.shared = self._context.share(FREE_SEQUENCE, len(self.tokens))
        if not self.shared:
            logger.info("this model's memory cannot share the opening of the prompt: each request reads it")
            self._context.forget(SHARED_SEQUENCE)
        for position in range(self.shared, self.shared + CALIBRATION_STEPS):
            rates.observe(0, 1, False, self._seconds([Row(self.tokens[0], position, FREE_SEQUENCE, True)]))
        self._context.forget(FREE_SEQUENCE)

    def measure(self, rates: Rates) -> None:
        """Measure the costs anew, while no request is at work. Raises DecodeAborted where one has come meanwhile."""
        self._context.allow()
        rows = [Row(self.tokens[0], position, FREE_SEQUENCE, False) for position in range(MEASURED_ROWS)]
        try:
            seconds = [self._seconds(rows)]
            for position in range(MEASURED_ROWS, MEASURED_ROWS + CALIBRATION_STEPS):
                seconds.append(self._seconds([Row(self.tokens[0], position, FREE_SEQUENCE, True)]))
        finally:
            self._context.forget(FREE_SEQUENCE)
        rates.begin_anew()
        rates.observe(MEASURED_ROWS, 0, False, seconds[0])
        rates.observe(0, 1, False, min(seconds[1:]))

    def _seconds(self, rows: Sequence[Row]) -> float:
        begun = time.monotonic()
        self._context.decode(rows)
        return time.monotonic() - begun

    def read_again(self) -> None:
        """After the context was made anew. Raises DecodeFailed."""
        if self.shared:
            self._read()

    def share(self, slot: int, tokens: Sequence[int]) -> int:
        """Let `slot` begin with what `tokens` and the opening have in common; returns how many that are."""
        # The last token is always decoded: the first draw needs its logits.
        limit = min(len(self.tokens), len(tokens) - 1)
        common = next((i for i in range(limit) if self.tokens[i] != tokens[i]), limit)
        return self._context.share(slot, common if self.shared else 0)

    def _read(self) -> None:
        rows = [Row(token, position, SHARED_SEQUENCE, False) for position, token in enumerate(self.tokens)]
        while True:
            self._context.allow()
            self._context.forget(SHARED_SEQUENCE)
            try:
                for start in range(0, len(rows), self.most_rows):
                    self._context.decode(rows[start : start + self.most_rows])
                return
            except DecodeAborted:
                # Somebody has left meanwhile. The opening is for all.
                continue
