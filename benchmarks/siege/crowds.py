"""More at once than can be served: of a cloud that is healthy, of a model."""

import asyncio
import random
import time

from benchmarks.harness.wire import Reply, ask, long_request, numbered, request
from benchmarks.siege.neighbours import engines
from benchmarks.siege.plan import Row, Siege, closed_loop, seconds, shown, statuses, text
from benchmarks.siege.service import probing

LISTENERS, DURATION_SECONDS = 200, 30.0
# Of what the listeners want to hear: half a minute is 500 characters.
FEWEST_CHARACTERS, MOST_CHARACTERS = 80, 1500
SLOW_CLOUD_SECONDS = 1.1
ARTICLES, ARTICLE_CHARACTERS = 300, 199_000
HEAD_START_SECONDS = 0.5
MOST_ANSWER_SECONDS, MOST_REFUSAL_SECONDS = 2.0, 0.5


async def overload(siege: Siege) -> list[Row]:
    """200 listeners, more than there are places for, and a cloud that does all it is asked."""
    openings, lengths = numbered("Bulletin"), random.Random(1)
    with siege.service() as (service, _):

        async def listener(address: str) -> list[Reply]:
            async def once() -> Reply:
                body = {"text": text(next(openings), lengths.randint(FEWEST_CHARACTERS, MOST_CHARACTERS))}
                return await ask(service.port, address, request("/audio", body), 60)

            await asyncio.sleep(lengths.uniform(0, 1))
            return await closed_loop(time.monotonic() + DURATION_SECONDS, once)

        with probing(service) as health:
            found = await asyncio.gather(*map(listener, siege.addresses.some(LISTENERS)))
    replies = [reply for one in found for reply in one]
    spoken = engines(replies)
    refusals = [reply.seconds for reply in replies if reply.status == 503]
    return [
        Row(
            f"{LISTENERS} listeners for {DURATION_SECONDS:.0f} s, healthy cloud: who spoke",
            spoken,
            "never another voice",
            "espeak" not in spoken and "piper" not in spoken and "edge-tts" in spoken,
        ),
        Row(
            "- the breaker",
            "opened" if health.breaker_opened else "stayed closed",
            "stays closed",
            not health.breaker_opened,
        ),
        Row("- answers", f"{statuses(replies)}; slowest 503 {shown(max(refusals, default=0.0))}"),
        Row("- /health meanwhile", health.told()),
    ]


async def impatient(siege: Siege) -> list[Row]:
    """Three callers who wait a second for a cloud that takes a little longer, and then one who waits."""
    openings = numbered("Bulletin")
    with siege.service(first_sound_seconds=SLOW_CLOUD_SECONDS) as (service, _), probing(service) as health:
        hasty: list[Reply] = []
        for address in siege.addresses.some(3):
            body = {"text": text(next(openings), 80)}
            hasty.append(await ask(service.port, address, request("/audio", body, Prefer="wait=1")))
        body = {"text": text(next(openings), 80)}
        after = await ask(service.port, siege.addresses.new(), request("/audio", body))
    spoken = engines([after])
    return [
        Row(
            f"three with `Prefer: wait=1`, cloud of {SLOW_CLOUD_SECONDS} s: the breaker, and who speaks next",
            f"{'opened' if health.breaker_opened else 'stayed closed'}; {spoken}",
            "stays closed; edge-tts",
            not health.breaker_opened and "edge-tts" in spoken,
        ),
        Row("- what the three got", f"{statuses(hasty)}; {engines(hasty)}"),
    ]


async def articles(siege: Siege) -> list[Row]:
    """300 articles of 199,000 characters at once, and a short one behind them."""
    openings = numbered("Bulletin")
    long_text = text("", ARTICLE_CHARACTERS).encode()
    crowd, honest = siege.addresses.new(), siege.addresses.new()
    with siege.service() as (service, _):
        with probing(service) as health:
            tasks = [
                asyncio.create_task(ask(service.port, crowd, long_request("/summarize", next(openings), long_text)))
                for _ in range(ARTICLES)
            ]
            await asyncio.sleep(HEAD_START_SECONDS)
            short = await ask(service.port, honest, request("/summarize", {"text": text(next(openings), 400)}))
            replies = await asyncio.gather(*tasks)
        lives = service.lives
    refusals = [reply.seconds for reply in replies if reply.status == 503]
    return [
        Row(
            f"{ARTICLES} articles of {ARTICLE_CHARACTERS:,} characters at once: a short one's answer or 503",
            f"{short.status or short.error} after {shown(short.seconds)}",
            f"200 within {MOST_ANSWER_SECONDS:.0f} s, or 503 at once",
            lives and short.seconds <= {200: MOST_ANSWER_SECONDS, 503: MOST_REFUSAL_SECONDS}.get(short.status, 0.0),
        ),
        Row(
            "- the 300",
            f"{statuses(replies)}; 503 p50 {shown(seconds(refusals, 0.5))}, max {shown(max(refusals, default=0.0))}",
        ),
        Row("- /health meanwhile", health.told()),
    ]
