"""What an article that is not read whole costs its summary: python -m benchmarks.summarize.min_read [--articles FILE].

Of a reference's content words the share that stands in what the writer reads, by the share of the article's tokens
that it has time for. The sentences are chosen as the service chooses them, with the tokenizer of the embedded model.
Without `--articles` (JSON lines with `text` and `summary`) the articles are those of training/news/summarised, which
the weights that choose never saw; those of training/news/news.jsonl they were fitted on.

The main model reads a part of the article where the smaller one would read all of it: what the part lacks, no model can
say. `FACTORY_SUMMARIZE__MIN_READ` is where a little more reading stops paying off: the knee of the curve, where it is
farthest above the straight line between its ends (Satopää et al. 2011).
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.harness.content import content_words
from benchmarks.harness.table import table
from benchmarks.summarize.articles import token_counter
from common.settings import SummarizeSettings
from functions.summarize.condense import condense
from functions.summarize.model import packaged
from training.smollm2_news.examples import of_summarised

SHARES = tuple(tenth / 10 for tenth in range(1, 11))

# An article and its reference summary.
Pair = tuple[str, str]


@dataclass(frozen=True)
class Point:
    """With time for `share` of the articles' tokens, `read` of them were read, with `words` of the references in them.

    All are means over the articles.
    """

    share: float
    read: float
    words: float


def summarised() -> Iterator[Pair]:
    for article in of_summarised():
        yield article.text, article.summary


def of_lines(path: Path) -> Iterator[Pair]:
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        yield record["text"].strip(), record["summary"].strip()


def curve(pairs: Iterable[Pair], count: Callable[[str], int], shares: Sequence[float] = SHARES) -> list[Point]:
    """A point for each of the shares; articles whose reference has no content words are left out."""
    lead_share = float(SummarizeSettings.model_fields["lead_share"].default)
    read: list[list[float]] = [[] for _ in shares]
    words: list[list[float]] = [[] for _ in shares]
    for article, summary in pairs:
        wanted, tokens = content_words(summary), count(article)
        if not wanted:
            continue
        for at, share in enumerate(shares):
            kept = condense(article, max(1, round(share * tokens)), count, lead_share).text
            read[at].append(count(kept) / tokens)
            words[at].append(len(content_words(kept) & wanted) / len(wanted))
    return [Point(*figures) for figures in zip(shares, map(mean, read), map(mean, words), strict=True)]


def knee(points: Sequence[Point]) -> Point:
    """The point that is farthest above the line from the first to the last."""
    first, last = points[0], points[-1]
    slope = (last.words - first.words) / (last.share - first.share)
    return max(points, key=lambda point: point.words - first.words - slope * (point.share - first.share))


def report(points: Sequence[Point]) -> str:
    whole, found = points[-1].words, knee(points)
    default = float(SummarizeSettings.model_fields["min_read"].default)
    lines = [
        [f"{point.share:.0%}", f"{point.read:.1%}", f"{point.words:.1%}", f"{point.words / whole - 1:+.1%}"]
        for point in points
    ]
    titles = ["time for", "read", "content words of the reference in it", "against the whole article"]
    set_to = min(points, key=lambda point: abs(point.share - default))
    return (
        f"{table(titles, lines, texts=0)}\n\n"
        f"The knee is at {found.share:.1f}: {1 - found.words / whole:.0%} of the reference's words in the whole "
        f"article are lost there. MIN_READ is {default:g} by default: {1 - set_to.words / whole:.0%} are lost."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="What of a reference is in what is read, by how much is read.")
    parser.add_argument("--articles", type=Path, help="JSON lines with text and summary")
    parser.add_argument("--model", type=Path, default=packaged(), help="whose tokens are counted")
    options = parser.parse_args()
    if options.model is None:
        sys.exit("the embedded model is not installed; --model names another GGUF")
    pairs = list(of_lines(options.articles) if options.articles else summarised())
    print(f"{len(pairs)} articles, tokens of {options.model.name}\n", flush=True)
    print(report(curve(pairs, token_counter(options.model))))


if __name__ == "__main__":
    main()
