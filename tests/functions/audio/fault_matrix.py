"""Every fault of the speech cloud, before the first sound and after it, and what a listener gets.

python -m tests.functions.audio.fault_matrix prints the table, against a service of its own; a test checks each row.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from functions.audio.voices import DEFAULT_VOICE
from tests.doubles.edge_server import Fault, SpeechCloud, seconds_of

TEXT = "The committee met on Tuesday to talk about the new bridge over the river. " * 2
# Of a limit of its own each; both tries together take at most PATIENCE_SECONDS.
SETTINGS = {"connect_seconds": 0.3, "first_audio_seconds": 0.3, "between_audio_seconds": 0.5, "patience_seconds": 1.5}
BOUND_SECONDS = 5.0
WARM_UP_SECONDS = 4.0

# Before the first sound, once before it (the next try meets no fault), or after it.
BEFORE, ONCE, AFTER = "before sound", "once before sound", "after sound"
# Who may speak: everybody; everybody, but Piper has no voice; the cloud alone.
AUTO, NO_PIPER, CLOUD = "auto", "auto, no voice for Piper", "edge-tts"
# What a listener gets where Piper has no voice, and with "edge-tts". Where it has one it speaks in place of espeak-ng.
EXPECTED = [
    (Fault.NONE, BEFORE, "200 edge-tts", "200 edge-tts"),
    (Fault.REFUSE, BEFORE, "200 espeak-ng", "502"),
    (Fault.DNS, BEFORE, "200 espeak-ng", "502"),
    (Fault.TLS, BEFORE, "200 espeak-ng", "502"),
    (Fault.RESET, BEFORE, "200 espeak-ng", "502"),
    (Fault.RESET, ONCE, "200 edge-tts", "200 edge-tts"),
    (Fault.FORBIDDEN, BEFORE, "200 espeak-ng", "502"),
    (Fault.FORBIDDEN, ONCE, "200 edge-tts", "200 edge-tts"),
    (Fault.TOO_MANY, BEFORE, "200 espeak-ng", "502"),
    # It is not asked again at once.
    (Fault.TOO_MANY, ONCE, "200 espeak-ng", "502"),
    (Fault.SERVER_ERROR, BEFORE, "200 espeak-ng", "502"),
    (Fault.SERVER_ERROR, ONCE, "200 edge-tts", "200 edge-tts"),
    (Fault.UNAVAILABLE, BEFORE, "200 espeak-ng", "502"),
    (Fault.UNAVAILABLE, ONCE, "200 edge-tts", "200 edge-tts"),
    (Fault.MUTE_HANDSHAKE, BEFORE, "200 espeak-ng", "504"),
    (Fault.MUTE_HANDSHAKE, ONCE, "200 edge-tts", "200 edge-tts"),
    (Fault.MUTE, BEFORE, "200 espeak-ng", "504"),
    (Fault.MUTE, ONCE, "200 edge-tts", "200 edge-tts"),
    (Fault.NO_AUDIO, BEFORE, "200 espeak-ng", "502"),
    (Fault.NO_AUDIO, ONCE, "200 edge-tts", "200 edge-tts"),
    (Fault.CLOSE_BEFORE_AUDIO, BEFORE, "200 espeak-ng", "502"),
    (Fault.CLOSE_BEFORE_AUDIO, ONCE, "200 edge-tts", "200 edge-tts"),
    (Fault.STALL, BEFORE, "200 espeak-ng", "504"),
    (Fault.STALL, AFTER, "cut", "cut"),
    (Fault.STALL, ONCE, "200 edge-tts", "200 edge-tts"),
    (Fault.CLOSE_AFTER_AUDIO, BEFORE, "200 espeak-ng", "502"),
    (Fault.CLOSE_AFTER_AUDIO, AFTER, "cut", "cut"),
    (Fault.CLOSE_AFTER_AUDIO, ONCE, "200 edge-tts", "200 edge-tts"),
    (Fault.CUT_MID_FRAME, BEFORE, "200 espeak-ng", "502"),
    (Fault.CUT_MID_FRAME, AFTER, "cut", "cut"),
    (Fault.CUT_MID_FRAME, ONCE, "200 edge-tts", "200 edge-tts"),
    (Fault.GARBAGE, BEFORE, "200 espeak-ng", "502"),
    (Fault.GARBAGE, AFTER, "cut", "cut"),
    (Fault.GARBAGE, ONCE, "200 edge-tts", "200 edge-tts"),
    (Fault.GARBAGE_MESSAGE, BEFORE, "200 espeak-ng", "502"),
    (Fault.GARBAGE_MESSAGE, AFTER, "cut", "cut"),
    (Fault.GARBAGE_MESSAGE, ONCE, "200 edge-tts", "200 edge-tts"),
    (Fault.WRONG_HEADER_LENGTH, BEFORE, "200 espeak-ng", "502"),
    (Fault.WRONG_HEADER_LENGTH, AFTER, "cut", "cut"),
    (Fault.WRONG_HEADER_LENGTH, ONCE, "200 edge-tts", "200 edge-tts"),
    (Fault.HUGE, BEFORE, "200 espeak-ng", "502"),
    (Fault.HUGE, AFTER, "cut", "cut"),
    (Fault.HUGE, ONCE, "200 edge-tts", "200 edge-tts"),
    (Fault.DRIP, BEFORE, "200 edge-tts", "200 edge-tts"),
]


@dataclass(frozen=True)
class Row:
    """`engines`: who may speak; `expected`: the kind of the outcome."""

    fault: Fault
    when: str
    engines: str
    expected: str

    @property
    def name(self) -> str:
        return f"{self.fault.value}-{self.when}-{self.engines}"

    @property
    def voice(self) -> str:
        """Piper speaks no Khmer."""
        return "km-KH-PisethNeural" if self.engines == NO_PIPER else DEFAULT_VOICE


@dataclass(frozen=True)
class Outcome:
    """`kind`: `200 edge-tts`, `502`, or `cut` for a connection that was broken after a 200; times in seconds."""

    kind: str
    seconds: float
    sound_bytes: int


def rows() -> Iterator[Row]:
    for fault, when, without_piper, without_fallback in EXPECTED:
        yield Row(fault, when, AUTO, without_piper.replace("espeak-ng", "piper"))
        if "espeak-ng" in without_piper:
            yield Row(fault, when, NO_PIPER, without_piper)
        yield Row(fault, when, CLOUD, without_fallback)


def prepare(cloud: SpeechCloud, row: Row) -> dict[str, object]:
    """Set the cloud to the row's fault; the settings of the audio section that go with it."""
    cloud.messages_before = 3 if row.when == AFTER else 0
    cloud.drip_seconds = 0.01
    cloud.upcoming.clear()
    cloud.fault = row.fault
    if row.when == ONCE:
        cloud.upcoming.append(row.fault)
        # aiohttp connects once more by itself after a reset.
        cloud.upcoming.extend([row.fault] if row.fault is Fault.RESET else [])
        cloud.fault = Fault.NONE
    return {
        **SETTINGS,
        "endpoint": cloud.endpoint(row.fault),
        "engine": CLOUD if row.engines == CLOUD else "auto",
        "breaker_failures": 1000,
    }


