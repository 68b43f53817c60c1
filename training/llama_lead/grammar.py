"""Expands `{slot}` templates: the engine behind both the training text and the held-out text."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence

SLOT = re.compile(r"\{(\w+)\}")
ARTICLE_A = re.compile(r"\b([Aa]) (?=[aeiouAEIO])")
DOUBLED_STOP = re.compile(r"(?<!\.)\.\.(?!\.)")
SENTENCE_START = re.compile(r"^([\"“(‘]*)(\w)")

Rule = Sequence[str] | Callable[[], str]


class Grammar:
    """Text from templates. A rule is a list of templates, one drawn per use, or a function that makes the text."""

    def __init__(self, rules: Mapping[str, Rule], rng: random.Random) -> None:
        self.rules = rules
        self.rng = rng

    def expand(self, template: str) -> str:
        """`template` with each `{slot}` replaced, recursively; a slot without a rule raises KeyError."""
        return SLOT.sub(lambda match: self._fill(match[1]), template)

    def sentence(self, rule: str) -> str:
        """One expansion of `rule`: first letter raised, `a` turned to `an` before a vowel, no `p.m..`."""
        text = DOUBLED_STOP.sub(".", ARTICLE_A.sub(r"\1n ", self._fill(rule)))
        return SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), text, count=1)

    def _fill(self, slot: str) -> str:
        rule = self.rules[slot]
        return rule() if callable(rule) else self.expand(self.rng.choice(rule))
