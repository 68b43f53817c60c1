"""Fits the two linear models of `functions/summarize/weights.csv`: `python -m training.condense.fit [--check]`.

`--check` prints what either model does on articles that it was not fitted on and writes nothing. Numpy alone is needed.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from common.sentences import sentences
from functions.summarize import sentence_features
from functions.summarize.selection import Article, page_lines
from functions.summarize.terms import FUNCTION_WORDS, Terms, forms, term
from functions.summarize.weights import FILE, Linear, Weights, write

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER = Path(__file__).parent
NEWS = FOLDER.parent / "news/news.jsonl"
PAGE_LINES = FOLDER / "page-lines.txt"
SEED = 16
# Ridge: how strongly weights are held near nothing, in examples.
WORD_PENALTY, LINE_PENALTY = 5.0, 1.0
# Lines of a page that are put into every article, at most; and how often one stands inside a paragraph.
MOST_LINES, INSIDE = 10, 0.25
# Sentences of the articles that may be a page's themselves count for less: those with fewer words of the summary.
SURE_WORDS, UNSURE = 3, 0.5
NEWTON_STEPS = 12

Record = dict[str, Any]


def records() -> list[Record]:
    return [json.loads(line) for line in NEWS.read_text(encoding="utf-8").splitlines()]


def beat(record: Record) -> str:
    return str(record["id"]).rpartition("-")[0]


def content(text: str) -> set[str]:
    """The distinct words that carry a meaning: no function words, none of one or two letters, all numbers."""
    names = {term(form) for form in forms(text)}
    return {n for n in names if n and n not in FUNCTION_WORDS and (len(n) > 2 or any(c.isdigit() for c in n))}


def fit(news: Sequence[Record]) -> Weights:
    """Both models from these articles; always the same for the same ones."""
    lines = fit_lines(news)
    return Weights(fit_words([examples(record, lines) for record in news]), lines)


def fit_words(articles: "Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]") -> Linear:
    """The model of words from the `examples` of some articles."""
    figures, labels = zip(*articles, strict=True)
    return logistic(np.vstack(figures), np.concatenate(labels), WORD_PENALTY)


def examples(record: Record, lines: Linear) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """The figures of an article's words, a row for each, and 1 for each that is in the summary, 0 for the others."""
    width = len(sentence_features.NAMES)
    untold = Linear(np.zeros(width), np.ones(width), np.zeros(width), 0.0)
    article = Article(sentences(record["text"].strip()), len, 1.0, Weights(untold, lines))
    of_summary = content(record["summary"])
    return article.features, np.array([name in of_summary for name in article.terms.indexes], np.float64)


def fit_lines(news: Sequence[Record]) -> Linear:
    """The model of a page's lines, from articles with such lines between their paragraphs and sentences."""
    sites = read_sites()
    random = Random(SEED)
    features, labels, counts = [], [], []
    for record in news:
        rows, is_line, weight = page(record, random.choice(sites), random)
        features.append(rows)
        labels.append(is_line)
        counts.append(weight)
    return logistic(np.vstack(features), np.concatenate(labels), LINE_PENALTY, np.concatenate(counts))


def read_sites() -> list[list[str]]:
    text = "\n".join(line for line in PAGE_LINES.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return [site.strip().splitlines() for site in text.split("---\n")]


def page(
    record: Record, site: Sequence[str], random: Random
) -> "tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]":
    """The figures of a page's sentences, 1 for a line of the page and 0 for the article's, and how much each counts."""
    lines = random.sample(site, min(len(site), random.randint(1, MOST_LINES)))
    pieces = [piece.rstrip() for piece in sentences(record["text"].strip())]
    spaces = [p[len(p.rstrip()) :] for p in sentences(record["text"].strip())]
    of_summary = content(record["summary"])
    out = [(s, "\n" in space, 0.0) for s, space in zip(pieces, spaces, strict=True)]
    for line in lines:
        at = random.randint(0, len(out)) if random.random() < INSIDE else random.choice(_borders(out))
        inside = 0 < at < len(out) and not out[at - 1][1]
        out.insert(at, (line, not inside, 1.0))
        if at and not inside:
            out[at - 1] = (out[at - 1][0], True, out[at - 1][2])
    written = [forms(s) for s, _, _ in out]
    named = [[term(form) for form in line] for line in written]
    breaks = np.array([is_end for _, is_end, _ in out[:-1]], np.intp)
    paragraphs = np.concatenate([[0], np.cumsum(breaks)]).astype(np.intp)
    is_line = np.array([mark for _, _, mark in out])
    sure = np.array([len(of_summary.intersection(names)) >= SURE_WORDS for names in named])
    weight = np.where((is_line > 0) | sure, 1.0, UNSURE)
    return page_lines([s for s, _, _ in out], paragraphs, Terms(written, named)), is_line, weight


def _borders(out: Sequence[tuple[str, bool, float]]) -> list[int]:
    """Where one paragraph ends and the next begins, the start and the end too."""
    return [0, *(k + 1 for k, (_, is_end, _) in enumerate(out[:-1]) if is_end), len(out)]


def logistic(
    figures: "NDArray[np.float64]",
    labels: "NDArray[np.float64]",
    penalty: float,
    counts: "NDArray[np.float64] | None" = None,
) -> Linear:
    """Logistic regression with a ridge, by Newton's method, on figures brought to mean 0 and deviation 1."""
    mean, scale = figures.mean(axis=0), figures.std(axis=0)
    scale[scale == 0] = 1
    rows = np.column_stack([(figures - mean) / scale, np.ones(len(figures))])
    counts = np.ones(len(rows)) if counts is None else counts
    weight = np.zeros(rows.shape[1])
    ridge = np.full(rows.shape[1], penalty)
    ridge[-1] = 1e-6
    for _ in range(NEWTON_STEPS):
        chances = 1 / (1 + np.exp(-np.clip(rows @ weight, -30, 30)))
        slope = rows.T @ (counts * (chances - labels)) + ridge * weight
        curve = (rows * (counts * chances * (1 - chances))[:, None]).T @ rows + np.diag(ridge)
        weight -= np.linalg.solve(curve, slope)
    return Linear(mean, scale, weight[:-1], float(weight[-1]))


def folds(news: Sequence[Record]) -> Iterable[tuple[list[Record], list[Record]]]:
    """For each beat the articles of the others, to fit on, and its own."""
    for name in sorted({beat(record) for record in news}):
        yield [r for r in news if beat(r) != name], [r for r in news if beat(r) == name]


def check(news: Sequence[Record]) -> None:
    """Of the lines of a page how many are found, and how many sentences of the articles are taken for one."""
    random = Random(SEED + 1)
    sites = read_sites()
    found, lines, lost, kept = 0, 0, 0, 0
    for seen, unseen in folds(news):
        linear = fit_lines(seen)
        for record in unseen:
            figures, is_line, weight = page(record, random.choice(sites), random)
            taken = linear.chances(figures) >= 0.5
            found += int(taken[is_line > 0].sum())
            lines += int((is_line > 0).sum())
            lost += int(taken[(is_line == 0) & (weight == 1)].sum())
            kept += int(((is_line == 0) & (weight == 1)).sum())
    print(f"lines of a page: {found} of {lines} found; sentences with much of the summary: {lost} of {kept} lost")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        check(records())
    else:
        write(fit(records()), FILE)


if __name__ == "__main__":
    main()
