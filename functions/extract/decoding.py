"""From span scores to entities: GLiNER's greedy decoding, over spans of the whole text.

Source: the `gliner` package's span decoder. The best-scoring span wins; what it rules out depends on the mode. The
package compares every pair of spans; here each span is compared with its neighbours only: the answer is the same.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Words `first` to `last` (inclusive) of the text; `label` is an index into the request's labels."""

    first: int
    last: int
    label: int
    score: float


def accepting(*, flat: bool, multi_label: bool) -> Callable[[Span], bool]:
    """A function that decides on one span after the other, the best-scoring first. So many can be decided on in parts.

    flat: no two spans overlap; else one may lie inside another, but none may cross another.
    multi_label: the same span may stay with several labels.

    One decision takes as long as the widest span has words, however many there are.
    """
    return _flat(multi_label) if flat else _nested(multi_label)


def _flat(multi_label: bool) -> Callable[[Span], bool]:
    owner: dict[int, tuple[int, int]] = {}

    def accepts(span: Span) -> bool:
        bounds = (span.first, span.last)
        owners = {owner.get(word) for word in range(span.first, span.last + 1)}
        if owners == {None}:
            owner.update(dict.fromkeys(range(span.first, span.last + 1), bounds))
            return True
        return multi_label and owners == {bounds}

    return accepts


def _nested(multi_label: bool) -> Callable[[Span], bool]:
    # By first word the lengths of accepted spans: bit k stands for a span of k + 1 words.
    lengths: dict[int, int] = {}
    widest = 0

    def accepts(span: Span) -> bool:
        nonlocal widest
        width = span.last - span.first
        own = lengths.get(span.first, 0)
        if not multi_label and own >> width & 1:
            return False
        # Begins before and ends within; begins within and ends behind.
        crosses_left = any(
            lengths.get(first, 0) >> (span.first - first) & ((1 << width) - 1)
            for first in range(span.first - widest, span.first)
        )
        crosses_right = any(
            lengths.get(first, 0) >> (span.last - first + 1) for first in range(span.first + 1, span.last + 1)
        )
        if crosses_left or crosses_right:
            return False
        lengths[span.first] = own | 1 << width
        widest = max(widest, width)
        return True

    return accepts
