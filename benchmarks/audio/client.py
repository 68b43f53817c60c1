"""A client of POST /audio, which notes when the first byte of sound was there, and what it asks for."""

import asyncio
import time
from dataclasses import dataclass

from benchmarks.audio.cloud import OPENING
from benchmarks.harness.wire import KeptAlive, request
from tests.doubles.edge_server import seconds_of, tone

VOICE = "en-US-ChristopherNeural"
GIVE_UP_SECONDS = 120.0
# By which share the sound of an article may be shorter: where it is cut, a space is not spoken.
TOLERANCE = 0.01

SHORT = "the harbour council votes on the new library on Tuesday evening"
SENTENCES = (
    "The council met on Tuesday and voted for a new library near the old harbour.",
    "Construction will begin next spring and is expected to take two years.",
    "Residents had asked for a place to read since the last branch closed in 2019.",
    "The mayor said that the plan would cost 14 million euros, most of it from the state.",
    "A café and a hall for concerts are part of it; two members abstained.",
)


@dataclass
class Answer:
    """Times are of `time.monotonic`, which on Linux is one clock for all processes."""

    text: str
    sent: float
    first: float | None = None
    ended: float = 0.0
    status: int = 0
    engine: str = ""
    size: int = 0
    error: str | None = None
    cloud_first: float | None = None

    @property
    def first_byte(self) -> float:
        assert self.first is not None
        return self.first - self.sent

    @property
    def behind(self) -> float:
        """Seconds from when the cloud sent its first sound until the first byte was here."""
        assert self.first is not None
        assert self.cloud_first is not None
        return self.first - self.cloud_first

    @property
    def total(self) -> float:
        return self.ended - self.sent

    def problem(self, engine: str = "edge-tts") -> str | None:
        """Why this is not the whole recording by `engine`; only of the cloud it is known how long one has to be."""
        if self.error or self.status != 200 or self.first is None:
            return self.error or f"HTTP {self.status}"
        # The peers do not name it.
        if self.engine not in ("", engine):
            return f"spoken by {self.engine}"
        expected = len(tone(seconds_of(self.text)))
        if engine == "edge-tts" and abs(self.size - expected) > TOLERANCE * expected:
            return f"{self.size} bytes of sound instead of {expected}"
        return None


def short(number: int) -> str:
    """About 80 characters."""
    return f"{_opening(number)} {SHORT}."


def article(number: int, characters: int) -> str:
    text = _opening(number)
    while len(text) < characters:
        text += f" {SENTENCES[len(text) % len(SENTENCES)]}"
    return text[: characters - 1].strip() + "."


def _opening(number: int) -> str:
    return f"Bulletin {number:07}:".ljust(OPENING, ".")


class Connection(KeptAlive):
    async def hear(self, text: str) -> Answer:
        answer = Answer(text, sent=time.monotonic())
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await self.ask(request("/audio", {"text": text, "voice": VOICE}, keep_alive=True))
        except TimeoutError:
            answer.error = f"not answered within {GIVE_UP_SECONDS:.0f} s"
        except (asyncio.IncompleteReadError, ConnectionError):
            answer.error = f"HTTP {self.reply.status}, then cut" if self.reply.status else "no answer"
        answer.ended = time.monotonic()
        answer.status, answer.size = self.reply.status, self.reply.size
        answer.engine = self.reply.header("x-audio-engine")
        answer.first = answer.sent + self.reply.first_seconds if self.reply.size else None
        return answer


async def ask(port: int, text: str) -> Answer:
    """On a connection of its own, which is there before the request is sent."""
    connection = await Connection.open(port)
    try:
        return await connection.hear(text)
    finally:
        connection.close()


async def ask_together(port: int, texts: list[str]) -> list[Answer]:
    """All at the same moment, each on a connection of its own."""
    connections = await asyncio.gather(*(Connection.open(port) for _ in texts))
    try:
        return await asyncio.gather(
            *(connection.hear(text) for connection, text in zip(connections, texts, strict=True))
        )
    finally:
        for connection in connections:
            connection.close()
