"""One run for equal requests at the same time, and answers that are kept for those who ask again."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

from common.repeats import Flights, Kept, Produce
from functions.summarize.schemas import SummarizeRequest
from functions.summarize.service import Accepted, Answer, Piece

# What an entry takes beside its text: key, objects, links.
ENTRY_BYTES = 1024


class Answers:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._kept: Kept[Answer] = Kept(lambda answer: ENTRY_BYTES + len(answer.response.summary.encode()))
        self._flights: Flights[Piece] = Flights()

    async def get(
        self, request: SummarizeRequest, wait: float | None, max_bytes: int, produce: Produce[Piece]
    ) -> AsyncGenerator[Piece]:
        """The pieces that `produce` yields, from the start, or one kept answer.

        Requests are equal when all their fields and their `wait` are. An answer is kept when it is repeatable
        (temperature 0 or a seed), at most `max_bytes` of them. The run ends when nobody listens any more.
        """
        key = _key(request, wait)
        if (kept := self._kept.get(key)) is not None:
            yield Accepted()
            yield kept.response.summary
            yield kept
            return
        repeatable = request.temperature == 0 or request.seed is not None
        async with aclosing(self._flights.join(key + bytes([request.stream]), produce)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Answer) and repeatable and not piece.passing:
                    self._kept.keep(key, _repeated(piece), max_bytes)
                yield piece


def _repeated(answer: Answer) -> Answer:
    usage = answer.response.usage.model_copy(update={"cached_answer": True})
    return Answer(answer.response.model_copy(update={"usage": usage}))


def _key(request: SummarizeRequest, wait: float | None) -> bytes:
    fields = request.model_dump(exclude={"stream", "text"}) | {"wait": wait}
    return hashlib.sha256(f"{fields} {request.text.strip()}".encode()).digest()
