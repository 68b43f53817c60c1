"""The four calls of the README on a machine that does nothing else, beside another checkout if one is given."""

import contextlib
import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness.service import Service
from benchmarks.harness.statistics import in_turns
from benchmarks.harness.wire import Chunks, KeptAlive, numbered, request
from benchmarks.siege.plan import Row, Siege

CALLS, ROUNDS = 200, 5
MOST_TIMES = 1.05

LIBRARY = (
    "The city council voted on Tuesday to build a new library on the old harbour. Construction will begin next spring "
    "and is expected to take two years. Residents had asked for a place to read since the last branch closed in 2019. "
    "The mayor said the plan would cost 14 million euros."
)
APPLE = "Apple Inc. announced that Tim Cook will visit Paris."
LABELS = ["Person", "Organization", "Location"]

# Each text begins in its own way: nothing is answered from what was kept.
CALLED: dict[str, Callable[[str], Chunks]] = {
    "POST /summarize": lambda opening: request(
        "/summarize", {"text": opening + LIBRARY, "max_tokens": 150, "temperature": 0}, keep_alive=True
    ),
    "POST /extract": lambda opening: request("/extract", {"text": opening + APPLE, "labels": LABELS}, keep_alive=True),
    "POST /audio": lambda opening: request(
        "/audio", {"text": opening + "Hello world", "voice": "en-US-ChristopherNeural"}, keep_alive=True
    ),
    "GET /health": lambda _: request("/health", keep_alive=True),
}


async def idle(siege: Siege, against: Path | None) -> list[Row]:
    """p50 of each call; the sides take turns, so that both meet the same weather."""
    roots = {"before": against, "now": siege.root} if against else {"now": siege.root}
    taken: dict[tuple[str, str], list[float]] = {(side, call): [] for side in roots for call in CALLED}
    openings = numbered("Bulletin")
    with contextlib.ExitStack() as stack:
        services: dict[str, Service] = {}
        for side, root in roots.items():
            assert root is not None
            other = Siege(root, f"{siege.name}-{side}", siege.one_address, siege.settings, siege.addresses)
            services[side], _ = stack.enter_context(other.service(first_sound_seconds=0.0, pace=0.0))
        for number in range(ROUNDS + 1):
            for call, make in CALLED.items():
                # Whoever is first in one round is second in the next.
                for side in in_turns(roots, number):
                    measured = await _calls(services[side], siege.addresses.new(), call, make, next(openings))
                    # The first round is the warm-up.
                    taken[side, call] += measured if number else []
    return [_row(call, taken, "before" in roots) for call in CALLED]


async def _calls(service: Service, address: str, call: str, make: Callable[[str], Chunks], opening: str) -> list[float]:
    connection = await KeptAlive.open(service.port, address)
    try:
        replies = [await connection.ask(make(f"{opening}{number}. ")) for number in range(CALLS // ROUNDS)]
    finally:
        connection.close()
    if wrong := [reply for reply in replies if reply.status != 200]:
        raise RuntimeError(f"{call}: {wrong[0].head}")
    return [reply.seconds for reply in replies]


def _row(call: str, taken: dict[tuple[str, str], list[float]], compared: bool) -> Row:
    now = statistics.median(taken["now", call]) * 1000
    if not compared:
        return Row(f"{call} on an idle machine: p50", f"{now:.2f} ms")
    before = statistics.median(taken["before", call]) * 1000
    return Row(
        f"{call} on an idle machine: p50 before -> now",
        f"{before:.2f} -> {now:.2f} ms ({now / before - 1:+.1%})",
        f"<= {MOST_TIMES - 1:+.0%}",
        now <= MOST_TIMES * before,
    )
