"""What ends a run, and what becomes of one article that cannot be done, as problem details (RFC 9457).

BatchError
├── Unusable    exit status 2   it cannot begin: arguments, the input, or OUT
└── Ended       exit status 3   it cannot go on: the disk is full, the service stays away or wants a key
"""

from enum import IntEnum
from typing import Any, ClassVar

from pydantic import ValidationError

from common.errors import FieldError, InvalidInput

Problem = dict[str, Any]

_TYPE = "urn:problem-type:factory:batch-"


class Exit(IntEnum):
    """The exit status; a run that a signal ends has 128 and the signal's number."""

    DONE = 0
    SOME_FAILED = 1
    UNUSABLE = 2
    ENDED = 3


class BatchError(Exception):
    """Raised with one sentence for each thing that is wrong; the command prints them and ends."""

    status: ClassVar[Exit]

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class Unusable(BatchError):
    status = Exit.UNUSABLE


class Ended(BatchError):
    status = Exit.ENDED


def unreadable(detail: str) -> Problem:
    """Of an article that could not be read from the input: nothing was asked about it."""
    return {"type": f"{_TYPE}unreadable", "title": "The article cannot be read", "detail": detail}


def broken(detail: str) -> Problem:
    """Of a call to which no whole answer came."""
    return {"type": f"{_TYPE}no-answer", "title": "No answer", "detail": detail}


def invalid(error: ValidationError) -> Problem:
    """As the service would answer it, without the value that is wrong: that may be an article."""
    fields = [
        FieldError(".".join(map(str, found["loc"])) or "text", found["msg"].removeprefix("Value error, "))
        for found in error.errors(include_input=False, include_url=False)
    ]
    problem = InvalidInput(fields).problem("")
    # It was not sent, so no request has an id.
    del problem["instance"]
    return problem


def sentence(problem: Problem) -> str:
    """What one line on a terminal says of it."""
    told = str(problem.get("detail") or problem.get("title") or "no reason was told")
    status = f" (HTTP {problem['status']})" if "status" in problem and "instance" in problem else ""
    return " ".join(told.split()) + status
