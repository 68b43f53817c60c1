"""What a scenario gets and what it gives: the service to besiege, and rows of the table."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.audio.cloud import Cloud
from benchmarks.harness.service import Service
from benchmarks.harness.statistics import percentile
from benchmarks.harness.wire import Addresses, Reply
from benchmarks.siege.service import running

# Of the speech cloud: when its first sound comes, and how many times faster than it plays the sound is sent.
FIRST_SOUND_SECONDS, PACE = 0.3, 8.0
# What a caller waits before the next request, so that a refusal at once is not asked for a thousand times a second.
PAUSE_SECONDS = 0.25

SENTENCES = (
    "The council met on Tuesday and voted for a new library near the old harbour.",
    "Angela Merkel and Tim Cook spoke in Paris about the plans of Nokia and Apple Inc. for the coming year.",
    "Residents had asked for a place to read since the last branch in Helsinki closed in 2019.",
    "The mayor said that the plan would cost 14 million euros, most of it from the state.",
)


@dataclass(frozen=True)
class Row:
    """One line of the table; `met` is None where there is nothing to meet."""

    what: str
    measured: str
    target: str = ""
    met: bool | None = None


@dataclass
class Siege:
    root: Path
    name: str
    one_address: bool
    settings: Sequence[str]
    addresses: Addresses

    @contextmanager
    def service(
        self,
        *settings: str,
        first_sound_seconds: float = FIRST_SOUND_SECONDS,
        pace: float = PACE,
        descriptors: int | None = None,
    ) -> Iterator[tuple[Service, Cloud]]:
        """The service in front of a healthy cloud."""
        with (
            Cloud(handshake_seconds=first_sound_seconds, pace=pace, keep_turns=20) as cloud,
            running(self.root, self.name, cloud.url, [*settings, *self.settings], descriptors) as service,
        ):
            yield service, cloud


Scenario = Callable[[Siege], Awaitable[list[Row]]]


def text(opening: str, characters: int) -> str:
    """So many characters of news, that begin with `opening`."""
    sentences = " ".join(SENTENCES)
    return (opening + " ".join([sentences] * (1 + characters // len(sentences))))[:characters]


async def closed_loop(until: float, ask_next: Callable[[], Awaitable[Reply]]) -> list[Reply]:
    """One request after another until `until` (`time.monotonic`), with a pause after each that was refused."""
    replies: list[Reply] = []
    while time.monotonic() < until:
        reply = await ask_next()
        replies.append(reply)
        if reply.status != 200:
            await asyncio.sleep(PAUSE_SECONDS)
    return replies


def statuses(replies: Iterable[Reply]) -> str:
    """`200: 17, 503: 4, TimeoutError: 1`."""
    counts: dict[str, int] = {}
    for reply in replies:
        kind = str(reply.status) if not reply.error else f"{reply.status or ''} {reply.error}".strip()
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{kind}: {counts[kind]}" for kind in sorted(counts)) or "none"


def seconds(values: Iterable[float], share: float) -> float:
    return percentile(values, share) or 0.0


def shown(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
