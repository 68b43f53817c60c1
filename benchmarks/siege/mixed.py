"""200 clients of every kind for half a minute: answered, refused, vanishing, slow and faulty."""

import asyncio
import random
import time
from collections import Counter

from benchmarks.harness.service import Service
from benchmarks.harness.wire import Reply, ask, ask_and_read_slowly, ask_and_vanish, numbered, request
from benchmarks.siege.neighbours import engines
from benchmarks.siege.plan import Row, Siege, shown, text
from benchmarks.siege.service import probing

CLIENTS, DURATION_SECONDS = 200, 30.0
# Between the requests of one client, on average.
THINK_SECONDS = 1.0
VANISH_SECONDS, SLOW_SECONDS, SLOW_STEP_SECONDS = 0.3, 5.0, 0.1
GIVE_UP_SECONDS = 40.0
MOST_HEALTH_SECONDS = 0.1
# After the last client: for what is kept for it to be given back.
SETTLE_SECONDS = 10.0
# Beside those of the first request, such as a library that is opened.
MOST_DESCRIPTORS_MORE = 8

KINDS = {"/extract": 30, "/summarize": 20, "/audio": 25, "bad": 12, "vanish": 8, "slow": 5}
DOCUMENTED = {200, 502, 503, 504}
BAD = [
    request("/extract", b'{"text": '),
    request("/extract", {"text": "", "labels": []}),
    request("/summarize", {"text": "hello", "colour": 1}),
    request("/summarize", {"text": "hello"}, Prefer="wait=soon"),
    request("/audio", {"text": "hello", "voice": "xx-XX-NobodyNeural"}),
    request("/audio", b'{"text": "\xff\xfe"}'),
    request("/nowhere", {"text": "hello"}),
    request("/extract", method="PUT", body={}),
]


class Traffic:
    """Clients that each go on until a time, and what became of their requests."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._random = random.Random(seed)
        self._openings = numbered("Bulletin")
        self.replies: dict[str, list[Reply]] = {}
        self.others: Counter[str] = Counter()

    async def client(self, address: str, until: float) -> None:
        await asyncio.sleep(self._random.uniform(0, THINK_SECONDS))
        while time.monotonic() < until:
            kind = self._random.choices(list(KINDS), list(KINDS.values()))[0]
            await self._one(kind, address)
            await asyncio.sleep(self._random.uniform(0.5, 1.5) * THINK_SECONDS)

    async def _one(self, kind: str, address: str) -> None:
        if kind == "vanish":
            self.others[kind] += 1
            seconds = self._random.uniform(0, VANISH_SECONDS)
            chunks = self._request(self._random.choice(["/extract", "/summarize", "/audio"]))
            await ask_and_vanish(self._port, address, chunks, seconds, reset=self._random.random() < 0.5)
        elif kind == "slow":
            self.others[kind] += 1
            chunks = self._request("/audio", 2000)
            await ask_and_read_slowly(self._port, address, chunks, SLOW_SECONDS, SLOW_STEP_SECONDS)
        else:
            chunks = self._random.choice(BAD) if kind == "bad" else self._request(kind)
            reply = await ask(self._port, address, chunks, GIVE_UP_SECONDS)
            reply.body = b""
            self.replies.setdefault(kind, []).append(reply)

    def _request(self, path: str, characters: int = 160) -> tuple[bytes, ...]:
        return request(path, {"text": text(next(self._openings), characters)})

    def told(self, kind: str) -> str:
        replies = self.replies.get(kind, [])
        whole = [reply for reply in replies if not reply.error]
        answered, refused = (sum(reply.status == status for reply in whole) for status in (200, 503))
        others = Counter(
            f"{reply.status} {reply.error}".strip()
            for reply in replies
            if reply.error or reply.status not in (200, 503)
        )
        rest = ", ".join(f"{what}: {count}" for what, count in sorted(others.items())) or "0"
        slowest = max((reply.seconds for reply in replies), default=0.0)
        return f"{answered} / {refused} / {rest}; slowest {shown(slowest)}"

    def goodput(self, seconds: float) -> str:
        """Answers of each call that are of use, a second."""
        good = {
            path: sum(reply.status == 200 and not reply.error for reply in replies)
            for path, replies in self.replies.items()
            if path != "bad"
        }
        each = ", ".join(f"{path} {count / seconds:.1f}" for path, count in sorted(good.items()))
        return f"{sum(good.values()) / seconds:.1f} ({each})"

    def undocumented(self) -> int:
        """Answers that no documentation promises: other 5xx, or none at all."""
        return sum(
            (reply.status >= 500 and reply.status not in DOCUMENTED) or reply.status == 0
            for replies in self.replies.values()
            for reply in replies
        )


async def besiege(service: Service, addresses: list[str], seed: int = 1, seconds: float = DURATION_SECONDS) -> Traffic:
    traffic = Traffic(service.port, seed)
    until = time.monotonic() + seconds
    await asyncio.gather(*(traffic.client(address, until) for address in addresses))
    return traffic


async def mixed(siege: Siege) -> list[Row]:
    """/health while 200 clients of every kind are there."""
    with siege.service() as (service, _):
        await _each_once(siege, service)
        before = service.rss(), service.descriptors()
        with probing(service) as health:
            traffic = await besiege(service, siege.addresses.some(CLIENTS))
        lives = service.lives
        await asyncio.sleep(SETTLE_SECONDS)
        after = service.rss(), service.descriptors()
        afterwards = await _each_once(siege, service)
    wrong = traffic.undocumented()
    rows = [
        Row(
            f"/health while {CLIENTS} clients are there",
            health.told(),
            f"p99 <= {MOST_HEALTH_SECONDS * 1000:.0f} ms",
            lives and health.share(0.99) <= MOST_HEALTH_SECONDS,
        )
    ]
    rows.append(Row("- goodput: 200s a second", traffic.goodput(DURATION_SECONDS)))
    rows.append(Row("- RSS before, after, MB", f"{before[0] / 1e6:.0f}, {after[0] / 1e6:.0f}"))
    few = after[1] <= before[1] + MOST_DESCRIPTORS_MORE
    most = f"<= {MOST_DESCRIPTORS_MORE} more"
    rows.append(Row("- open descriptors before, after", f"{before[1]}, {after[1]}", most, few))
    normal = all(reply.status == 200 for reply in afterwards)
    told = ", ".join(f"{reply.status} in {shown(reply.seconds)}" for reply in afterwards)
    rows.append(Row("- the three calls afterwards", told, "all 200", normal))
    rows += [Row(f"- {kind}: 200 / 503 / others", traffic.told(kind)) for kind in ("/extract", "/summarize", "/audio")]
    spoken = engines(traffic.replies.get("/audio", []))
    opened = "opened" if health.breaker_opened else "closed"
    rows.append(
        Row(
            "- who spoke; the breaker",
            f"{spoken}; {opened}",
            "never another voice; closed",
            opened == "closed" and "espeak" not in spoken and "piper" not in spoken,
        )
    )
    rows.append(Row("- bad requests: 200 / 503 / others", traffic.told("bad")))
    rows.append(Row("- vanished, slow", f"{traffic.others['vanish']}, {traffic.others['slow']}"))
    rows.append(Row("- answers that are not documented, or none", str(wrong), "0", lives and not wrong))
    return rows


async def _each_once(siege: Siege, service: Service) -> list[Reply]:
    address = siege.addresses.new()
    return [
        await ask(service.port, address, request(path, {"text": text("Once more. ", 300)}), GIVE_UP_SECONDS)
        for path in ("/extract", "/summarize", "/audio")
    ]
