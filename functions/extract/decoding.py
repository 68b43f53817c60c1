"""From span scores to entities: GLiNER's greedy decoding, over spans of the whole text.

Source: the `gliner` package's span decoder. The best-scoring span wins; what it rules out depends on the mode. The
package compares every pair of spans; here each span is compared with its neighbours only: the answer is the same.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Words `first` to `last` (inclusive) of the text; `label` is an index into the request's labels."""

    first: int
    last: int
    label: int
    score: float


def decode(candidates: Iterable[Span], *, flat: bool, multi_label: bool) -> list[Span]:
    """The spans that stay, in the order of the text.

    flat: no two spans overlap; else one may lie inside another, but none may cross another.
    multi_label: the same span may stay with several labels.
    """
    ranked = sorted(candidates, key=lambda span: -span.score)
    accepts = _flat(multi_label) if flat else _nested(multi_label)
    return sorted((span for span in ranked if accepts(span)), key=lambda span: span.first)


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
    lasts: dict[int, set[int]] = defaultdict(set)
    widest = 0

    def accepts(span: Span) -> bool:
        nonlocal widest
        if not multi_label and span.last in lasts.get(span.first, ()):
            return False
        crosses_left = any(
            span.first <= last < span.last
            for first in range(span.first - widest, span.first)
            for last in lasts.get(first, ())
        )
        crosses_right = any(
            last > span.last for first in range(span.first + 1, span.last + 1) for last in lasts.get(first, ())
        )
        if crosses_left or crosses_right:
            return False
        lasts[span.first].add(span.last)
        widest = max(widest, span.last - span.first)
        return True

    return accepts
