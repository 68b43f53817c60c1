"""LexRank (Erkan & Radev 2004; TextRank, Mihalcea & Tarau 2004, is its sister): which sentences are like the others."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import hypot, log
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The terms that most sentences share; a matrix of 1,000 by 4,096 takes 16 MB.
MAX_TERMS = 4096
# Cosine from which two sentences say the same.
NEAR_DUPLICATE = 0.7
# After these steps the start counts for less than a ten-thousandth: 0.85 ** 60.
DAMPING = 0.85
STEPS = 60


def similarity(sentences: Sequence[Iterable[str]]) -> "NDArray[np.float32]":
    """The cosines of the TF-IDF of every two sentences, given as their terms; 0 of a sentence with itself."""
    bags = [Counter(terms) for terms in sentences]
    frequency = Counter(term for bag in bags for term in bag)
    idf = {term: log(1 + len(bags) / times) for term, times in frequency.items()}
    columns = {term: k for k, (term, times) in enumerate(frequency.most_common(MAX_TERMS)) if times > 1}
    matrix = np.zeros((len(bags), len(columns)), np.float32)
    for row, bag in zip(matrix, bags, strict=True):
        length = hypot(*(times * idf[term] for term, times in bag.items())) or 1
        for term in bag.keys() & columns.keys():
            row[columns[term]] = bag[term] * idf[term] / length
    cosines: NDArray[np.float32] = matrix @ matrix.T
    np.fill_diagonal(cosines, 0)
    return cosines


def centrality(cosines: "NDArray[np.float32]") -> "NDArray[np.float64]":
    """The share of a random walk's time that it spends at each sentence; near-duplicates do not lead to each other."""
    n = len(cosines)
    weights = np.where(cosines < NEAR_DUPLICATE, cosines, 0).astype(np.float64)
    sums = weights.sum(axis=1, keepdims=True)
    steps = np.divide(weights, sums, out=np.full_like(weights, 1 / n), where=sums > 0)
    rank = np.full(n, 1 / n)
    for _ in range(STEPS):
        # Not `@`: BLAS would wake its threads for every small step, and where the cores are busy that takes ms each.
        rank = (1 - DAMPING) / n + DAMPING * np.einsum("i,ij->j", rank, steps)
    return rank
