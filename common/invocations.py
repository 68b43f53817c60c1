"""Direct invocations of a function: one item, or a batch as Step Functions' ItemBatcher sends it.

A batch is `Items`, with the fields that are the same for all in `BatchInput`. Its answer is the list of their results,
in their order. A state machine cannot join lists or count in them, so one that goes on with what is not done sends
`Results` as well, what an invocation before has answered, at first an empty list. Then the answer has all results, and
how many are not done: it sends the same again with these, until none is left.
"""

import asyncio
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp

from common.errors import AnswerTooLarge, FactoryError, FieldError, InvalidInput, NotDone, OutOfTime, Unavailable
from common.http.deadlines import LAMBDA_MARGIN_SECONDS, MAX_SECONDS
from common.http.direct import ask
from common.items import JSON, Direct, Result, name_of, problem, size_of
from common.logs import unexpected

# What Step Functions takes between two states: https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
BATCH_BYTES = 262_144
# Of that for what the state machine keeps beside items, fields and results.
STATE_BYTES = 4096
# Kept free for each item that has no result yet: its problem, should there be no room for its answer.
PROBLEM_BYTES = 512
# When an item is given up: after the service's own deadline, and before Lambda ends the process.
LAST_SECONDS = LAMBDA_MARGIN_SECONDS / 2
# Statuses of what can be had by asking again: limits, no time or no model yet, and items that are not done.
AGAIN = (429, 503)
AGAIN_SECONDS = 5.0


@dataclass
class Pace:
    """How long items took that were measured in this process: the slowest of the last invocation that had any.

    `seconds` are those that one takes alone: of several at work at the same time, each has its share of the CPUs.
    """

    seconds: float | None = None
    size: int = 1

    def expected(self, size: int, others: int) -> float | None:
        """Seconds for an item of so many bytes beside `others`: no less than the slowest one, more if it is larger.

        None: nothing was measured.
        """
        return None if self.seconds is None else self.seconds * max(1.0, size / self.size) * (others + 1)

    def add(self, seconds: float, size: int, others: float) -> None:
        """An item took so long, beside so many others on average."""
        alone = seconds / (others + 1)
        if self.seconds is None or alone > self.seconds:
            self.seconds, self.size = alone, size


@dataclass(frozen=True)
class Invocation:
    """One direct invocation. `context` is AWS Lambda's, or None; `most_bytes` may an answer to one item have."""

    app: ASGIApp
    direct: Direct
    context: Any
    most_bytes: int

    @property
    def id(self) -> str:
        return str(getattr(self.context, "aws_request_id", "direct"))

    def left(self) -> float:
        """Seconds until Lambda ends it; infinity: it does not."""
        return math.inf if self.context is None else self.context.get_remaining_time_in_millis() / 1000

    async def one(self, event: dict[str, Any]) -> Result:
        """The result of the one item that the event is."""
        asked = {name: value for name, value in event.items() if name != "id"}
        result = await self.ask(name_of(event), asked, self.id)
        if (size := size_of(result)) > self.most_bytes:
            error = AnswerTooLarge(f"the answer would have {size} bytes, and may have {self.most_bytes}: use HTTP")
            return problem(result["id"], error, self.id)
        return result

    async def ask(self, name: Any, fields: dict[str, Any], request_id: str) -> Result:
        """The answer or the problem details of one item, whatever happens to it."""
        headers = {"content-type": JSON, "accept": f"{JSON}, */*;q=0.5", "x-request-id": request_id}
        if 1 <= (wait := self.left() - LAMBDA_MARGIN_SECONDS) < MAX_SECONDS:
            # Nobody reads along: what needs the time may have all of it.
            headers["prefer"] = f"wait={int(wait)}"
        try:
            body = json.dumps(fields).encode()
            answer = await ask(self.app, self.direct.path, body, headers, self.context)
            return await self.direct.result(name, body, answer)
        except FactoryError as error:
            return problem(name, error, request_id)
        except Exception:
            return problem(name, unexpected(), request_id)


