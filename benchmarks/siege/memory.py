"""What the process keeps: after a siege, and after the heaviest requests that are accepted."""

import asyncio
import json
from collections.abc import Iterator

from benchmarks.harness.service import Service
from benchmarks.harness.wire import Chunks, ask, request
from benchmarks.siege.mixed import CLIENTS, besiege
from benchmarks.siege.plan import Row, Siege, shown, text
from benchmarks.siege.service import probing

# What is free is given back once the process has been at rest for some seconds.
SETTLE_SECONDS = 20.0
MOST_GROWTH = 0.15
# Peaks above idle that one accepted request may cost, in megabytes.
MOST_MEGABYTES = {"/extract": 700, "/summarize": 300, "/audio": 50}
MEGABYTE = 1e6
WARM_UP_ROUNDS = 5
# What is kept on purpose would be taken for what is lost.
CACHE_BYTES = 500_000

DIGITS = [f"{number:02}" + "31415926535897932384626433832795028841971693993751" * 2 for number in range(50)]
KINDS = ["Person", "Organization", "Location", "City", "Country", "Company", "Name", "Place", "Date", "Event"]
EVERYTHING = {
    "labels": [f"{kind}{'s' * (n // 10)}" for n, kind in enumerate(KINDS * 5)],
    "threshold": 0.01,
    "flat_ner": False,
    "multi_label": True,
}


def heavy_requests() -> Iterator[tuple[str, str, Chunks]]:
    """Path, name and request. Where one is over a bound, the next smaller one of its kind may be accepted."""
    for characters in (199_000, 60_000, 20_000, 5_000):
        body = {"text": text("", characters), **EVERYTHING}
        yield "/extract", f"{characters:,} characters, 50 labels, threshold 0.01, nested", request("/extract", body)
    yield "/extract", "199,000 characters", request("/extract", {"text": text("", 199_000)})
    for count in (50, 20, 8):
        body = {"text": text("", 2_000), "labels": [digits[:100] for digits in DIGITS[:count]]}
        yield "/extract", f"{count} labels of 100 digits", request("/extract", body)
    yield "/extract", "200,000 x U+FDFA", request("/extract", {"text": "\ufdfa" * 200_000})
    yield "/extract", "64 texts of 35,000 characters", request("/extract", _texts(64, 35_000))
    yield "/summarize", "200,000 characters, 1,024 tokens", _article(text("", 200_000))
    yield "/summarize", "200,000 characters of CJK", _article("今天市议会投票。" * 25_000)
    yield "/summarize", "200,000 emoji", _article("\U0001f3ed" * 200_000)
    yield "/summarize", "66,000 sentences", _article("A b" * 1 + ". C" * 66_000)
    for rate in ("+0%", "-90%"):
        yield "/audio", f"20,000 characters, rate {rate}", request("/audio", {"text": text("", 20_000), "rate": rate})
    body = {"text": "a " * 10_000}
    yield "/audio", "captions of 10,000 words", request("/audio", body, Accept="text/vtt")


def _article(article: str) -> Chunks:
    return request("/summarize", json.dumps({"text": article, "max_tokens": 1024}, ensure_ascii=False).encode())


def _texts(count: int, characters: int) -> dict[str, object]:
    return {"texts": [text(f"Number {number}: ", characters) for number in range(count)]}


async def memory(siege: Siege) -> list[Row]:
    """RSS before, after a siege of 200 clients, and after the heaviest requests."""
    rows: list[Row] = []
    caches = [f"{name}__ANSWER_CACHE_BYTES={CACHE_BYTES}" for name in ("SUMMARIZE", "EXTRACT", "AUDIO")]
    with siege.service(*caches, pace=0.0, first_sound_seconds=0.0) as (service, _):
        for path in ("/extract", "/summarize", "/audio") * WARM_UP_ROUNDS:
            await ask(service.port, siege.addresses.new(), request(path, {"text": text("", 500)}))
        before = service.rss()
        service.forget_peak()
        await besiege(service, siege.addresses.some(CLIENTS))
        peak = service.peak_rss()
        await asyncio.sleep(SETTLE_SECONDS)
        after = service.rss()
        rows.append(_kept("RSS before, peak, after 200 clients, MB", before, peak, after))
        for path, name, chunks in heavy_requests():
            rows.append(await _one(siege, service, path, name, chunks))
            if not service.lives:
                rows.append(Row("- the process", "has ended", "lives", False))
                return rows
        await asyncio.sleep(SETTLE_SECONDS)
        rows.append(_kept("RSS before, after the siege, after the heaviest requests, MB", before, after, service.rss()))
    return rows


async def _one(siege: Siege, service: Service, path: str, name: str, chunks: Chunks) -> Row:
    await asyncio.sleep(1)
    idle = service.rss()
    service.forget_peak()
    with probing(service) as health:
        reply = await ask(service.port, siege.addresses.new(), chunks, 120)
        peak = service.peak_rss() if service.lives else 0
    await asyncio.sleep(1)
    above, left = (peak - idle) / MEGABYTE, (service.rss() - idle) / MEGABYTE
    most = MOST_MEGABYTES[path]
    outcome = f"{reply.status or reply.error} in {shown(reply.seconds)}, {reply.size / MEGABYTE:.1f} MB"
    return Row(
        f"- {path}: {name}",
        f"{outcome}; peak {above:+.0f} MB, a second later {left:+.0f} MB; /health max {shown(health.most_seconds)}",
        f"<= +{most} MB",
        reply.status != 0 and above <= most,
    )


def _kept(what: str, *sizes: int) -> Row:
    growth = sizes[-1] / sizes[0] - 1
    told = ", ".join(f"{size / MEGABYTE:.0f}" for size in sizes)
    return Row(what, f"{told} ({growth:+.0%})", f"<= +{MOST_GROWTH:.0%}", growth <= MOST_GROWTH)
