"""What one summary is worth, and what many are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness.content import content_words
from benchmarks.harness.statistics import percentile
from common.sentences import finished
from functions.summarize import facts

LEAST_WORDS, MOST_WORDS = 25, 90
GRAM = 4

# How many of something the article has, of how many.
Share = tuple[int, int]


@dataclass(frozen=True)
class Score:
    """One summary. `recall` is the share of the reference's content words that it has, `opening_recall` that of an
    opening of the article with as many words; `repeated` counts its 4-grams that were there before.
    """

    article: str
    summary: str
    unsupported: list[str]
    numbers: Share
    names: Share
    content: Share
    recall: float
    opening_recall: float
    words: int
    is_finished: bool
    repeated: Share
    condensed: bool = False
    seconds: float | None = None
    first_seconds: float | None = None


def score(
    name: str,
    article: str,
    reference: str,
    summary: str,
    *,
    stopped: bool,
    condensed: bool = False,
    seconds: float | None = None,
    first_seconds: float | None = None,
) -> Score:
    """`stopped`: the model ended the summary itself."""
    source = facts.Article(article)
    numbers, names = facts.numbers(summary), source.names(summary)
    said, wanted = content_words(summary), content_words(reference)
    length = len(summary.split())
    return Score(
        article=name,
        summary=summary,
        unsupported=facts.unsupported(summary, article),
        numbers=(sum(map(source.has_number, numbers)), len(numbers)),
        names=(sum(map(source.has_name, names)), len(names)),
        content=(len(said & content_words(article)), len(said)),
        recall=_share(len(said & wanted), len(wanted)) or 0.0,
        opening_recall=_share(len(content_words(opening(article, length)) & wanted), len(wanted)) or 0.0,
        words=length,
        is_finished=stopped and bool(summary) and finished(summary) == summary.strip(),
        repeated=_repeated(summary.lower().split()),
        condensed=condensed,
        seconds=seconds,
        first_seconds=first_seconds,
    )


def of_opening(article: Mapping[str, Any]) -> Score:
    """That of the article's opening with as many words as the reference has."""
    text, reference = article["text"], article["summary"]
    return score(article["id"], text, reference, opening(text, len(reference.split())), stopped=True)


def opening(article: str, words: int) -> str:
    return " ".join(article.split()[:words])


def figures(scores: Sequence[Score], errors: int) -> dict[str, float | None]:
    """Shares of all summaries together; recall is the mean over the articles, times are in seconds."""
    count = len(scores)
    return {
        "answers": count,
        "errors": errors,
        "numbers": _together(score.numbers for score in scores),
        "names": _together(score.names for score in scores),
        "content": _together(score.content for score in scores),
        "recall": _share(sum(score.recall for score in scores), count),
        "opening": _share(sum(score.opening_recall for score in scores), count),
        "words": percentile([score.words for score in scores], 0.5),
        "finished": _share(sum(score.is_finished for score in scores), count),
        "length": _share(sum(LEAST_WORDS <= score.words <= MOST_WORDS for score in scores), count),
        "repeated": _together(score.repeated for score in scores),
        "condensed": _share(sum(score.condensed for score in scores), count),
        "answer": percentile([score.seconds for score in scores if score.seconds is not None], 0.5),
        "first": percentile([score.first_seconds for score in scores if score.first_seconds is not None], 0.5),
    }


def _repeated(words: Sequence[str]) -> Share:
    grams = [tuple(words[at : at + GRAM]) for at in range(len(words) - GRAM + 1)]
    return len(grams) - len(set(grams)), len(grams)


def _together(shares: Iterable[Share]) -> float | None:
    pairs = list(shares)
    return _share(sum(part for part, _ in pairs), sum(whole for _, whole in pairs))


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