@dataclass
class Batch:
    """The items of one invocation, several at a time."""

    invocation: Invocation
    items: list[Any]
    shared: dict[str, Any]
    results: list[Result | None]
    pace: Pace
    measured: Pace = field(default_factory=Pace)
    begun: int = 0
    at_work: int = 0
    finished: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @classmethod
    def of(cls, event: dict[str, Any], invocation: Invocation, pace: Pace) -> "Batch":
        """Raises InvalidInput for an event that is none."""
        items, shared, before = event["Items"], event.get("BatchInput") or {}, event.get("Results") or []
        for name, value, kind in (("Items", items, list), ("BatchInput", shared, dict), ("Results", before, list)):
            if not isinstance(value, kind):
                raise InvalidInput([FieldError(name, f"must be {'an object' if kind is dict else 'a list'}")])
        if before and len(before) != len(items):
            raise InvalidInput([FieldError("Results", f"has {len(before)} of {len(items)} items")])
        kept = [None if may_come_again(result) else result for result in before] or [None] * len(items)
        return cls(invocation, items, shared, kept, pace)

    async def answer(self) -> list[Result]:
        """The result of every item, in their order."""
        missing = [number for number, result in enumerate(self.results) if result is None]
        waiting = iter(missing)
        lanes = min(len(missing), self.invocation.direct.at_a_time())
        await asyncio.gather(*(self._lane(waiting) for _ in range(lanes)))
        if self.measured.seconds is not None:
            self.pace.seconds, self.pace.size = self.measured.seconds, self.measured.size
        return [result for result in self.results if result is not None]

    async def progress(self) -> dict[str, Any]:
        """The same, and how many are not done. Raises Unavailable where none could be: another time, all can."""
        results = await self.answer()
        left = [result for result in results if may_come_again(result)]
        if left and not self.finished:
            detail = left[0]["problem"]["detail"]
            raise Unavailable(f"none of {len(left)} items could be done; of the first: {detail}", AGAIN_SECONDS)
        return {"Results": results, "NotDone": len(left)}

    async def _lane(self, waiting: Iterator[int]) -> None:
        for number in waiting:
            result = await self._result(number)
            if not may_come_again(result):
                result = self._fitting(result)
                self.finished += 1
            self.results[number] = result

    async def _result(self, number: int) -> Result:
        name, request_id = name_of(self.items[number]), f"{self.invocation.id}-{number}"
        try:
            fields = self.invocation.direct.row(self.items[number], self.shared)
        except FactoryError as error:
            return problem(name, error, request_id)
        size = size_of(fields)
        if not await self._may_begin(size):
            return problem(name, NotDone("the time of the invocation is used up", AGAIN_SECONDS), request_id)
        is_first, before = not self.begun, self.at_work
        self.begun, self.at_work = self.begun + 1, self.at_work + 1
        begun, until = time.monotonic(), self.invocation.left() - LAST_SECONDS
        # In a task of its own: each item has its own line in the log.
        asked = asyncio.create_task(self.invocation.ask(name, fields, request_id))
        try:
            async with asyncio.timeout(None if until == math.inf else until):
                result = await asked
        except TimeoutError:
            if is_first:
                return problem(name, OutOfTime("it takes longer than the function may take"), request_id)
            return problem(name, NotDone("it was not done when the invocation had to end", AGAIN_SECONDS), request_id)
        finally:
            self.at_work -= 1
            async with self.changed:
                self.changed.notify_all()
        if "answer" in result:
            self.measured.add(time.monotonic() - begun, size, (before + self.at_work) / 2)
        return result

    async def _may_begin(self, size: int) -> bool:
        """Whether there is time for an item of so many bytes, now or when one of those at work has ended.

        The first one may always begin, so that every invocation brings the batch on. Until one was measured, there is
        one at a time.
        """
        while self.begun:
            expected = self.measured.expected(size, self.at_work) or self.pace.expected(size, self.at_work)
            is_known, left = expected is not None, self.invocation.left() - LAMBDA_MARGIN_SECONDS
            if (is_known or not self.at_work) and (expected or 0.0) < left:
                return True
            if not self.at_work:
                return False
            async with self.changed:
                await self.changed.wait()
        return True

    def _fitting(self, result: Result) -> Result:
        """The result if there is room for it beside the others and what is to come."""
        sizes = [PROBLEM_BYTES if one is None else size_of(one) for one in self.results]
        beside = size_of(self.items) + size_of(self.shared) + STATE_BYTES + sum(sizes) - PROBLEM_BYTES
        if (size := size_of(result)) <= max(PROBLEM_BYTES, BATCH_BYTES - beside):
            return result
        detail = f"the answer has {size} bytes, too many for Step Functions: {self.invocation.direct.too_large}"
        return problem(result["id"], AnswerTooLarge(detail), self.invocation.id)


def may_come_again(result: Any) -> bool:
    """Whether this is no result yet: asking again may bring one."""
    found = result.get("problem") if isinstance(result, dict) else None
    return isinstance(found, dict) and found.get("status") in AGAIN
