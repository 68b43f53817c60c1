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

from tests.doubles.edge_server import STRIKES, Fault, SpeechCloud, seconds_of

TEXT = "The committee met on Tuesday to talk about the new bridge over the river. " * 2
# Of a limit of its own each; both tries together take at most PATIENCE_SECONDS.
SETTINGS = {"connect_seconds": 0.3, "first_audio_seconds": 0.3, "between_audio_seconds": 0.5, "patience_seconds": 1.5}
BOUND_SECONDS = 5.0
WARM_UP_SECONDS = 1.5

SILENT = {Fault.MUTE, Fault.MUTE_HANDSHAKE}
# What a listener gets without the fallback voice when the cloud does not answer in time, else it is a 502.
TIMEOUTS = {fault: 504 for fault in SILENT | {Fault.STALL}}


@dataclass(frozen=True)
class Row:
    """`after` the first sound or before it; `engine` is the setting."""

    fault: Fault
    after: bool
    engine: str
    once: bool = False

    @property
    def name(self) -> str:
        when = "after" if self.after else "before"
        return f"{self.fault.value}{' once' if self.once else ''}-{when}-{self.engine}"

    @property
    def expected(self) -> str:
        if self.after:
            return "cut"
        # A cloud that says 429 is not asked again at once.
        if (self.once and self.fault is not Fault.TOO_MANY) or self.fault in (Fault.NONE, Fault.DRIP):
            return "200 edge-tts"
        return "200 espeak-ng" if self.engine == "auto" else str(TIMEOUTS.get(self.fault, 502))


@dataclass(frozen=True)
class Outcome:
    """`kind`: `200 edge-tts`, `502`, or `cut` for a connection that was broken after a 200; times in seconds."""

    kind: str
    seconds: float
    sound_bytes: int


def rows() -> Iterator[Row]:
    for fault in Fault:
        for engine in ("auto", "edge-tts"):
            yield Row(fault, False, engine)
            if fault in STRIKES:
                yield Row(fault, True, engine)
            if fault not in (Fault.NONE, Fault.DRIP, Fault.REFUSE, Fault.DNS, Fault.TLS):
                yield Row(fault, False, engine, once=True)


def prepare(cloud: SpeechCloud, row: Row) -> dict[str, object]:
    """Set the cloud to the row's fault; the settings of the audio section that go with it."""
    cloud.messages_before = 3 if row.after else 0
    cloud.drip_seconds = 0.01
    cloud.upcoming.clear()
    cloud.fault = row.fault
    if row.once:
        cloud.upcoming.append(row.fault)
        # aiohttp connects once more by itself after a reset.
        cloud.upcoming.extend([row.fault] if row.fault is Fault.RESET else [])
        cloud.fault = Fault.NONE
    return {**SETTINGS, "endpoint": cloud.endpoint(row.fault), "engine": row.engine, "breaker_failures": 1000}


def listen(client: httpx.Client, text: str = TEXT) -> Outcome:
    received = 0
    begun = time.monotonic()
    try:
        with client.stream("POST", "/audio", json={"text": text}) as response:
            kind = f"{response.status_code} {response.headers.get('x-audio-engine', '')}".strip()
            for piece in response.iter_raw():
                received += len(piece)
    except httpx.RemoteProtocolError:
        kind = "cut"
    return Outcome(kind, time.monotonic() - begun, received)


def main() -> None:
    from tests.conftest import run_service

    print("| fault | when | engine setting | answer | seconds |\n| --- | --- | --- | --- | ---: |")
    with SpeechCloud() as cloud, tempfile.TemporaryDirectory() as folder, ExitStack() as services:
        clients: dict[tuple[str, ...], httpx.Client] = {}
        for number, row in enumerate(rows()):
            settings = {name: str(value) for name, value in prepare(cloud, row).items()}
            if (known := tuple(settings.values())) not in clients:
                variables = {f"AUDIO__{name.upper()}": value for name, value in settings.items()}
                running = services.enter_context(run_service(Path(folder) / f"{number}.txt", **variables))
                clients[known] = httpx.Client(base_url=running.url, timeout=60, trust_env=False)
                # Imports count for nothing.
                time.sleep(WARM_UP_SECONDS)
            outcome = listen(clients[known], f"{TEXT} {number}.")
            when = "after the first sound" if row.after else "before"
            fault = row.fault.value + (", once" if row.once else "")
            sign = "" if outcome.kind == row.expected else f" (expected {row.expected})"
            print(f"| {fault} | {when} | {row.engine} | {outcome.kind}{sign} | {outcome.seconds:.2f} |", flush=True)


def whole_bytes() -> float:
    """Of a whole recording of the cloud."""
    return seconds_of(TEXT.strip()) * 6000


if __name__ == "__main__":
    main()
