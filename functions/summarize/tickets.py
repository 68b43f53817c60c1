"""A request as the scheduler sees it: a place, then a prompt, then what was written; and how it ended.

RESERVED ──> WAITING ──> READING ──> WRITING ──> ENDED
    │           │           ^────────── │          ^
    └───────────┴───────────┴───────────┴──────────┘  finished, handed over, cancelled, expired or failed
"""

import codecs
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from common.callers import flow
from functions.summarize.context import Row, Sampler, Sampling
from functions.summarize.planning import Demand, Job, Plan
from functions.summarize.thinking import Thoughts

FinishReason = Literal["stop", "length", "deadline"]


@dataclass(frozen=True)
class Completion:
    """How a generation ended, with its counts (tokens) and times (milliseconds).

    `completion_tokens` are those of the text; those of thoughts, which are no part of it, are counted apart.
    """

    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    thinking_tokens: int
    queue_ms: float
    prefill_ms: float
    decode_ms: float


class DeadlineExpired(Exception):
    """The deadline came before the first token."""


class HandedOver(Exception):
    """Before the first token another model has taken over: `ticket` is the place there, and `plan` what is planned."""

    def __init__(self, ticket: "Ticket", plan: Plan) -> None:
        super().__init__("another model goes on with it")
        self.ticket, self.plan = ticket, plan


Event = str | Completion | Exception
Emit = Callable[[Event], None]


@dataclass(frozen=True)
class Elsewhere:
    """What a request would be of another model: all of it, and the least share of its article that has to be read."""

    demand: Demand
    least_share: float


class State(Enum):
    """The states of a ticket."""

    RESERVED = "it has a place, and no prompt yet"
    WAITING = "its prompt is there; it waits for a slot"
    READING = "its prompt is read, slice by slice"
    WRITING = "its prompt is read; each step decodes the token that was drawn last"
    ENDED = "it has no place any more"


class Ticket:
    """The place of a request: reserved first, so that others are planned around it. The prompt follows."""

    def __init__(
        self,
        prompt_tokens: int,
        output_tokens: int,
        deadline: float | None,
        streams: bool,
        elsewhere: Elsewhere | None = None,
        width: int | None = None,
    ) -> None:
        """`deadline` is a time of `time.monotonic`; `streams`: someone reads along, so gaps between tokens count.

        `elsewhere`: what another model would be asked for, if it may take over. `width`: it is begun when it is among
        the first so many; None: as soon as there is a slot.
        """
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.deadline = deadline
        self.streams = streams
        self.elsewhere = elsewhere
        self.width = width
        self.handed_over: HandedOver | None = None
        self.state = State.RESERVED
        self.prompt: Sequence[int] = ()
        self.sampling = Sampling(output_tokens, 0.0, None)
        self.emit: Emit = lambda _: None
        self.sampler: Sampler | None = None
        self.thoughts: Thoughts | None = None
        # A character may be spread over several tokens. It is held back until it is whole.
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.slot: int | None = None
        # Tokens in the cache, and those that have to get there: the prompt, and behind it what was written.
        self.position = 0
        self.tokens: list[int] = []
        self.cached = 0
        # Thoughts are among them.
        self.written = 0
        self.flow = flow()
        # Cells of others that went ahead while there were not enough for this one.
        self.overtaken = 0
        self.cancelled = False
        self.expired = False
        self.submitted_at = self.started_at = self.read_at = 0.0

    @property
    def thought(self) -> int:
        """How many of the written tokens are thoughts."""
        return self.thoughts.tokens if self.thoughts is not None else 0

    @property
    def most_written(self) -> int:
        """Tokens that it may write, with the thoughts that it has had."""
        return self.sampling.max_tokens + min(self.thought, self.sampling.thinking_tokens)

    def left(self, now: float, opening: int) -> Job:
        """What is still to be done of it."""
        if self.state is State.WRITING:
            reading = 0
        elif self.state is State.READING:
            reading = len(self.tokens) - self.position
        else:
            reading = max(0, self.prompt_tokens - opening)
        deadline = None if self.deadline is None else self.deadline - now
        return Job(reading, max(0, self.output_tokens - self.written), deadline, self.streams, self.width)

    def rows(self, most: int) -> list[Row]:
        """The next rows of it; the last of all that it has asks for logits."""
        assert self.slot is not None
        end = min(len(self.tokens), self.position + most)
        last = len(self.tokens) - 1
        return [
            Row(self.tokens[position], position, self.slot, position == last) for position in range(self.position, end)
        ]

    def completion(self, reason: FinishReason) -> Completion:
        """How it ended, once the text that was held back is out."""
        rest = self.decoder.decode(b"", True)
        if self.thoughts is not None:
            rest = self.thoughts.rest() + rest
        if rest:
            self.emit(rest)
        return Completion(
            reason,
            prompt_tokens=len(self.prompt),
            cached_tokens=self.cached,
            completion_tokens=self.written - self.thought,
            thinking_tokens=self.thought,
            queue_ms=(self.started_at - self.submitted_at) * 1000,
            prefill_ms=(self.read_at - self.started_at) * 1000,
            decode_ms=(time.monotonic() - self.read_at) * 1000,
        )
