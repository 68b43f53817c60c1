"""An honest caller beside one who wants much."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from benchmarks.harness.wire import Reply, ask, long_request, numbered, request
from benchmarks.siege.plan import Row, Siege, closed_loop, seconds, shown, statuses, text

FLOOD = 32
LONG_CHARACTERS, LONG_SPOKEN_CHARACTERS = 199_000, 19_900
ALONE_SECONDS, BESIDE_SECONDS = 8.0, 30.0
STRANGERS, STRANGERS_SECONDS = 20, 60.0
PARALLEL = 4
PATIENCE_SECONDS = 3.5
LISTENERS, BETWEEN_LISTENERS_SECONDS = 20, 1.5
HEAD_START_SECONDS = 2.0

MOST_TIMES_ALONE, MOST_SECONDS = 3.0, 0.5
MOST_REFUSAL_SECONDS = 0.3
GRACE_SECONDS = 1.0


async def beside(crowd: list[Coroutine[Any, Any, object]], honest: Callable[[], Awaitable[list[Reply]]]) -> list[Reply]:
    """What the honest caller gets once the crowd has had a head start; the crowd is ended with it."""
    tasks = [asyncio.create_task(member) for member in crowd]
    try:
        await asyncio.sleep(HEAD_START_SECONDS)
        return await honest()
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


async def extract(siege: Siege) -> list[Row]:
    """A short /extract beside one caller who always has 32 texts of 199,000 characters there."""
    openings = numbered("Bulletin")
    long_text = text("", LONG_CHARACTERS).encode()
    flooder, honest = siege.addresses.new(), siege.addresses.new()
    flood: list[Reply] = []
    with siege.service() as (service, _):

        async def honest_for(duration: float) -> list[Reply]:
            async def once() -> Reply:
                await asyncio.sleep(0.05)
                return await ask(service.port, honest, request("/extract", {"text": text(next(openings), 120)}))

            return await closed_loop(time.monotonic() + duration, once)

        async def flooding() -> None:
            while True:
                reply = await ask(service.port, flooder, long_request("/extract", next(openings), long_text))
                flood.append(reply)
                if reply.status != 200:
                    await asyncio.sleep(0.25)

        alone = await honest_for(ALONE_SECONDS)
        crowded = await beside([flooding() for _ in range(FLOOD)], lambda: honest_for(BESIDE_SECONDS))
    before, after = answered_seconds(alone), answered_seconds(crowded)
    p95, p95_alone = seconds(after, 0.95), seconds(before, 0.95)
    met = bool(after) and p95 <= MOST_SECONDS and p95 <= MOST_TIMES_ALONE * p95_alone
    p50s = f"p50 {shown(seconds(before, 0.5))} -> {shown(seconds(after, 0.5))}"
    return [
        Row(
            "short /extract beside 32 long texts of one caller: p95 alone -> beside",
            f"{shown(p95_alone)} -> {shown(p95)} ({p95 / (p95_alone or math.inf):.1f}x; {p50s})",
            f"<= {MOST_TIMES_ALONE:.0f}x alone, <= {MOST_SECONDS} s",
            met,
        ),
        Row(
            "- honest answers (alone; beside)",
            f"{statuses(alone)}; {statuses(crowded)}",
            "no refusal",
            _all_200(crowded),
        ),
        Row("- the flooder's answers", statuses(flood)),
    ]


async def summarize(siege: Siege) -> list[Row]:
    """A short /summarize beside 20 callers who would wait a day for 1,024 tokens."""
    openings = numbered("Bulletin")
    strangers, honest = siege.addresses.some(STRANGERS), siege.addresses.new()
    crowd_replies: list[Reply] = []
    with siege.service() as (service, _):

        async def ordinary(address: str) -> Reply:
            return await ask(service.port, address, request("/summarize", {"text": text(next(openings), 400)}))

        async def stranger(address: str) -> None:
            while True:
                body = {"text": text(next(openings), 400), "max_tokens": 1024}
                reply = await ask(service.port, address, request("/summarize", body, Prefer="wait=86400"), 600)
                crowd_replies.append(reply)
                if reply.status != 200:
                    await asyncio.sleep(0.25)

        until = time.monotonic() + ALONE_SECONDS
        alone = await asyncio.gather(*(closed_loop(until, lambda: ordinary(honest)) for _ in range(PARALLEL)))
        capacity = sum(reply.status == 200 for replies in alone for reply in replies) / ALONE_SECONDS

        async def honest_alone() -> list[Reply]:
            return await closed_loop(time.monotonic() + STRANGERS_SECONDS, lambda: ordinary(honest))

        replies = await beside([stranger(address) for address in strangers], honest_alone)
    answered = len(answered_seconds(replies))
    share = capacity * STRANGERS_SECONDS / (STRANGERS + 1)
    p95 = shown(seconds(answered_seconds(replies), 0.95))
    refusals = [reply.seconds for reply in [*replies, *crowd_replies] if reply.status not in (200, 0)]
    slowest = max(refusals, default=0.0)
    return [
        Row(
            "honest /summarize beside 20 callers with wait=86400 and 1,024 tokens: answered in 60 s",
            f"{answered} (alone {capacity:.1f}/s with {PARALLEL} at once; p95 {p95})",
            f">= 1/{STRANGERS + 1} of capacity: {share:.0f}",
            answered >= share,
        ),
        Row("- honest answers", statuses(replies)),
        Row("- the others' answers", statuses(crowd_replies)),
        Row(
            "- slowest refusal of anybody",
            f"{shown(slowest)} ({len(refusals)} refusals)",
            f"<= {MOST_REFUSAL_SECONDS} s",
            slowest <= MOST_REFUSAL_SECONDS,
        ),
    ]


async def audio(siege: Siege) -> list[Row]:
    """A short /audio beside one caller who always has 32 texts of 19,900 characters there."""
    openings = numbered("Bulletin")
    flooder, honest = siege.addresses.new(), siege.addresses.new()
    flood: list[Reply] = []
    with siege.service() as (service, _):

        async def flooding() -> None:
            while True:
                body = {"text": text(next(openings), LONG_SPOKEN_CHARACTERS)}
                reply = await ask(service.port, flooder, request("/audio", body), 600)
                flood.append(reply)
                if reply.status != 200:
                    await asyncio.sleep(0.25)

        async def listener(number: int) -> Reply:
            await asyncio.sleep(number * BETWEEN_LISTENERS_SECONDS)
            return await ask(service.port, honest, request("/audio", {"text": text(next(openings), 80)}), 40)

        async def listeners() -> list[Reply]:
            return await asyncio.gather(*map(listener, range(LISTENERS)))

        replies = await beside([flooding() for _ in range(FLOOD)], listeners)
    waits = [reply.first_seconds if reply.status == 200 else reply.seconds for reply in replies]
    answered = [reply.status in (200, 503) and not reply.error for reply in replies]
    bound = PATIENCE_SECONDS + GRACE_SECONDS
    good = sum(ok and wait <= bound for ok, wait in zip(answered, waits, strict=True))
    return [
        Row(
            "honest /audio beside 32 long texts of one caller: sound or 503 within patience + 1 s",
            f"{good} of {LISTENERS} (p50 {shown(seconds(waits, 0.5))}, max {shown(max(waits))})",
            "all",
            good == LISTENERS,
        ),
        Row("- honest answers; engines", f"{statuses(replies)}; {engines(replies)}"),
        Row("- the flooder's answers", statuses(flood)),
    ]


def answered_seconds(replies: list[Reply]) -> list[float]:
    return [reply.seconds for reply in replies if reply.status == 200 and not reply.error]


def engines(replies: list[Reply]) -> str:
    """Who spoke: `edge-tts: 12, espeak-ng: 3`."""
    spoken = [reply.header("x-audio-engine") for reply in replies if reply.status == 200]
    return ", ".join(f"{engine}: {spoken.count(engine)}" for engine in sorted(set(spoken))) or "nobody spoke"


def _all_200(replies: list[Reply]) -> bool:
    return all(reply.status == 200 for reply in replies)
