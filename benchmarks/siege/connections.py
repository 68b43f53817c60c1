"""Clients who hold on to what they have: connections on which nothing happens, answers that they do not take."""

import asyncio
import math
import time
from contextlib import suppress

from benchmarks.harness.wire import ask, ask_and_read_slowly, connect, numbered, request
from benchmarks.siege.plan import Row, Siege, seconds, shown, text
from benchmarks.siege.service import probing

DESCRIPTORS, CONNECTIONS = 256, 280
WATCHED_SECONDS, BETWEEN_BYTES_SECONDS = 40.0, 1.0
MOST_OPEN_SECONDS = 15.0
MOST_HEALTH_SECONDS, MOST_LOG_BYTES = 0.2, 100_000
SLOW_LISTENERS, LISTENER_CHARACTERS, LISTENING_SECONDS, AFTER_SECONDS = 120, 19_900, 15.0, 20.0
MEGABYTE = 1e6

SILENT, HEADERS, BODY = "silent", "headers a byte a second", "a body a byte a second"
SENT = {
    SILENT: b"",
    HEADERS: b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"a" * 200,
    BODY: b"POST /extract HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 200\r\n\r\n"
    + b" " * 200,
}


async def hold(port: int, address: str, kind: str, until: float) -> float:
    """Seconds until the service closed the connection; infinite where it did not."""
    data = SENT[kind]
    at = data.find(b"\r\n\r\n") + 4 if kind == BODY else 20 if data else 0
    begun = time.monotonic()
    try:
        reader, writer = await connect(port, address)
    except OSError:
        return time.monotonic() - begun
    closed = asyncio.create_task(reader.read())
    try:
        writer.write(data[:at])
        while time.monotonic() < until:
            done, _ = await asyncio.wait([closed], timeout=BETWEEN_BYTES_SECONDS)
            if done:
                return time.monotonic() - begun
            writer.write(data[at : at + 1])
            at += 1
        return math.inf
    finally:
        closed.cancel()
        with suppress(OSError, asyncio.CancelledError):
            await closed
        writer.close()


async def idle_connections(siege: Siege) -> list[Row]:
    """280 connections that say nothing or a byte a second, to a process that may have 256 descriptors."""
    kinds = [list(SENT)[number % len(SENT)] for number in range(CONNECTIONS)]
    with siege.service(descriptors=DESCRIPTORS) as (service, _):
        log_bytes = service.log.stat().st_size
        with probing(service) as health:
            until = time.monotonic() + WATCHED_SECONDS
            held = [hold(service.port, siege.addresses.new(), kind, until) for kind in kinds]
            open_seconds = await asyncio.gather(*held)
        after = await ask(service.port, siege.addresses.new(), request("/health"), 10)
        log_bytes = service.log.stat().st_size - log_bytes
    rows = [
        Row(
            f"{CONNECTIONS} idle connections, {DESCRIPTORS} descriptors: /health meanwhile",
            health.told(),
            f"answered, <= {MOST_HEALTH_SECONDS * 1000:.0f} ms",
            not health.lost and health.share(0.99) <= MOST_HEALTH_SECONDS,
        )
    ]
    for kind in SENT:
        mine = [value for value, its in zip(open_seconds, kinds, strict=True) if its == kind]
        closed = [value for value in mine if value < math.inf]
        never = len(mine) - len(closed)
        told = f"p50 {shown(seconds(closed, 0.5))}, max {shown(max(closed))}" if closed else "never"
        target = f"all within {MOST_OPEN_SECONDS:.0f} s"
        met = not never and max(closed) <= MOST_OPEN_SECONDS
        rows.append(
            Row(f"- closed: {kind}", f"{told}; {never} of {len(mine)} not in {WATCHED_SECONDS:.0f} s", target, met)
        )
    rows.append(Row("- /health afterwards", str(after.status or after.error), "200", after.status == 200))
    rows.append(Row("- log, bytes", f"{log_bytes:,}", f"<= {MOST_LOG_BYTES:,}", log_bytes <= MOST_LOG_BYTES))
    return rows


async def deaf_listeners(siege: Siege) -> list[Row]:
    """120 listeners of recordings of 7 MB who read nothing of them."""
    openings = numbered("Bulletin")
    with siege.service(pace=0.0, first_sound_seconds=0.0) as (service, _):
        await ask(service.port, siege.addresses.new(), request("/audio", {"text": next(openings)}))
        before = service.rss()
        service.forget_peak()

        async def deaf(address: str) -> None:
            chunks = request("/audio", {"text": text(next(openings), LISTENER_CHARACTERS)})
            await ask_and_read_slowly(service.port, address, chunks, LISTENING_SECONDS, math.inf)

        with probing(service) as health:
            await asyncio.gather(*map(deaf, siege.addresses.some(SLOW_LISTENERS)))
            peak = service.peak_rss()
            await asyncio.sleep(AFTER_SECONDS)
            after = service.rss()
            another = await ask(service.port, siege.addresses.new(), request("/audio", {"text": next(openings)}), 10)
    return [
        Row(
            f"{SLOW_LISTENERS} listeners who read nothing: RSS before, peak, after, MB",
            f"{before / MEGABYTE:.0f}, {peak / MEGABYTE:.0f}, {after / MEGABYTE:.0f} ({after / before - 1:+.0%})",
            "after <= +15 %",
            after <= 1.15 * before,
        ),
        Row("- one more listener afterwards", str(another.status or another.error), "200", another.status == 200),
        Row("- /health meanwhile", health.told()),
    ]