def listen(client: httpx.Client, voice: str = DEFAULT_VOICE, text: str = TEXT) -> Outcome:
    received = 0
    begun = time.monotonic()
    try:
        with client.stream("POST", "/audio", json={"text": text, "voice": voice}) as response:
            kind = f"{response.status_code} {response.headers.get('x-audio-engine', '')}".strip()
            for piece in response.iter_raw():
                received += len(piece)
    except httpx.RemoteProtocolError:
        kind = "cut"
    return Outcome(kind, time.monotonic() - begun, received)


def main() -> None:
    from tests.conftest import run_service

    print("| fault | when | who may speak | answer | seconds |\n| --- | --- | --- | --- | ---: |")
    with SpeechCloud() as cloud, tempfile.TemporaryDirectory() as folder, ExitStack() as services:
        clients: dict[tuple[str, ...], httpx.Client] = {}
        for number, row in enumerate(rows()):
            settings = {name: str(value) for name, value in prepare(cloud, row).items()}
            if (known := tuple(settings.values())) not in clients:
                variables = {f"AUDIO__{name.upper()}": value for name, value in settings.items()}
                running = services.enter_context(run_service(Path(folder) / f"{number}.txt", **variables))
                clients[known] = httpx.Client(base_url=running.url, timeout=60, trust_env=False)
                # Imports count for nothing, and Piper's voice is loaded.
                time.sleep(WARM_UP_SECONDS)
            outcome = listen(clients[known], row.voice, f"{TEXT} {number}.")
            sign = "" if outcome.kind == row.expected else f" (expected {row.expected})"
            print(
                f"| {row.fault.value} | {row.when} | {row.engines} | {outcome.kind}{sign} | {outcome.seconds:.2f} |",
                flush=True,
            )


def whole_bytes() -> float:
    """Of a whole recording of the cloud."""
    return seconds_of(TEXT.strip()) * 6000


if __name__ == "__main__":
    main()
