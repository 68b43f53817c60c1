"""Piper in place of the cloud: its first sound, its pace, and what becomes of a summary beside it.

    python -m benchmarks.audio.piper [--rounds 3] [--model llama-8b.gguf]

The service stands in front of a cloud where nothing listens, so its breaker is open. Each text is another article of
`training/news/news.jsonl`; for the first sound it begins with a sentence of 20 words. With `--model` summaries
with `Prefer: wait=28` are asked for in turns alone and beside recordings of 3,000 characters, one and three at once.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from itertools import count, pairwise
from statistics import median

from benchmarks.audio.client import Answer, ask
from benchmarks.audio.cloud import Cloud
from benchmarks.audio.sides import OURS, running
from benchmarks.harness.folders import ROOT, save
from benchmarks.harness.machine import cpu
from benchmarks.harness.service import Service, call, stop_cleanly
from benchmarks.harness.statistics import percentile
from benchmarks.harness.table import table
from common.sentences import sentences
from functions.audio.pieces import BYTES_PER_SECOND

WORDS = 20
FIRST_SOUNDS = 20
CHARACTERS = 3000
WAIT_SECONDS = 28.0
SPEAKERS = (0, 1, 3)
SUMMARIES = 2
# As many failures open the breaker; the voice is loaded meanwhile.
FAILURES, LOADING_SECONDS = 3, 60.0
SETTINGS = {"AUDIO__ANSWER_CACHE_BYTES": 0, "AUDIO__BREAKER_SECONDS": 3600, "WARM_UP": True}


@cache
def articles() -> list[str]:
    lines = (ROOT / "training/news/news.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def first_sentences() -> Iterator[str]:
    """Sentences of so many words, each followed by the next of its article."""
    for text in articles():
        found = [sentence.strip() for sentence in sentences(text.replace("\n", " "))]
        for sentence, following in pairwise(found):
            if len(sentence.split()) == WORDS:
                yield f"{sentence} {following}"
                break


def long_texts() -> Iterator[str]:
    """Texts of so many characters, none of them twice."""
    for number in count():
        text = "\n\n".join(articles()[(number * 3 + at) % len(articles())] for at in range(3))
        yield f"Number {number}. {text}"[:CHARACTERS]


class Measurement:
    def __init__(self, service: Service) -> None:
        self._port = service.port
        self._first, self._long = first_sentences(), long_texts()
        self.first: list[float] = []
        self.pace: list[float] = []
        self.beside: list[dict[str, object]] = []
        self.wrong: list[str] = []

    async def open_breaker(self) -> None:
        until = time.monotonic() + LOADING_SECONDS
        for number in count():
            answer = await ask(self._port, f"Is anybody there, for the {number + 1}th time?")
            if number >= FAILURES and answer.engine == "piper":
                return
            if time.monotonic() > until:
                raise RuntimeError(f"Piper does not speak: {answer.problem('piper')}")

    async def round(self) -> None:
        for _ in range(FIRST_SOUNDS):
            if (answer := await self._heard(next(self._first))) is not None:
                self.first.append(answer.first_byte)
        if (answer := await self._heard(next(self._long))) is not None:
            self.pace.append(answer.total / (answer.size / BYTES_PER_SECOND))

    async def summaries(self) -> None:
        """Some alone and some beside recordings that are made without a pause."""
        for speakers in SPEAKERS:
            over = asyncio.Event()
            speaking = [asyncio.create_task(self._speak_on(over)) for _ in range(speakers)]
            for _ in range(SUMMARIES):
                told = await asyncio.to_thread(self._summary)
                self.beside.append({"speakers": speakers, **told})
            over.set()
            paces = [pace for paces in await asyncio.gather(*speaking) for pace in paces]
            self.beside[-1]["pace"] = median(paces) if paces else None

    async def _speak_on(self, over: asyncio.Event) -> list[float]:
        paces: list[float] = []
        while not over.is_set():
            if (answer := await self._heard(next(self._long))) is not None:
                paces.append(answer.total / (answer.size / BYTES_PER_SECOND))
        return paces

    async def _heard(self, text: str) -> Answer | None:
        answer = await ask(self._port, text)
        if problem := answer.problem("piper"):
            self.wrong.append(problem)
            return None
        return answer

    def _summary(self) -> dict[str, object]:
        headers = {"Prefer": f"wait={WAIT_SECONDS:.0f}"}
        begun = time.monotonic()
        body = {"text": next(self._long), "max_tokens": 150}
        status, answer = call(self._port, "/summarize", body, headers=headers, seconds=2 * WAIT_SECONDS)
        told: dict[str, object] = {"status": status, "seconds": time.monotonic() - begun}
        with suppress(ValueError, KeyError):
            usage: Mapping[str, object] = json.loads(answer)["usage"]
            told |= {"read": usage["prompt_tokens"], "written": usage["completion_tokens"]}
        return told


async def measure(rounds: int, model: str | None) -> Measurement:
    with Cloud() as cloud:
        settings = dict[str, object](SETTINGS)
        if model:
            settings |= {"SUMMARIZE__MODEL": model, "SUMMARIZE__TUNING_SECONDS": 0}
        with running(OURS, cloud.dead_url, settings, "-piper") as service:
            found = Measurement(service)
            await asyncio.to_thread(_wait_until_ready, service)
            await found.open_breaker()
            for number in range(rounds):
                await found.round()
                if model:
                    await found.summaries()
                print(f"round {number + 1} of {rounds} is done", file=sys.stderr)
    return found


def _wait_until_ready(service: Service) -> None:
    until = time.monotonic() + 4 * LOADING_SECONDS
    while call(service.port, "/health/ready")[0] != 200:
        if time.monotonic() > until:
            raise RuntimeError(f"it was not ready in time; its log is {service.log}")
        time.sleep(0.5)


def _beside_rows(found: Measurement) -> Iterator[list[object]]:
    for speakers in SPEAKERS:
        rows = [row for row in found.beside if row["speakers"] == speakers]
        answered = [row for row in rows if row["status"] == 200]
        seconds = [float(str(row["seconds"])) for row in answered]
        paces = [float(str(row["pace"])) for row in rows if row.get("pace")]
        yield [
            speakers,
            len(rows),
            len(answered),
            sum(second > WAIT_SECONDS for second in seconds),
            f"{median(seconds):.1f}" if seconds else "-",
            f"{median(int(str(row['read'])) for row in answered):.0f}" if answered else "-",
            f"{median(int(str(row['written'])) for row in answered):.0f}" if answered else "-",
            f"{median(paces):.2f}" if paces else "-",
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Piper's first sound, its pace, and a summary beside it.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", help="a GGUF that writes summaries meanwhile")
    options = parser.parse_args()
    stop_cleanly()
    found = asyncio.run(measure(options.rounds, options.model))
    half, most = percentile(found.first, 0.5), percentile(found.first, 0.95)
    print(f"{cpu()}\n")
    rows = [
        [f"first sound, sentence of {WORDS} words, p50, ms", f"{1000 * (half or 0):.0f}", 350],
        [f"first sound, sentence of {WORDS} words, p95, ms", f"{1000 * (most or 0):.0f}", 600],
        [f"article of {CHARACTERS} characters, of real time", f"{median(found.pace):.3f}", 0.2],
    ]
    print(table(["Piper, breaker open", f"{len(found.first)} texts, {options.rounds} articles", "at most"], rows))
    if found.beside:
        titles = ["recordings", "summaries", "answered", "late", "seconds", "tokens read", "written", "of real time"]
        print("\n" + table(titles, _beside_rows(found), texts=0))
    for problem in sorted(set(found.wrong)):
        print(f"- {found.wrong.count(problem)} x {problem}")
    raw = {"first": found.first, "pace": found.pace, "beside": found.beside, "wrong": found.wrong}
    print(f"\nraw figures: {save('audio-piper', raw)}")


if __name__ == "__main__":
    main()
