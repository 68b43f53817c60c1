"""Arithmetic over what clients noted: which time went into what, and whether `Retry-After` told the truth."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from benchmarks.harness.statistics import percentile
from benchmarks.summarize.client import Answer

Interval = tuple[float, float]


def work(answer: Answer) -> Interval | None:
    """When the model read and wrote for this answer: the end of it, less the phases that the side reports."""
    if answer.error or "prefill" not in answer.phases:
        return None
    return answer.ended - (answer.phases["prefill"] + answer.phases.get("decode", 0.0)) / 1000, answer.ended


def union(intervals: Iterable[Interval]) -> float:
    """Seconds that lie in at least one of them."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def useful_share(answers: Sequence[Answer], in_time: Sequence[Answer]) -> float | None:
    """Of the time from the first request to the last answer, the share in which some answer was worked on that came in
    time. Several at once count once: the engine works on them in the same steps."""
    intervals = [interval for answer in in_time if (interval := work(answer))]
    if not answers or (in_time and not intervals):
        return None
    span = max(answer.ended for answer in answers) - min(answer.sent for answer in answers)
    return union(intervals) / span


def retries(chains: Sequence[Sequence[Answer]]) -> dict[str, float | None]:
    """How honest the refusals were; a chain is what one client sent, in order.

    `admission` is the time from a refusal until a request was next let in, anyone's: when it was sent.
    """
    answers = [answer for chain in chains for answer in chain]
    admitted = sorted(answer.sent for answer in answers if answer.error is None)
    refusals = [answer for answer in answers if answer.retry_after is not None]
    waits = [(refusal, sent - refusal.ended) for refusal in refusals if (sent := _next(admitted, refusal.ended))]
    seconds = [refusal.retry_after for refusal in refusals if refusal.retry_after is not None]
    after = [later for chain in chains for earlier, later in pairwise(chain) if earlier.retry_after]
    errors = [refusal.retry_after - wait for refusal, wait in waits if refusal.retry_after is not None]
    return {
        "retry_after_p50": percentile(seconds, 0.5),
        "retry_after_max": max(seconds, default=None),
        "admission_p50": percentile([wait for _, wait in waits], 0.5),
        "retry_error_p50": percentile(errors, 0.5),
        "retry_error_p95": percentile([abs(error) for error in errors], 0.95),
        "retry_admitted": sum(answer.error is None for answer in after) / len(after) if after else None,
    }


def _next(times: Sequence[float], now: float) -> float | None:
    return next((time for time in times if time > now), None)
