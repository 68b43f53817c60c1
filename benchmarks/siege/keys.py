"""Callers who share one address and are told apart by their keys: one who wants much, one who wants little."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from benchmarks.harness.service import Service
from benchmarks.harness.wire import Reply, ask, numbered, request
from benchmarks.siege.neighbours import answered_seconds, beside
from benchmarks.siege.plan import PAUSE_SECONDS, Row, Siege, closed_loop, seconds, shown, statuses, text

CROWD, PARALLEL = 32, 16
ALONE_SECONDS, BESIDE_SECONDS = 5.0, 12.0
BETWEEN_SECONDS, TOKENS = 0.2, 30
WEIGHT = 3.0
# So many of a caller's requests may wait; with fewer the crowd would be refused.
SETTINGS = ("SUMMARIZE__MAX_WAITING=128",)
MOST_SHARE_OF_CROWDS = 0.5
LEAST_RATIO, MOST_RATIO = 2.4, 3.6

KEYS = {name: f"{name}-0123456789abcdef" for name in ("crowd", "desk", "heavy")}
KEY_SETTINGS = (
    "API_KEYS=" + ",".join(f"{name}:{key}" for name, key in KEYS.items()),
    f"API_KEY_WEIGHTS=heavy={WEIGHT:g}",
)

Ask = Callable[[str], Awaitable[Reply]]


async def keys(siege: Siege) -> list[Row]:
    """/summarize: `desk` asks now and then beside 32 requests of `crowd`; `heavy`, of weight 3, asks as much as it."""
    with siege.service(*SETTINGS) as (service, _):
        open_crowd, open_desk = await _beside_the_crowd(_asking(siege, service, with_keys=False))
    with siege.service(*SETTINGS, *KEY_SETTINGS) as (service, _):
        asking = _asking(siege, service, with_keys=True)
        alone = await _now_and_then(asking, ALONE_SECONDS)
        crowd, desk = await _beside_the_crowd(asking)
        heavy, light = await _side_by_side(asking, "heavy", "crowd")
    crowds, desks = (seconds(answered_seconds(replies), 0.5) for replies in (crowd, desk))
    ratio = len(answered_seconds(heavy)) / max(1, len(answered_seconds(light)))
    return [
        Row("desk alone: wait p50, p95", _waits(alone)),
        Row("without keys, all of one address: crowd's wait p50, p95", _waits(open_crowd)),
        Row("- desk's", _waits(open_desk)),
        Row("with keys: crowd's wait p50, p95", _waits(crowd)),
        Row(
            "- desk's",
            _waits(desk),
            f"p50 <= {MOST_SHARE_OF_CROWDS:.0%} of crowd's",
            bool(desk) and desks <= MOST_SHARE_OF_CROWDS * crowds,
        ),
        Row("- desk's answers", statuses(desk), "no refusal", all(reply.status == 200 for reply in desk)),
        Row(f"heavy (weight {WEIGHT:g}) beside crowd, {PARALLEL} each: heavy's wait p50, p95", _waits(heavy)),
        Row("- crowd's", _waits(light)),
        Row(
            "- answered, heavy to crowd",
            f"{len(answered_seconds(heavy))} to {len(answered_seconds(light))} ({ratio:.2f})",
            f"{LEAST_RATIO} to {MOST_RATIO}",
            LEAST_RATIO <= ratio <= MOST_RATIO,
        ),
    ]


def _asking(siege: Siege, service: Service, *, with_keys: bool) -> Ask:
    """One short summary for the name of a key, all of one address."""
    openings = numbered("Bulletin")
    address = siege.addresses.new()

    async def asking(name: str) -> Reply:
        body = {"text": text(next(openings), 400), "max_tokens": TOKENS}
        chunks = request("/summarize", body, X_API_Key=KEYS[name]) if with_keys else request("/summarize", body)
        return await ask(service.port, address, chunks)

    return asking


async def _now_and_then(asking: Ask, duration: float) -> list[Reply]:
    async def once() -> Reply:
        await asyncio.sleep(BETWEEN_SECONDS)
        return await asking("desk")

    return await closed_loop(time.monotonic() + duration, once)


async def _beside_the_crowd(asking: Ask) -> tuple[list[Reply], list[Reply]]:
    crowd: list[Reply] = []
    desk = await beside(_always(asking, "crowd", CROWD, crowd), lambda: _now_and_then(asking, BESIDE_SECONDS))
    return crowd, desk


async def _side_by_side(asking: Ask, one: str, other: str) -> tuple[list[Reply], list[Reply]]:
    """What each is answered within the time: what is still under way at its end would be as much for both."""
    of_one: list[Reply] = []
    of_other: list[Reply] = []
    crowds = [*_always(asking, one, PARALLEL, of_one), *_always(asking, other, PARALLEL, of_other)]

    async def nobody() -> list[Reply]:
        await asyncio.sleep(BESIDE_SECONDS)
        return []

    await beside(crowds, nobody)
    return of_one, of_other


def _always(asking: Ask, name: str, count: int, replies: list[Reply]) -> list[Coroutine[Any, Any, object]]:
    async def member() -> None:
        while True:
            reply = await asking(name)
            replies.append(reply)
            if reply.status != 200:
                await asyncio.sleep(PAUSE_SECONDS)

    return [member() for _ in range(count)]


def _waits(replies: list[Reply]) -> str:
    waits = answered_seconds(replies)
    return f"{shown(seconds(waits, 0.5))}, {shown(seconds(waits, 0.95))} ({len(waits)} answered)"
