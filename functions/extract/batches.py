"""Windows of all requests that wait, in batches: short ones of like length together, each requester in turn.

On a CPU a batch saves the steps of the LSTM and the cost of starting each operation, which counts for short windows
only; `ExtractSettings.batch_tokens` bounds it. A window that comes while nothing runs starts at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from common.worker import Worker
from functions.extract.decoding import Span
from functions.extract.engine import GlinerEngine, Piece

# A window joins a batch whose padding stays below this share of its tokens.
MOST_PADDING = 0.15


@dataclass(eq=False)
class _Turn:
    """The pieces of one text that are not worked on yet, and what is known of the others."""

    engine: GlinerEngine
    waiting: deque[Piece]
    found: list[Span]
    running: int
    done: asyncio.Future[None]
    started: Callable[[], None]


class Batches:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._worker = Worker("extract")
        # By requester, in the order in which they are served next.
        self._turns: dict[object, deque[_Turn]] = {}
        self._task: asyncio.Task[None] | None = None

    async def spans(
        self, engine: GlinerEngine, pieces: Sequence[Piece], requester: object, started: Callable[[], None]
    ) -> list[Span]:
        """What `engine` finds in all `pieces`; `started` is called when the first of them runs.

        `requester` is whoever has one turn at a time, however many texts it brings. A cancelled caller's pieces leave
        the queue; one that runs is finished for nobody.
        """
        turn = _Turn(engine, deque(pieces), [], 0, asyncio.get_running_loop().create_future(), started)
        self._turns.setdefault(requester, deque()).append(turn)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        try:
            await turn.done
        finally:
            turn.waiting.clear()
        return turn.found

    async def _serve(self) -> None:
        while batch := self._next():
            for turn, _ in batch:
                turn.started()
            try:
                results = await self._run(batch)
            except Exception as error:
                for turn, _ in batch:
                    turn.waiting.clear()
                    if not turn.done.done():
                        turn.done.set_exception(error)
                continue
            for (turn, _), spans in zip(batch, results, strict=True):
                turn.found += spans
                turn.running -= 1
                if not turn.waiting and not turn.running and not turn.done.done():
                    turn.done.set_result(None)

    async def _run(self, batch: Sequence[tuple[_Turn, Piece]]) -> list[list[Span]]:
        engine, pieces = batch[0][0].engine, [piece for _, piece in batch]
        return await self._worker.run(lambda _: engine.spans(pieces))

    def _next(self) -> list[tuple[_Turn, Piece]]:
        """The first piece of the requester whose turn it is, and what may run beside it."""
        self._drop_finished()
        if not self._turns:
            return []
        requester = next(iter(self._turns))
        first = self._turns[requester][0]
        batch = [(first, first.waiting.popleft())]
        # To the end of the line.
        self._turns[requester] = self._turns.pop(requester)
        turns = chain.from_iterable(self._turns.values())
        others = [turn for turn in turns if turn.waiting and turn.engine is first.engine]
        lengths = [len(turn.waiting[0].text.tokens) for turn in others]
        for index in companions(len(batch[0][1].text.tokens), lengths, first.engine.batch_tokens):
            batch.append((others[index], others[index].waiting.popleft()))
        for turn, _ in batch:
            turn.running += 1
        return batch

    def _drop_finished(self) -> None:
        for requester, turns in list(self._turns.items()):
            while turns and not turns[0].waiting:
                turns.popleft()
            if not turns:
                del self._turns[requester]


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
