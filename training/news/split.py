"""Which articles of news.jsonl are held back: no training learns from them, and every evaluation asks the same ones."""

import json
import random
from collections.abc import Iterable
from pathlib import Path

NEWS = Path(__file__).with_name("news.jsonl")
HELD_BACK, SEED = 60, 20


def order(names: Iterable[str], seed: int = SEED) -> list[str]:
    """The names, shuffled: the first ones are held back."""
    shuffled = sorted(names)
    random.Random(seed).shuffle(shuffled)
    return shuffled


def of_news() -> list[str]:
    """The ids in news.jsonl that are held back."""
    return order(json.loads(line)["id"] for line in NEWS.read_text(encoding="utf-8").splitlines())[:HELD_BACK]
