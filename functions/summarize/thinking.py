"""Models that think aloud: their block of thoughts is no part of the summary.

A block stands at the beginning of what a model writes, between two markers. Where the template can switch it off, it is
off (see template.py). Where the template leaves the block open and no tokens are set aside for it, the prompt closes it
at once (Ma et al. 2025, "Reasoning models can be effective without thinking"). What a model thinks all the same is
neither shown nor counted. When it has used up the tokens set aside, the closing marker is written in its place.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from functions.summarize.template import Frame

logger = logging.getLogger(__name__)

# What opens and what closes a block. DeepSeek R1, Qwen3, SmolLM3, Granite, LFM2.5; Magistral; Apriel; Command R7B;
# Seed-OSS; Gemma 4.
MARKERS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<thinking>", "</thinking>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
    ("<|channel>thought", "<channel|>"),
)


@dataclass(frozen=True)
class Thinking:
    """How one model thinks aloud.

    `open`: its prompt ends within a block. `tokens` are set aside for thoughts; 0: they are ended where they begin.
    `ending` are the tokens that close a block. `spelled` are the texts of those tokens of the markers that llama.cpp
    writes nothing for.
    """

    opens: str
    closes: str
    open: bool
    tokens: int
    ending: tuple[int, ...]
    spelled: Mapping[int, str]


TokensOf = Callable[[str], list[int]]


def find(
    template: str, frame: Frame, tokens_of: TokensOf, spelled: Callable[[int], str | None], tokens: int
) -> tuple[Frame, Thinking | None]:
    """How a model thinks aloud, and its frame, which leaves no block open for which there are no `tokens`.

    None where neither the template nor the vocabulary shows a marker. `tokens_of` reads special tokens; `spelled` is
    the text of a token that llama.cpp writes nothing for. The log is told when thoughts cannot be switched off.
    """
    found = _markers(template, frame.closing, lambda marker: len(tokens_of(marker)) == 1)
    if found is None:
        return frame, None
    opens, closes = found
    is_open = frame.closing.rfind(opens) > frame.closing.rfind(closes)
    is_off = not is_open and (frame.switches_thinking or closes in frame.closing)
    if not tokens and not is_off and (is_open or opens in template):
        logger.warning(
            "the model may think aloud, and its chat template cannot switch that off: its thoughts are ended at once, "
            "as FACTORY_SUMMARIZE__THINKING_TOKENS sets no tokens aside for them"
        )
    if is_open and not tokens:
        is_open = False
        frame = replace(frame, closing=frame.closing + _ending(closes, lines=frame.closing.endswith("\n")))
    texts = {token: spelled(token) for marker in found for token in tokens_of(marker)}
    return frame, Thinking(
        opens,
        closes,
        is_open,
        0 if is_off else tokens,
        tuple(tokens_of(_ending(closes, lines=True))),
        {token: text for token, text in texts.items() if text is not None},
    )


def _markers(template: str, closing: str, known: Callable[[str], bool]) -> tuple[str, str] | None:
    """The markers that the prompt's closing, the template or else the vocabulary shows."""
    for text in (closing, template):
        for opens, closes in MARKERS:
            if opens in text or closes in text:
                return opens, closes
    return next((pair for pair in MARKERS if all(map(known, pair))), None)


def _ending(closes: str, *, lines: bool) -> str:
    """What closes a block; on lines of its own where the block is written in lines."""
    return f"\n{closes}\n\n" if lines else closes


class _Part(Enum):
    UNKNOWN = "what was written may be the beginning of a marker"
    THOUGHT = "within a block"
    SUMMARY = "behind it, or there is none"


class Thoughts:
    """What one request's model writes, told apart token by token. `tokens` counts those of thoughts."""

    def __init__(self, thinking: Thinking, most_tokens: int) -> None:
        """`most_tokens`: the thoughts and what ends them may have so many; 0: they are ended where they begin."""
        self.tokens = 0
        self._thinking = thinking
        self._most_tokens = most_tokens
        self._part = _Part.THOUGHT if thinking.open else _Part.UNKNOWN
        # Text and number of the tokens that are not told apart yet.
        self._held, self._held_tokens = "", 0
        self._ended = False

    def read(self, token: int, text: str) -> str:
        """The text that `token` adds to the summary; empty while that is not known. `text` is what it stands for."""
        if self._part is _Part.SUMMARY:
            return text
        self._held += self._thinking.spelled.get(token, text)
        self._held_tokens += 1
        # A token may hold the end of a block and what follows.
        while self._step():
            pass
        return self._taken()

    def _taken(self) -> str:
        """What was held, once it is known to be summary."""
        if self._part is not _Part.SUMMARY:
            return ""
        text, self._held, self._held_tokens = self._held, "", 0
        return text

    def rest(self) -> str:
        """The held text when nothing more comes: what only looked like the beginning of a marker."""
        return self._held if self._part is _Part.UNKNOWN else ""

    def end(self, *, stopped: bool) -> tuple[int, ...]:
        """The tokens that are to be written for the model to end its thoughts, if they have to end now; else none.

        `stopped`: the model ended its text. A block is ended in its place once; if the model opens another one, that is
        all that it has to say.
        """
        ending = self._thinking.ending
        used_up = self.tokens + len(ending) >= self._most_tokens
        if self._part is not _Part.THOUGHT or self._ended or not (stopped or used_up):
            return ()
        self._ended = True
        self.tokens += len(ending)
        self._part, self._held = _Part.UNKNOWN, ""
        return ending

    def _step(self) -> bool:
        """Tell apart what is held as far as it goes; whether there may be more to tell."""
        opens, closes = self._thinking.opens, self._thinking.closes
        if self._part is _Part.THOUGHT:
            self._take_thought()
            _, found, behind = self._held.partition(closes)
            # Of thoughts nothing is needed but what may be half a marker.
            self._held = behind if found else self._held[-(len(closes) - 1) :]
            self._part = _Part.UNKNOWN if found else _Part.THOUGHT
            return bool(found)
        self._held = self._held.lstrip()
        for marker, part in ((opens, _Part.THOUGHT), (closes, _Part.UNKNOWN)):
            if self._held.startswith(marker):
                self._take_thought()
                self._held, self._part = self._held.removeprefix(marker), part
                return True
        if not any(marker.startswith(self._held) for marker in (opens, closes)):
            self._part = _Part.SUMMARY
        return False

    def _take_thought(self) -> None:
        self.tokens, self._held_tokens = self.tokens + self._held_tokens, 0
