"""Windows of all requests that wait, in batches: short ones of like length together, in fair order.

On a CPU a batch saves the steps of the LSTM and the cost of starting each operation, which counts for short windows
only; `ExtractSettings.batch_tokens` bounds it. A window that comes while nothing runs starts at once. While a long
window runs, short ones run beside it: they are done before it, and cost it little.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from common.admission import DOUBT
from common.callers import Flow, flow
from common.errors import QueueFull
from common.fair import FairQueue
from common.worker import Worker
from functions.extract.gliner import GlinerEngine
from functions.extract.reader import EncodedWindow

if TYPE_CHECKING:
    from functions.extract.candidates import Candidates

# A window joins a batch whose padding stays below this share of its tokens.
MOST_PADDING = 0.15
# What runs beside a long window has at most this share of its tokens.
SHORT_SHARE = 0.25
# A larger batch takes memory that is worth giving back, when nobody has come for so long.
LARGE_TOKENS = 256
REST_SECONDS = 2.0
# Weight of the newest sample in the moving average of what a token takes.
SMOOTHING = 0.1


@dataclass(eq=False)
class _Turn:
    """A window that waits for the model, or is in it."""

    engine: GlinerEngine
    flow: Flow
    encoded: EncodedWindow
    found: "asyncio.Future[Candidates]"
    started: Callable[[], None]

    @property
    def tokens(self) -> int:
        return len(self.encoded.row.tokens)


class Batches:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._queue: FairQueue[_Turn] = FairQueue()
        # The first is for every window, the second for short ones while the first is at a long one.
        self._lanes = (Worker("extract"), Worker("extract-short"))
        self._running: dict[Worker, int] = {}
        # The most tokens of a batch since memory was given back last, and when it is to be.
        self._largest = 0
        self._resting: asyncio.TimerHandle | None = None
        self._seconds_per_token: float | None = None

    async def spans(
        self, engine: GlinerEngine, encoded: EncodedWindow, started: Callable[[], None], begin_by: float = inf
    ) -> "Candidates":
        """What `engine` finds in a window; `started` is called when it runs.

        It is worked on for the caller of the request at hand. When that is cancelled, a window that waits leaves the
        queue; one that runs is finished for nobody. Raises QueueFull when its turn has not come by `begin_by`
        (`time.monotonic`), and at once when it would be far later.
        """
        loop = asyncio.get_running_loop()
        turn = _Turn(engine, flow(), encoded, loop.create_future(), started)
        if (seconds := self._wait_seconds(turn.tokens)) > DOUBT * (begin_by - time.monotonic()):
            raise QueueFull("extract: the wait would be longer than the request may wait", seconds)
        self._queue.push(turn, turn.flow, turn.tokens)
        self._begin()
        late = None if begin_by == inf else loop.call_later(begin_by - time.monotonic(), self._give_up, turn)
        try:
            return await turn.found
        finally:
            self._queue.remove(turn, turn.flow)
            if late is not None:
                late.cancel()

    def seconds(self, tokens: int) -> float:
        """About how long windows with so many tokens would take, waiting for others included; 0 while unknown."""
        return tokens * (self._seconds_per_token or 0.0) + self._wait_seconds(tokens)

    def _wait_seconds(self, tokens: int) -> float:
        if not len(self._queue) or self._seconds_per_token is None:
            return 0.0
        return self._queue.ahead(flow(), tokens) * self._seconds_per_token

    def _give_up(self, turn: _Turn) -> None:
        """Its turn has not come in time, unless it is in the model now."""
        if self._queue.remove(turn, turn.flow) and not turn.found.done():
            detail = "extract: its turn did not come within the time that the request may wait"
            turn.found.set_exception(QueueFull(detail, self._wait_seconds(turn.tokens)))

    def _begin(self) -> None:
        """Start what can run now."""
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        for lane in self._lanes:
            if lane not in self._running and (batch := self._next()):
                self._running[lane] = sum(turn.tokens for turn in batch)
                task = asyncio.create_task(self._run(lane, batch))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _next(self) -> list[_Turn]:
        """The next window in fair order that may run now, and what may run in one batch with it."""
        most = SHORT_SHARE * max(self._running.values()) if self._running else None
        first = self._queue.pop(lambda turn: most is None or turn.tokens <= most)
        if first is None:
            return []
        batch = [first]
        if first.engine.batch_tokens:
            others = [turn for turn in self._queue.order() if turn.engine is first.engine]
            room = first.engine.batch_tokens if most is None else min(most, first.engine.batch_tokens)
            chosen = companions(first.tokens, [turn.tokens for turn in others], int(room))
            batch += [others[index] for index in chosen]
        for turn in batch[1:]:
            self._queue.take(turn, turn.flow)
        return batch

    async def _run(self, lane: Worker, batch: Sequence[_Turn]) -> None:
        for turn in batch:
            turn.started()
        begun = time.monotonic()
        engine, windows = batch[0].engine, [turn.encoded for turn in batch]
        try:
            results = await lane.run(lambda _: engine.spans(windows))
        except Exception as error:
            for turn in batch:
                if not turn.found.done():
                    turn.found.set_exception(error)
        else:
            self._observe(engine, self._running[lane], time.monotonic() - begun)
            for turn, found in zip(batch, results, strict=True):
                if not turn.found.done():
                    turn.found.set_result(found)
        finally:
            self._largest = max(self._largest, self._running.pop(lane))
            self._begin()
            if not self._running and self._largest > LARGE_TOKENS:
                self._resting = asyncio.get_running_loop().call_later(REST_SECONDS, self._rest, engine)

    def _rest(self, engine: GlinerEngine) -> None:
        """Nobody has come for a while: what the largest windows took is given back."""
        self._largest = 0
        task = asyncio.create_task(self._lanes[0].run(lambda _: engine.rest()))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _observe(self, engine: GlinerEngine, tokens: int, seconds: float) -> None:
        sample = seconds / tokens
        known = self._seconds_per_token or sample
        self._seconds_per_token = known + SMOOTHING * (sample - known)
        engine.rates["reading_tokens_per_second"] = round(1 / self._seconds_per_token, 1)


def companions(first: int, others: Sequence[int], most_tokens: int) -> Iterable[int]:
    """Which of `others`, all lengths in tokens, run in one batch with `first`: the nearest in length, padded little."""
    chosen: list[int] = []
    lengths = [first]
    for index in sorted(range(len(others)), key=lambda index: abs(others[index] - first)):
        together = [*lengths, others[index]]
        padded = max(together) * len(together)
        if padded > most_tokens or sum(together) < padded * (1 - MOST_PADDING):
            break
        lengths = together
        chosen.append(index)
    return chosen
