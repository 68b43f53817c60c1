"""What a crowd and a stranger do, each scenario with a service of its own; every one returns the rows of its table."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.audio.cloud import Cloud
from benchmarks.siege.client import Answer, Client, counted, milliseconds, percentile, request
from benchmarks.siege.service import Service, service

Row = tuple[str, str]
SENTENCE = "The city council of Porto voted on Tuesday to build a library beside the old harbour, said Maria Silva. "
LONG_CHARACTERS = 199_000
FIRST_SOUND_SECONDS = 0.3


@dataclass(frozen=True)
class Siege:
    """`root`: the checkout that is besieged; `seconds`: of each scenario; `one_address`: everybody comes from one."""

    root: Path
    seconds: float
    one_address: bool

    def source(self, number: int) -> str:
        return "127.0.0.1" if self.one_address else f"127.0.{2 + number // 250}.{1 + number % 250}"


def text(number: int, characters: int = 300) -> str:
    """A text that no other request has."""
    return (f"Article {number} of {random.random()}. " + SENTENCE * (characters // len(SENTENCE) + 1))[:characters]


def extract(number: int, characters: int = 300, **fields: Any) -> bytes:
    return request("POST", "/extract", {"text": text(number, characters), **fields})


def summarize(number: int, characters: int = 900, wait: int | None = None, **fields: Any) -> bytes:
    headers = {"Prefer": f"wait={wait}"} if wait else {}
    return request("POST", "/summarize", {"text": text(number, characters), **fields}, **headers)


def audio(number: int, characters: int = 120, wait: int | None = None, **fields: Any) -> bytes:
    headers = {"Prefer": f"wait={wait}"} if wait else {}
    return request("POST", "/audio", {"text": text(number, characters), **fields}, **headers)


async def repeat(
    client: Client, make: Callable[[int], bytes], until: float, answers: list[Answer], patience: float = 120.0
) -> None:
    """One request after the other until that time."""
    number = 0
    while time.monotonic() < until:
        number += 1
        answers.append(await client.ask(make(number), patience))
        await asyncio.sleep(0)


@asynccontextmanager
async def probed(running: Service) -> AsyncIterator[list[float]]:
    """Asks /health twenty times a second meanwhile; the seconds that each answer took, 10 for none."""
    lags: list[float] = []

    async def probe() -> None:
        client = Client(running.address, "127.0.0.200")
        while True:
            answer = await client.ask(request("GET", "/health"), 10)
            lags.append(answer.seconds if answer.status == 200 else 10.0)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(probe())
    try:
        yield lags
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def cloud_settings(cloud: Cloud) -> dict[str, object]:
    return {"AUDIO__ENDPOINT": cloud.url}


async def crowd(siege: Siege) -> list[Row]:
    """200 clients of everything: short requests, bad ones, some that leave in the middle, some that read slowly."""
    kinds: list[Callable[[int], bytes]] = [
        extract,
        summarize,
        audio,
        lambda _: request("POST", "/extract", {"text": 5}),
        lambda number: extract(number, 5_000),
    ]
    with Cloud(handshake_seconds=FIRST_SOUND_SECONDS) as cloud, service(siege.root, **cloud_settings(cloud)) as running:
        before = running.rss_mb()
        until = time.monotonic() + siege.seconds
        answers: list[list[Answer]] = [[] for _ in kinds]
        async with probed(running) as lags, asyncio.TaskGroup() as group:
            for number in range(160):
                kind = number % len(kinds)
                client = Client(running.address, siege.source(number))
                group.create_task(repeat(client, kinds[kind], until, answers[kind]))
            for number in range(160, 200):
                client = Client(running.address, siege.source(number))
                group.create_task(repeat(client, kinds[number % 3], until, [], patience=random.uniform(0.01, 0.5)))
        await asyncio.sleep(3)
        names = ["/extract", "/summarize", "/audio", "bad", "/extract, 5,000 characters"]
        return [
            ("/health p50 / p99 / max, ms", milliseconds(lags, 0.5, 0.99, 1)),
            *((f"{name}", counted(found)) for name, found in zip(names, answers, strict=True)),
            ("RSS before / after, MB", f"{before:.0f} / {running.rss_mb():.0f}"),
        ]


async def flooder(siege: Siege) -> list[Row]:
    """A short /extract alone, then beside one caller with 32 long texts at a time."""
    with service(siege.root) as running:
        honest = Client(running.address, siege.source(1))
        alone = [await honest.ask(extract(number)) for number in range(60)]
        until = time.monotonic() + siege.seconds
        flood: list[Answer] = []
        beside: list[Answer] = []
        async with probed(running) as lags, asyncio.TaskGroup() as group:
            for _ in range(32):
                client = Client(running.address, siege.source(0))
                group.create_task(repeat(client, lambda n: extract(n, LONG_CHARACTERS), until, flood, siege.seconds))
            await asyncio.sleep(1)
            group.create_task(repeat(honest, extract, until, beside))
        seconds = [answer.seconds for answer in alone], [answer.seconds for answer in beside]
        return [
            ("honest p50 / p95 / max alone, ms", milliseconds(seconds[0], 0.5, 0.95, 1)),
            ("honest p50 / p95 / max beside, ms", milliseconds(seconds[1], 0.5, 0.95, 1)),
            ("p95 beside / alone", f"{percentile(seconds[1], 0.95) / percentile(seconds[0], 0.95):.1f}"),
            ("honest, flooder answered", f"{counted(beside)}; {counted(flood)}"),
            ("/health p99 / max, ms", milliseconds(lags, 0.99, 1)),
        ]


async def patient(siege: Siege) -> list[Row]:
    """A short /summarize alone, then beside 20 callers that would wait for a day and want 1,024 tokens."""
    with service(siege.root) as running:
        honest = Client(running.address, siege.source(21))
        alone: list[Answer] = []
        begun = time.monotonic()
        await repeat(honest, summarize, begun + siege.seconds / 3, alone)
        rate = len(alone) / (time.monotonic() - begun)
        until = time.monotonic() + siege.seconds
        strangers: list[Answer] = []
        beside: list[Answer] = []
        async with probed(running) as lags, asyncio.TaskGroup() as group:
            for number in range(20):
                client = Client(running.address, siege.source(number))
                group.create_task(
                    repeat(client, lambda n: summarize(n, wait=86_400, max_tokens=1024), until, strangers)
                )
            await asyncio.sleep(1)
            group.create_task(repeat(honest, summarize, until, beside))
        refused = [answer.seconds for answer in (*strangers, *beside) if answer.status == 503]
        answered = sum(answer.status == 200 for answer in beside)
        return [
            ("honest answered; its share of what it has alone", f"{answered}; {rate * siege.seconds / 21:.1f}"),
            ("honest", counted(beside)),
            ("honest p50 / max, ms", milliseconds([answer.seconds for answer in beside], 0.5, 1)),
            ("strangers", counted(strangers)),
            ("slowest refusal, ms", milliseconds(refused, 1) if refused else "none"),
            ("/health p99 / max, ms", milliseconds(lags, 0.99, 1)),
        ]


async def listeners(siege: Siege) -> list[Row]:
    """Short /audio beside 32 texts of 19,900 characters, with a healthy cloud; default patience is 3.5 s."""
    with Cloud(handshake_seconds=FIRST_SOUND_SECONDS) as cloud, service(siege.root, **cloud_settings(cloud)) as running:
        until = time.monotonic() + siege.seconds
        flood: list[Answer] = []
        beside: list[Answer] = []
        async with asyncio.TaskGroup() as group:
            for _ in range(32):
                client = Client(running.address, siege.source(0))
                group.create_task(repeat(client, lambda n: audio(n, 19_900), until, flood, siege.seconds))
            await asyncio.sleep(1)
            for number in range(1, 5):
                group.create_task(repeat(Client(running.address, siege.source(number)), audio, until, beside))
        first = [answer.first for answer in beside if answer.status]
        engines = [answer.headers.get("x-audio-engine", "") for answer in (*beside, *flood)]
        return [
            ("honest", counted(beside)),
            ("honest first byte p50 / p95 / max, ms", milliseconds(first, 0.5, 0.95, 1)),
            ("flooder", counted(flood)),
            ("by espeak-ng", str(engines.count("espeak-ng"))),
        ]


def breaker(health: Answer) -> str:
    if health.status != 200:
        return "no answer"
    return str(json.loads(health.body)["upstreams"]["speech cloud"]["state"])


async def overload(siege: Siege) -> list[Row]:
    """200 clients of /audio with a healthy cloud, then three that wait a second with a cloud that needs 1.1."""
    with Cloud(handshake_seconds=FIRST_SOUND_SECONDS) as cloud, service(siege.root, **cloud_settings(cloud)) as running:
        until = time.monotonic() + siege.seconds
        answers: list[Answer] = []
        states: set[str] = set()

        async def watch() -> None:
            client = Client(running.address)
            while time.monotonic() < until:
                answer = await client.ask(request("GET", "/health"))
                states.add(
                    json.loads(answer.body)["upstreams"]["speech cloud"]["state"] if answer.status == 200 else "none"
                )
                await asyncio.sleep(0.2)

        async with probed(running) as lags, asyncio.TaskGroup() as group:
            group.create_task(watch())
            for number in range(200):
                group.create_task(repeat(Client(running.address, siege.source(number)), audio, until, answers))
        engines = [answer.headers.get("x-audio-engine") for answer in answers if answer.status == 200]
        cloud.tell(handshake_seconds=1.1)
        client = Client(running.address)
        impatient = [await client.ask(audio(number, wait=1)) for number in range(3)]
        state = breaker(await client.ask(request("GET", "/health")))
        return [
            ("answers", counted(answers)),
            ("by edge-tts / espeak-ng", f"{engines.count('edge-tts')} / {engines.count('espeak-ng')}"),
            ("states of the breaker", ", ".join(sorted(states))),
            (
                "after three with Prefer: wait=1",
                f"{state} ({counted(impatient)})",
            ),
            ("/health p99 / max, ms", milliseconds(lags, 0.99, 1)),
        ]


async def silent(siege: Siege) -> list[Row]:
    """280 connections that say nothing, or a byte a second, where the service may have 256 descriptors."""
    with service(siege.root, descriptors=256) as running:
        begun = time.monotonic()
        closed: list[float] = []

        async def hang(number: int) -> None:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(
                    running.address.host, running.address.port, local_addr=(siege.source(number), 0)
                )
                sent = iter(b"POST /extract HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n" + b"X-Y: z\r\n" * 100)
                while time.monotonic() < begun + siege.seconds:
                    if number % 2:
                        writer.write(bytes([next(sent)]))
                    with suppress(TimeoutError):
                        async with asyncio.timeout(1):
                            if not await reader.read(1000):
                                break
                closed.append(time.monotonic() - begun)
                writer.transport.abort()

        async with probed(running) as lags, asyncio.TaskGroup() as group:
            for number in range(280):
                group.create_task(hang(number))
        early = [seconds for seconds in closed if seconds < siege.seconds - 1.5]
        return [
            ("/health p50 / p99 / max, ms", milliseconds(lags, 0.5, 0.99, 1)),
            ("closed by the service, of 280; the last after", f"{len(early)}; {max(early, default=0):.0f} s"),
            ("log, kB", f"{running.log.stat().st_size / 1000:.0f}"),
        ]


async def articles(siege: Siege) -> list[Row]:
    """300 articles of 199,000 characters at once on /summarize, and a short one."""
    with service(siege.root) as running:
        flood: list[Answer] = []

        async def one(number: int) -> None:
            flood.append(await Client(running.address, siege.source(0)).ask(summarize(number, LONG_CHARACTERS), 60))

        tasks = [asyncio.create_task(one(number)) for number in range(300)]
        await asyncio.sleep(0.5)
        async with probed(running) as lags:
            short = await Client(running.address, siege.source(1)).ask(summarize(1), 60)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [
            ("the short one", f"{short.status or 'no answer'} after {short.seconds:.2f} s"),
            ("the others until then", counted(flood)),
            ("/health p99 / max, ms", milliseconds(lags, 0.99, 1)),
        ]


async def deaf(siege: Siege) -> list[Row]:
    """120 listeners of long recordings who read nothing, then leave."""
    with Cloud(handshake_seconds=0.01) as cloud, service(siege.root, **cloud_settings(cloud)) as running:
        before = running.rss_mb()
        writers = []
        for number in range(120):
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(
                    running.address.host, running.address.port, local_addr=(siege.source(number), 0), limit=1024
                )
                writer.write(audio(number, 19_900))
                reader._transport.pause_reading()  # type: ignore[attr-defined]
                writers.append(writer)
        peak = before
        until = time.monotonic() + siege.seconds
        while time.monotonic() < until:
            await asyncio.sleep(0.2)
            peak = max(peak, running.rss_mb())
        honest = await Client(running.address, "127.0.0.199").ask(audio(1), 20)
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(5)
        return [
            ("RSS before / peak / after they left, MB", f"{before:.0f} / {peak:.0f} / {running.rss_mb():.0f}"),
            ("another listener meanwhile", f"{honest.status}, first byte after {honest.first:.2f} s"),
        ]


def worst_requests() -> Iterator[tuple[str, bytes]]:
    yield "/extract, 199,000 characters", extract(0, LONG_CHARACTERS)
    numbers = [f"{random.random():.18f}"[2:] * 5 for _ in range(50)]
    yield "/extract, 50 labels of 90 digits", extract(0, labels=numbers)
    words = [f"kind of thing number {number}" for number in range(50)]
    fields: dict[str, Any] = {"labels": words, "threshold": 0.01, "flat_ner": False, "multi_label": True}
    yield "/extract, all spans of 50 labels", extract(0, LONG_CHARACTERS, **fields)
    yield "/extract, 64 texts", request("POST", "/extract", {"texts": [text(n, 6_000) for n in range(64)]})
    yield "/summarize, 199,000 characters", summarize(0, LONG_CHARACTERS, max_tokens=1024)
    yield "/audio, 19,900 characters", audio(0, 19_900)
    yield "/audio captions, slow", audio(0, 19_900, rate="-50%")


async def worst(siege: Siege) -> list[Row]:
    """The largest single requests that are accepted: what each costs in memory, and whether it is given back."""
    rows = []
    with Cloud(handshake_seconds=0.01) as cloud, service(siege.root, **cloud_settings(cloud)) as running:
        client = Client(running.address)
        for make in (extract, summarize, audio):
            await client.ask(make(1))
        idle = running.rss_mb()
        for name, sent in worst_requests():
            begun = running.rss_mb()
            running.forget_peak()
            async with probed(running) as lags:
                answer = await Client(running.address).ask(sent, 120)
            await asyncio.sleep(2)
            cost = running.peak_mb() - begun
            told = f"{answer.status} in {answer.seconds:.1f} s, {len(answer.body) / 1000:.0f} kB, +{cost:.0f} MB"
            rows.append((name, f"{told}, /health max {milliseconds(lags, 1)} ms"))
        after = running.rss_mb()
        rows.append(("RSS idle / after all, MB", f"{idle:.0f} / {after:.0f} ({after / idle - 1:+.0%})"))
    return rows


SCENARIOS: dict[str, Callable[[Siege], Awaitable[list[Row]]]] = {
    scenario.__name__: scenario
    for scenario in (crowd, flooder, patient, listeners, overload, silent, articles, deaf, worst)
}
