"""Spans over the threshold, in columns: a hundred thousand of them take 1.6 MB, as objects they would take fifteen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.extract.decoding import Span


@dataclass(frozen=True, slots=True)
class Candidates:
    """Column by column what a `Span` has: [spans] each, 4 bytes a value."""

    first: NDArray[np.int32]
    last: NDArray[np.int32]
    label: NDArray[np.int32]
    score: NDArray[np.float32]

    @classmethod
    def of(cls, first: Any, last: Any, label: Any, score: Any) -> "Candidates":
        """Of columns that numpy takes as arrays."""
        return cls(
            np.asarray(first, np.int32),
            np.asarray(last, np.int32),
            np.asarray(label, np.int32),
            np.asarray(score, np.float32),
        )

    @classmethod
    def joined(cls, parts: Sequence["Candidates"]) -> "Candidates":
        """All of `parts`, at least one, in their order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.first for part in parts]),
            np.concatenate([part.last for part in parts]),
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.score for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.score)

    def parts(self, size: int) -> Iterator[list[Span]]:
        """The spans, so many at a time."""
        for start in range(0, len(self), size):
            columns = (self.first, self.last, self.label, self.score)
            yield list(map(Span, *(column[start : start + size].tolist() for column in columns)))

    def ranked(self) -> "Candidates":
        """The best-scoring first; of equal ones that which came first."""
        order = np.argsort(-self.score, kind="stable")
        return Candidates(self.first[order], self.last[order], self.label[order], self.score[order])
