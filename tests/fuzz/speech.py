"""Texts of every block of Unicode for every voice of espeak-ng: C code that was written for words."""

import json
import sys
import threading
import time
import unicodedata
import urllib.request
from random import Random

from benchmarks.harness.wire import request
from tests.fuzz.alphabet import FRAGMENTS
from tests.fuzz.watch import ServiceEnded, Watch
from tests.fuzz.wire import exchange

BLOCK = 128
SPEAKERS = 3
ORDINARY_SECONDS, MOST_ORDINARY_SECONDS = 0.5, 5.0
# Recordings that are longer take their time, and say nothing new.
MOST_CHARACTERS = 400


def blocks() -> list[str]:
    """The characters that are assigned, by 128: blocks begin at such borders."""
    assigned: dict[int, list[str]] = {}
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co") and code:
            assigned.setdefault(code // BLOCK, []).append(chr(code))
    # Of ideographs and syllables, whose thousands are spelt alike, few are enough.
    return ["".join(found) for number, found in assigned.items() if number < 0x60 or number % 16 == 0 or number > 0x1F0]


def text(random: Random, blocks: list[str]) -> str:
    """A text as no one would write it."""
    letters = random.choice(blocks) if random.random() < 0.8 else random.choice(blocks) + random.choice(blocks)
    shape = random.randrange(5)
    if shape == 0:
        return "".join(random.choices(letters, k=random.randint(1, 40)))
    if shape == 1:
        return "".join(random.choices(letters, k=random.randint(1, 4))) * random.choice([2, 20, 70, 200])
    if shape == 2:
        words = ["".join(random.choices(letters, k=random.randint(1, 12))) for _ in range(random.randint(2, 12))]
        return random.choice([" ", "-", "---", "'", ".", ",", " 1", "\n"]).join(words)
    if shape == 3:
        return random.choice(FRAGMENTS) * random.randint(1, 200) + "".join(random.choices(letters, k=3))
    mixed = [*random.choices(letters, k=6), *random.choices(FRAGMENTS, k=6)]
    random.shuffle(mixed)
    return "".join(mixed) * random.choice([1, 3, 10])


def voices(port: int) -> list[str]:
    """A voice of the service for each of espeak-ng's."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/audio/voices", timeout=10) as answer:
        listed = json.load(answer)["voices"]
    return list({voice["fallback"]: voice["name"] for voice in listed}.values())


def speak(watch: Watch, until: float) -> None:
    """Strange texts of some callers at once, while an ordinary one is to be heard all the time."""
    letters, names = blocks(), voices(watch.service.port)
    threads = [
        threading.Thread(target=_strange, args=(watch, until, number, letters, names)) for number in range(SPEAKERS)
    ]
    for thread in threads:
        thread.start()
    number = 0
    while time.monotonic() < until and watch.service.lives:
        number += 1
        _ordinary(watch, number)
        time.sleep(ORDINARY_SECONDS)
    for thread in threads:
        thread.join()
    if not watch.service.lives:
        raise ServiceEnded


def _strange(watch: Watch, until: float, number: int, letters: list[str], names: list[str]) -> None:
    random = Random(watch.seed * 100 + number)
    while time.monotonic() < until:
        fields = {
            "text": text(random, letters)[:MOST_CHARACTERS],
            "voice": random.choice(names),
            "rate": random.choice(["+0%", "-90%", "+300%"]),
            "pitch": random.choice(["+0Hz", "-100Hz", "+100Hz"]),
        }
        try:
            watch.send("strange speech", b"".join(request("/audio", fields)))
        except ServiceEnded:
            return


def _ordinary(watch: Watch, number: int) -> None:
    data = b"".join(request("/audio", {"text": f"This is sentence number {number}."}))
    reply = exchange(watch.service.port, data, address="127.0.9.3")
    watch.tried["ordinary speech"] += 1
    if reply.status != 200 or reply.seconds > MOST_ORDINARY_SECONDS:
        watch.fault(f"ordinary speech beside strange: {reply.status} after {reply.seconds:.1f} s", data)
