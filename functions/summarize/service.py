"""The use case: an article in, its summary out, piece by piece; equal requests share a run."""

import time
from collections.abc import AsyncGenerator, Callable
from functools import partial

from common.cache import AnswerCache, register_cache, request_key
from common.settings import SummarizeSettings, get_settings
from functions.summarize import loading
from functions.summarize.outputs import Accepted, Answer, Keep, Output
from functions.summarize.schemas import SummarizeRequest
from functions.summarize.work import Work
from functions.summarize.writers import Writers

# What a kept answer takes beside its text: key, objects, links; and what each span of the article does that was read.
ENTRY_BYTES, SPAN_BYTES = 1024, 128

Answers = AnswerCache[Output, Answer]


def new_answers(most_bytes: Callable[[], int] = lambda: get_settings().summarize.answer_cache_bytes) -> Answers:
    return AnswerCache(_bytes, most_bytes)


def _bytes(answer: Answer) -> int:
    response = answer.response
    return ENTRY_BYTES + len(response.summary.encode()) + SPAN_BYTES * len(response.read or ())


answers = new_answers()
register_cache("summarize", lambda: answers.status)


async def respond(request: SummarizeRequest, deadline: float | None, wait: int | None) -> AsyncGenerator[Output]:
    """The outputs of `summarize`, or those of an equal request. To be iterated at once.

    `deadline` is a time of `time.monotonic`, `wait` the seconds that the caller asked for. Raises ModelNotReady.
    """
    settings = get_settings()
    patience = settings.model_wait_seconds
    if deadline is not None:
        patience = max(0.0, min(patience, deadline - time.monotonic()))
    writers = await loading.writers(request.model == "main", patience)
    produce = partial(summarize, request, writers, settings.summarize, deadline, wait)
    return shared(answers, request, writers.names, wait, produce)


def shared(
    cache: Answers,
    request: SummarizeRequest,
    name: str,
    wait: float | None,
    produce: Callable[[Keep], AsyncGenerator[Output]],
) -> AsyncGenerator[Output]:
    """The outputs of `produce` from the first one on, or a kept answer.

    Requests are equal when their caller, all their fields and their `wait` are. An answer is kept when it is repeatable
    (temperature 0 or a seed) and nobody was in its way.
    """
    equal = request.model_copy(update={"text": request.text.strip(), "stream": False, "progress": False})
    key = request_key(name, equal, wait)
    if (kept := cache.get(key)) is not None:
        return _repeated(kept)

    def keep(answer: Answer) -> None:
        if (request.temperature == 0 or request.seed is not None) and not answer.passing:
            cache.keep(key, answer)

    # Streams are planned otherwise: they share no run with others.
    return cache.join(key + bytes([request.stream, request.progress]), lambda _: produce(keep))


async def _repeated(kept: Answer) -> AsyncGenerator[Output]:
    usage = kept.response.usage.model_copy(update={"cached_answer": True})
    yield Accepted()
    yield kept.response.summary
    yield Answer(kept.response.model_copy(update={"usage": usage}))


def summarize(
    request: SummarizeRequest,
    writers: Writers,
    settings: SummarizeSettings,
    deadline: float | None = None,
    wait: float | None = None,
    keep: Keep = lambda _: None,
) -> AsyncGenerator[Output]:
    """Accepted, pieces of the summary as they come, and the whole answer at last, which `keep` is given as well.

    Raises InvalidInput for a `max_tokens` that leaves the article no room and for a `wait` that no summary can keep,
    QueueFull when there is no place or no time, and Unavailable when the deadline came before the first word.
    """
    return Work(request, writers, settings, deadline, wait, keep).run()
