"""The two linear models that choose sentences, read from `weights.csv`, which `training/condense/fit.py` writes.

A line has a model, a feature, and the mean and scale that the feature had in training:
chance = 1 / (1 + exp(-(constant + the sum of weight * (figure - mean) / scale))).
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from functions.summarize import boilerplate, sentence_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = Path(__file__).with_name("weights.csv")
CONSTANT = "constant"
HEADER = ("model", "feature", "mean", "scale", "weight")


@dataclass(frozen=True)
class Linear:
    """A logistic model: `mean`, `scale` and `weight` have an element for each feature."""

    mean: "NDArray[np.float64]"
    scale: "NDArray[np.float64]"
    weight: "NDArray[np.float64]"
    constant: float

    def chances(self, figures: "NDArray[np.float64]") -> "NDArray[np.float64]":
        """A chance for each row of `figures`, which has a column for each feature."""
        sums = self.constant + ((figures - self.mean) / self.scale) @ self.weight
        return 1 / (1 + np.exp(-np.clip(sums, -30, 30)))


@dataclass(frozen=True)
class Weights:
    """`word`: whether a word of the article is in a summary. `boilerplate`: whether a line is the page's."""

    word: Linear
    boilerplate: Linear


@cache
def shipped() -> Weights:
    return read(FILE)


def read(path: Path) -> Weights:
    """Raises KeyError where the file lacks a feature."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = {(row["model"], row["feature"]): row for row in csv.DictReader(file)}

    def linear(model: str, names: Sequence[str]) -> Linear:
        lines = [rows[model, name] for name in names]
        mean, scale, weight = (np.array([float(line[key]) for line in lines]) for key in HEADER[2:])
        return Linear(mean, scale, weight, float(rows[model, CONSTANT]["weight"]))

    return Weights(linear("word", sentence_features.NAMES), linear("boilerplate", boilerplate.NAMES))


def write(weights: Weights, path: Path) -> None:
    def lines(model: str, names: Sequence[str], linear: Linear) -> Iterator[list[object]]:
        yield [model, CONSTANT, 0, 1, f"{linear.constant:.4f}"]
        for name, *figures in zip(names, linear.mean, linear.scale, linear.weight, strict=True):
            yield [model, name, *(f"{figure:.4f}" for figure in figures)]

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(lines("word", sentence_features.NAMES, weights.word))
        writer.writerows(lines("boilerplate", boilerplate.NAMES, weights.boilerplate))
