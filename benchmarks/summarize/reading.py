"""How much of the articles the writers read: what of a prompt is the article's."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean

from benchmarks.summarize.client import Answer
from benchmarks.summarize.outcomes import ask
from benchmarks.summarize.server import Running
from benchmarks.summarize.sides import Side

TINY = "The council voted on Tuesday for a new library near the old harbour. It will open in the spring of next year."

# Tokens of a prompt that are not the article's, by who reads it.
Frames = Mapping[str | None, int]


async def tiny(server: Running, side: Side, tokens: int) -> list[Answer]:
    """An answer for an article that is read whole, by which the main model's frame is known."""
    return [await ask(server.client, side, TINY, tokens)] if side.is_ours else []


def frames_of(small: Sequence[Answer], answers: Sequence[Answer]) -> Frames:
    """Those of all writers. One that never read a whole article has the same instruction, and is taken to have the same
    frame as the others.
    """
    known = frames([*small, *answers])
    others = {answer.writer for answer in answers} - known.keys()
    return known | dict.fromkeys(others, min(known.values())) if known else known


def frames(answers: Iterable[Answer]) -> dict[str | None, int]:
    """Of each writer, by the answers for which it read the whole article.

    The closing of a prompt names a length, which is not always as many tokens: it is the least frame that is taken.
    """
    found: dict[str | None, int] = {}
    for answer in answers:
        if answer.condensed or answer.prompt_tokens is None or answer.input_tokens is None:
            continue
        frame = answer.prompt_tokens - answer.input_tokens
        found[answer.writer] = min(frame, found.get(answer.writer, frame))
    return found


def share_read(answer: Answer, known: Frames) -> float | None:
    """Of the article's tokens the share that the writer read; None where its frame is not known."""
    frame = known.get(answer.writer)
    if answer.prompt_tokens is None or not answer.input_tokens or frame is None:
        return None
    return min(1.0, (answer.prompt_tokens - frame) / answer.input_tokens)


def mean_read(answers: Iterable[Answer], known: Frames) -> float | None:
    shares = [share for answer in answers if (share := share_read(answer, known)) is not None]
    return mean(shares) if shares else None
