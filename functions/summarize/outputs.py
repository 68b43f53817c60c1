"""What comes of a request: a place, pieces of the summary, and the whole answer at last."""

from collections.abc import Callable
from dataclasses import dataclass, field

from functions.summarize.schemas import SummarizeResponse


@dataclass(frozen=True)
class Accepted:
    """The first output: the request has a place. The next output may take a while."""


@dataclass(frozen=True)
class Answer:
    """The last output, with the milliseconds of the phases, and what the log tells of it.

    `passing`: other requests, the deadline or a model that is not loaded yet made it another one than it would be at
    another time.
    """

    response: SummarizeResponse
    phases: dict[str, float] = field(default_factory=dict)
    passing: bool = False
    notes: dict[str, str] = field(default_factory=dict)


# A str is a part of the summary, as it is written.
Output = Accepted | str | Answer
Keep = Callable[[Answer], None]
