"""What comes of a request: a place, pieces of the summary, and the whole answer at last."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Literal

from functions.summarize.schemas import SummarizeResponse


@dataclass(frozen=True)
class Accepted:
    """The first output: the request has a place. The next output may take a while."""


@dataclass(frozen=True)
class Status:
    """How far it is before the first word, by the name of the model that is to write.

    `place`: among those that wait, from 1 on. `tokens`: of the prompt, without what is read already for all; `read`:
    how many of these are read. `seconds`: until it is begun or read, by what was measured; None where nothing was.
    """

    state: Literal["waiting", "reading", "thinking", "writing"]
    model: str
    place: int | None = None
    tokens: int | None = None
    read: int | None = None
    seconds: float | None = None

    def told(self) -> dict[str, str | float]:
        """What is known of it, as the members of a JSON object."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Answer:
    """The last output, with the milliseconds of the phases, and what the log tells of it.

    Its `read` counts from the first character of the article that is no white space.
    `passing`: other requests, the deadline or a model that is not loaded yet made it another one than it would be at
    another time.
    """

    response: SummarizeResponse
    phases: dict[str, float] = field(default_factory=dict)
    passing: bool = False
    notes: dict[str, str] = field(default_factory=dict)


# A str is a part of the summary, as it is written.
Output = Accepted | Status | str | Answer
Keep = Callable[[Answer], None]
