"""How much of a reference summary is left of an article after condensing: `python -m benchmarks.summarize.condensing`.

The share of the summary's distinct content words that stand in the sentences chosen, at 60, 100 and 200 tokens of 4.3
characters. English: `training/news/news.jsonl`, every beat by weights fitted on the other eight. Other languages:
`training/condense/languages/`, by the shipped weights, which saw none of them. Then seconds for 10,000 words.
"""

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.harness.folders import ROOT
from benchmarks.harness.table import table
from common.sentences import sentences
from functions.summarize import lexrank
from functions.summarize.condense import condense
from functions.summarize.terms import UNSPACED, forms, term
from functions.summarize.weights import Weights, shipped
from training.condense import fit

LANGUAGES = ROOT / "training/condense/languages"
BUDGETS = (60, 100, 200)
CHARACTERS_PER_TOKEN, UNSPACED_PER_TOKEN = 4.3, 1.5
LONG_WORDS = 10_000
# In other languages a word that stands in this share of a file's articles tells nothing.
COMMON = 0.6
# LexRank as it was: the opening kept up to this share, the last sentence's weight, the centrality that fills gaps.
LEAD_SHARE, LEAD_SENTENCES, LAST_WEIGHT, LEAST_CENTRALITY = 0.3, 2, 0.5, 0.6

_UNSPACED = re.compile(f"[{UNSPACED}]")

Record = dict[str, Any]
Choose = Callable[[str, int], str]
Content = Callable[[str], set[str]]


def tokens(text: str) -> int:
    """As many as a model's tokenizer has, about: 4.3 characters each, 1.5 in scripts without spaces."""
    unspaced = len(_UNSPACED.findall(text))
    return round((len(text) - unspaced) / CHARACTERS_PER_TOKEN + unspaced / UNSPACED_PER_TOKEN)


def opening(text: str, budget: int) -> str:
    """The first sentences, as many as fit."""
    kept = ""
    for sentence in sentences(text):
        if tokens((kept + sentence).rstrip()) > budget:
            break
        kept += sentence
    return kept or text[: int(budget * CHARACTERS_PER_TOKEN)]


def plain_lexrank(text: str, budget: int) -> str:
    """What this service did before the weights were learned."""
    if tokens(text) <= budget:
        return text
    lines = [sentence.strip() for sentence in sentences(text)]
    if tokens(lines[0]) > budget:
        return lines[0][: int(budget * CHARACTERS_PER_TOKEN)]
    cosines = lexrank.similarity([[name for name in map(term, forms(line)) if name] for line in lines])
    central = lexrank.centrality(cosines)
    nearest = np.zeros(len(lines))
    picked: list[int] = []
    left = budget

    def take(k: int, limit: int) -> bool:
        nonlocal left
        cost = tokens(" " + lines[k])
        if nearest[k] < lexrank.NEAR_DUPLICATE:
            if cost > limit:
                return False
            picked.append(k)
            left -= cost
            np.maximum(nearest, cosines[k], out=nearest)
            nearest[k] = 1
        return True

    for k in range(len(lines)):
        if not take(k, left - (0 if len(picked) < LEAD_SENTENCES else round(budget * (1 - LEAD_SHARE)))):
            break
    all_better_kept = True
    for k in np.argsort(-central * np.interp(range(len(lines)), [0, len(lines)], [1, LAST_WEIGHT]), kind="stable"):
        if all_better_kept or central[k] >= LEAST_CENTRALITY / len(lines):
            all_better_kept &= take(int(k), left)
    return " ".join(lines[k] for k in sorted(picked))


def best_choice(text: str, budget: int, wanted: set[str], content: Content) -> str:
    """Sentences chosen by who knows the summary: greedily, by new words over tokens to several powers."""
    lines = [sentence.strip() for sentence in sentences(text)]
    words = [content(line) & wanted for line in lines]

    def greedy(power: float) -> list[int]:
        picked: list[int] = []
        got: set[str] = set()
        left = float(budget)
        while True:
            fits = [k for k, line in enumerate(lines) if tokens(line) <= left and words[k] - got]
            if not fits:
                return picked
            k = max(fits, key=lambda k: len(words[k] - got) / len(lines[k]) ** power)
            picked.append(k)
            got |= words[k]
            left -= tokens(lines[k] + " ")

    choices = [" ".join(lines[k] for k in greedy(power)) for power in (0, 0.5, 1)]
    return max(choices, key=lambda choice: len(content(choice) & wanted))


