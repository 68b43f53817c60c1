"""What a run has done, counted."""

import time
from dataclasses import dataclass, field
from typing import Any

from functions.audio.pieces import BYTES_PER_SECOND


@dataclass
class Tally:
    """`kept`: articles that OUT had before, `failed_before` of them with a problem. `calls`: all tries together."""

    kept: int = 0
    failed_before: int = 0
    answered: int = 0
    failed: int = 0
    duplicates: int = 0
    condensed: int = 0
    calls: int = 0
    refused: int = 0
    again: int = 0
    tokens_read: int = 0
    tokens_written: int = 0
    words: int = 0
    speech_seconds: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """Articles of this run."""
        return self.answered + self.failed + self.duplicates

    @property
    def is_all_well(self) -> bool:
        return not (self.failed or self.duplicates or self.failed_before)

    def count_summary(self, answer: dict[str, Any]) -> None:
        usage = answer.get("usage") or {}
        self.condensed += bool(answer.get("condensed"))
        self.tokens_read += int(usage.get("prompt_tokens", 0))
        self.tokens_written += int(usage.get("completion_tokens", 0))

    def count_entities(self, answer: dict[str, Any]) -> None:
        self.words += int(answer.get("words", 0))

    def count_sound(self, size: int) -> None:
        self.speech_seconds += size / BYTES_PER_SECOND

    def summary(self) -> str:
        """The end of a run in one sentence for each kind of thing."""
        seconds = max(time.monotonic() - self.begun, 1e-9)
        done = self.answered + self.failed
        parts = [
            f"{self.answered:,} answered ({self.condensed:,} condensed), {self.failed:,} failed, "
            f"{self.duplicates:,} left out as duplicates, {self.kept:,} done before"
            + (f" ({self.failed_before:,} of OUT failed before: --retry-failed)" if self.failed_before else ""),
            f"{_time(seconds)}, {60 * done / seconds:,.1f} articles a minute",
            f"{self.calls:,} calls, {self.refused:,} refused, {self.again:,} tried again",
        ]
        if self.tokens_read:
            parts.append(f"{self.tokens_read:,} tokens read, {self.tokens_written:,} written")
        if self.words:
            parts.append(f"{self.words:,} words looked at for entities")
        if self.speech_seconds:
            parts.append(f"{_time(self.speech_seconds)} of speech")
        return "; ".join(parts)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
