"""A call until it is answered or given up: what may be tried again is, and not before the service has said."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Generic, TypeVar

import httpx2
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from batch.errors import Ended, Problem, broken, sentence
from batch.slots import Slots
from batch.tally import Tally

Taken = TypeVar("Taken")

# With these a service says that it has no room now, or not for this caller.
REFUSALS = frozenset({429, 503})
# Behind these may be a moment's trouble.
TRANSIENT = frozenset({408, 500, 502, 504})
# What is wrong with one call here is wrong with all of them.
HOPELESS = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 405})
# Of one call: so often it is refused, and so often something goes wrong with it, until it is given up.
MOST_REFUSALS, MOST_TRIES = 60, 4
LONGEST_BACK_OFF_SECONDS = 20.0
# So long Retry-After is believed.
LONGEST_PAUSE_SECONDS = 600.0
# Of a model that is being downloaded it is no news that nothing is answered yet.
LOADING = frozenset({"downloading", "loading"})

_back_off = wait_random_exponential(multiplier=0.5, max=LONGEST_BACK_OFF_SECONDS)


class Failed(Exception):
    """Nothing more comes of this call."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(sentence(problem))
        self.problem = problem


class Again(Failed):
    """It may be tried again. `retry_after`: seconds that the service has named. `is_away`: nobody answers there."""

    def __init__(self, problem: Problem, retry_after: float | None = None, *, is_away: bool = False) -> None:
        super().__init__(problem)
        self.retry_after = retry_after
        self.is_away = is_away

    @property
    def is_refusal(self) -> bool:
        return self.problem.get("status") in REFUSALS


@dataclass(frozen=True)
class Call(Generic[Taken]):
    """`take` reads the answer and may raise Failed; `work` is how much is got done by it, for the limiter."""

    path: str
    body: bytes
    headers: dict[str, str]
    work: float
    take: Callable[[httpx2.Response], Awaitable[Taken]]


class Service:
    """What is called. Raises Ended when nothing has been answered for `patience_seconds`."""

    def __init__(self, http: httpx2.AsyncClient, tally: Tally, patience_seconds: float) -> None:
        self._http = http
        self._tally = tally
        self._patience_seconds = patience_seconds
        self._in_vain_since: float | None = None

    async def ask(self, slots: Slots, began_at: float, call: Call[Taken]) -> Taken:
        """What is taken of the answer. The first try is the turn that began at `began_at`. Raises Failed."""
        refusals = tries = 0

        def is_over(state: RetryCallState) -> bool:
            nonlocal refusals, tries
            error = _error(state)
            refusals += error.is_refusal
            tries += not (error.is_refusal or error.is_away)
            return refusals >= MOST_REFUSALS or tries >= MOST_TRIES

        def pause(state: RetryCallState) -> float:
            error = _error(state)
            seconds = _back_off(state) if error.retry_after is None else error.retry_after
            if error.is_refusal or error.is_away:
                slots.pause(seconds)
                return 0.0
            return seconds

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Again), stop=is_over, wait=pause, sleep=_sleep, reraise=True
        )
        async for attempt in retrying:
            with attempt:
                if attempt.retry_state.attempt_number > 1:
                    self._tally.again += 1
                    began_at = await slots.take(again=True)
                return await self._try(slots, began_at, call)
        raise AssertionError("tenacity ends with an answer or an error")

    async def _try(self, slots: Slots, began_at: float, call: Call[Taken]) -> Taken:
        self._tally.calls += 1
        is_refused, done = False, 0.0
        try:
            taken = await self._answer(call)
            self._in_vain_since = None
            done = call.work
            return taken
        except Again as error:
            is_refused = error.is_refusal
            self._tally.refused += is_refused
            self._wait_on(error)
            raise
        finally:
            if is_refused:
                slots.limiter.refused(began_at)
            elif done:
                slots.limiter.answered(done)
            else:
                slots.limiter.failed()
            # Not now: who was refused takes its place at the head of those who wait first.
            asyncio.get_running_loop().call_soon(slots.wake)

    async def _answer(self, call: Call[Taken]) -> Taken:
        try:
            async with self._http.stream("POST", call.path, content=call.body, headers=call.headers) as response:
                if response.status_code == HTTPStatus.OK:
                    return await call.take(response)
                raise await _refused(response)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise Again(broken(f"the service cannot be reached: {error}"), is_away=True) from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise Again(broken(f"the answer broke off: {error or type(error).__name__}")) from None

    def _wait_on(self, error: Again) -> None:
        if error.problem.get("state") in LOADING:
            return
        now = time.monotonic()
        if self._in_vain_since is None:
            self._in_vain_since = now
        elif now - self._in_vain_since > self._patience_seconds:
            waited = f"nothing was answered for {self._patience_seconds:.0f} s"
            raise Ended(f"{waited}, the last was: {error}; what is done is kept, start again later") from None


async def json_of(response: httpx2.Response) -> dict[str, object]:
    try:
        answer = json.loads(await response.aread())
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Failed(broken("the answer is no JSON object: is a Factory at this address?"))
    return answer


async def _refused(response: httpx2.Response) -> Exception:
    """What an answer other than 200 means."""
    problem = await _problem(response)
    if response.status_code in HOPELESS:
        where = response.headers.get("location")
        told = f"{response.request.url} leads to {where}: give that as --url" if where else sentence(problem)
        return Ended(f"{response.request.url.path}: {told}")
    if response.status_code in REFUSALS | TRANSIENT:
        return Again(problem, _retry_after(response))
    return Failed(problem)


async def _problem(response: httpx2.Response) -> Problem:
    status = response.status_code
    with suppress(ValueError):
        problem = json.loads(await response.aread())
        if isinstance(problem, dict) and "title" in problem:
            return {**problem, "status": status}
    phrase = response.reason_phrase or "unknown"
    return {"type": "about:blank", "title": phrase, "status": status, "detail": f"HTTP {status} {phrase}"}


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds, of a number or a date (RFC 9110, 10.2.3)."""
    told = response.headers.get("retry-after", "").strip()
    if told.isascii() and told.isdecimal():
        return min(float(told[:9]), LONGEST_PAUSE_SECONDS)
    try:
        seconds = (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None
    return min(max(0.0, seconds), LONGEST_PAUSE_SECONDS)


async def _sleep(seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)


def _error(state: RetryCallState) -> Again:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, Again)
    return error
