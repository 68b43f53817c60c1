"""The prompt that the service sends, and the variations of it that the model is trained on.

A prompt is three pieces, each tokenised on its own: prefix, article, closing. Only prefix and closing hold special
tokens; the article is plain text, whatever it says.
"""

from __future__ import annotations

import random

from functions.summarize.prompt import INSTRUCTION

BEGIN, END, HEADER, HEADER_END, EOT = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
SPECIAL_TOKENS = (BEGIN, END, HEADER, HEADER_END, EOT)

SYSTEM = INSTRUCTION
WORD_LIMIT = "\n\nSummarize the article above in at most {words} words."

OTHER_SYSTEMS = (
    "You are a helpful assistant.",
    "Summarize the article.",
    "You are a news editor. Summarize the article.",
    "You summarize news. Be short and plain. Never add a fact that the text does not state.",
    "Write a summary of the text in two or three sentences.",
    "You are an editor at a wire service. Condense the story for a busy reader.",
    "Read the article below and give its gist. Keep names and figures as they are.",
    "You are a careful assistant that answers in plain English.",
)
OTHER_SUFFIXES = (
    "\n\nSummarize the article above.",
    "\n\nSummarize the text above in no more than {words} words.",
    "\n\nKeep the summary under {words} words.",
    "\n\nWrite at most {words} words.",
    "\n\nUse {words} words or fewer.",
    "\n\nSummary of the article above, {words} words at most:",
    "\n\nGive the summary now.",
)


def prefix(system: str | None = SYSTEM) -> str:
    """All text before the article; without a system turn if `system` is None."""
    turn = "" if system is None else f"{HEADER}system{HEADER_END}\n\n{system}{EOT}"
    return f"{BEGIN}{turn}{HEADER}user{HEADER_END}\n\n"


def closing(suffix: str = "") -> str:
    """All text after the article, up to where the answer starts."""
    return f"{suffix}{EOT}{HEADER}assistant{HEADER_END}\n\n"


def word_limit(words: int) -> str:
    """The service's sentence that asks for at most `words` words."""
    return WORD_LIMIT.format(words=words)


def draw_system(rng: random.Random, invented: str) -> str | None:
    """A system text: mostly the service's own; `invented` (any sentences) in one prompt of seven."""
    draw = rng.random()
    if draw < 0.62:
        return SYSTEM
    if draw < 0.80:
        return rng.choice(OTHER_SYSTEMS)
    return None if draw < 0.85 else invented


def draw_suffix(rng: random.Random) -> str:
    """A suffix: none in half of the prompts, else a word limit between 10 and 200 in some wording."""
    draw = rng.random()
    if draw < 0.5:
        return ""
    words = rng.choice((10, 20, 25, 30, 40, 50, 60, 75, 80, 100, 120, 150, 200, rng.randint(10, 200)))
    template = WORD_LIMIT if draw < 0.85 else rng.choice(OTHER_SUFFIXES)
    return template.format(words=words)
