"""Shortens an article to a budget of tokens at the end of a sentence."""

import re
from collections.abc import Callable

# A full stop with what may close a quotation behind it, and then white space; East Asian full stops need none.
SENTENCE_END = re.compile(r"[.!?…]['\"”’»)\]]*(?=\s)|[。！？]['\"”’」』）]*|\n\s*\n")


def lead(text: str, budget: int, count: Callable[[str], int]) -> str:
    """The longest opening of whole sentences of `text` with at most `budget` tokens, as `count` counts them.

    A first sentence that is over the budget by itself is cut after a word, or inside one where there is no white space.
    """
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    if sentences := _longest(text, [*ends, len(text)], budget, count):
        return sentences
    first_sentence = text[: ends[0]] if ends else text
    words = [match.end() for match in re.finditer(r"\S+", first_sentence)]
    characters = list(range(1, min(words[0], budget) + 1)) if words else []
    return _longest(text, words, budget, count) or _longest(text, characters, budget, count)


def _longest(text: str, ends: list[int], budget: int, count: Callable[[str], int]) -> str:
    """The longest of the openings that end at `ends` (rising) within the budget, or an empty string."""
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high + 1) // 2
        if count(text[: ends[middle - 1]]) <= budget:
            low = middle
        else:
            high = middle - 1
    return text[: ends[low - 1]].rstrip() if low else ""