def share(kept: str, wanted: set[str], content: Content) -> float:
    return len(content(kept) & wanted) / len(wanted) if wanted else 1.0


def measure(records: Iterable[Record], sides: Mapping[str, Choose], content: Content) -> dict[str, list[list[float]]]:
    """By side, and by budget, the shares of all articles; the best choice besides."""
    shares: dict[str, list[list[float]]] = {name: [[] for _ in BUDGETS] for name in [*sides, "best choice"]}
    for record in records:
        wanted, text = content(record["summary"]), record["text"].strip()
        for at, budget in enumerate(BUDGETS):
            for name, choose in sides.items():
                shares[name][at].append(share(choose(text, budget), wanted, content))
            best = best_choice(text, budget, wanted, content)
            shares["best choice"][at].append(share(best, wanted, content))
    return shares


def ours(weights: Weights, lead_share: float = 0.0) -> Choose:
    return lambda text, budget: condense(text, budget, tokens, lead_share, weights).text


def english(every: int, lead_shares: Sequence[float]) -> dict[str, list[list[float]]]:
    """Of every so-maniest article of news.jsonl. The words' weights are fitted for each beat on the other beats.

    The page's lines have the shipped weights: those are fitted on lines that are put into the articles.
    """
    news = fit.records()
    lines = shipped().boilerplate
    seen = {record["id"]: fit.examples(record, lines) for record in news}
    total: dict[str, list[list[float]]] = {}
    for others, own in fit.folds(news):
        weights = Weights(fit.fit_words([seen[record["id"]] for record in others]), lines)
        sides: dict[str, Choose] = {"opening": opening, "LexRank, as it was": plain_lexrank}
        sides |= {_named(lead): ours(weights, lead) for lead in lead_shares}
        for name, found in measure(own[::every], sides, fit.content).items():
            for at, values in enumerate(found):
                total.setdefault(name, [[] for _ in BUDGETS])[at].extend(values)
    return total


def _named(lead_share: float) -> str:
    return f"ours, lead_share {lead_share}" if lead_share else "ours"


def content_of(texts: Sequence[str]) -> Content:
    """What counts as content in a language: words, or pairs of characters, that few of these texts have."""
    frequency = Counter(name for text in texts for name in set(map(term, forms(text))))
    common = {name for name, times in frequency.items() if times >= COMMON * len(texts)} | {""}
    return lambda text: set(map(term, forms(text))) - common


def languages() -> Iterator[tuple[str, dict[str, list[list[float]]]]]:
    sides: dict[str, Choose] = {"opening": opening, "LexRank, as it was": plain_lexrank, "ours": ours(shipped())}
    for path in sorted(LANGUAGES.glob("*.jsonl")):
        records = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
        content = content_of([record["text"] for record in records])
        yield f"{path.stem} ({len(records)})", measure(records, sides, content)


def seconds(text: str, budget: int) -> float:
    """CPU seconds, the best of three: of a first call numpy is imported and the weights are read."""
    times = []
    for _ in range(3):
        begun = time.process_time()
        condense(text, budget, tokens)
        times.append(time.process_time() - begun)
    return min(times)


def figures(shares: list[list[float]]) -> list[str]:
    return [f"{mean(values):.3f}" for values in shares]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only every so-maniest English article")
    parser.add_argument("--lead-shares", type=float, nargs="+", default=[0.0], help="of ours, each a line")
    arguments = parser.parse_args()
    titles = ["", *(f"{budget} tokens" for budget in BUDGETS)]
    for name, found in languages():
        print(table([name, *titles[1:]], [[side, *figures(shares)] for side, shares in found.items()]), flush=True)
    long = " ".join(record["text"] for record in fit.records())
    long = " ".join(long.split(" ")[:LONG_WORDS])
    print(f"\n{LONG_WORDS:,} words, CPU seconds at 100, 400, 2,000 tokens:")
    print(", ".join(f"{seconds(long, budget):.3f}" for budget in (100, 400, 2000)), flush=True)
    found = english(arguments.every, arguments.lead_shares)
    print(table(titles, [[side, *figures(shares)] for side, shares in found.items()]))


if __name__ == "__main__":
    main()
