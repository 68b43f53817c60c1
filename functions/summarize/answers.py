"""One run for equal requests at the same time, and answers that are kept for those who ask again."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from common.repeats import Flights, Kept, request_key
from common.settings import get_settings
from functions.summarize.schemas import SummarizeRequest
from functions.summarize.service import Accepted, Answer, Piece

# What an entry takes beside its text: key, objects, links.
ENTRY_BYTES = 1024


class Answers:
    """Belongs to one event loop."""

    def __init__(self, most_bytes: Callable[[], int] = lambda: get_settings().summarize.answer_cache_bytes) -> None:
        """`most_bytes` is called on use: the bytes that kept answers may take."""
        self._kept: Kept[Answer] = Kept(_size, most_bytes)
        self._flights: Flights[Piece] = Flights()

    async def get(
        self, request: SummarizeRequest, wait: float | None, produce: Callable[[], AsyncGenerator[Piece]]
    ) -> AsyncGenerator[Piece]:
        """The pieces that `produce` yields, from the start, or one kept answer.

        Requests are equal when their caller, all their fields and their `wait` are. An answer is kept when it is
        repeatable (temperature 0 or a seed). The run ends when nobody listens any more.
        """
        key = _key(request, wait)
        if (kept := self._kept.get(key)) is not None:
            yield Accepted()
            yield kept.response.summary
            yield kept
            return
        repeatable = request.temperature == 0 or request.seed is not None
        async with aclosing(self._flights.join(key + bytes([request.stream]), lambda _: produce())) as pieces:
            async for piece in pieces:
                if isinstance(piece, Answer) and repeatable and not piece.passing:
                    self._kept.keep(key, _repeated(piece))
                yield piece


def _repeated(answer: Answer) -> Answer:
    usage = answer.response.usage.model_copy(update={"cached_answer": True})
    return Answer(answer.response.model_copy(update={"usage": usage}))


def _key(request: SummarizeRequest, wait: float | None) -> bytes:
    return request_key(request.model_dump(exclude={"stream", "text"}), wait, request.text.strip())


def _size(answer: Answer) -> int:
    return ENTRY_BYTES + len(answer.response.summary.encode())
