"""What /audio counts of the work that is done: a recording that is given again, or to several, counts once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import get_args

from prometheus_client import Counter

from common.metrics import declare_phase, registry
from functions.audio.errors import (
    ImpatientTimeout,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamSilent,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from functions.audio.pieces import BYTES_PER_SECOND, EngineName, Piece

recordings = Counter(
    "factory_audio_recordings",
    "Recordings that were begun, by who spoke; whole, failed, or left by all listeners",
    ("engine", "outcome"),
    registry=registry,
)
sound_bytes = Counter("factory_audio_sound_bytes", "Bytes of MP3 that were made", ("engine",), registry=registry)
sound_seconds = Counter(
    "factory_audio_sound_seconds", "Seconds of speech that were made", ("engine",), registry=registry
)
cloud_turns = Counter(
    "factory_audio_cloud_turns",
    "Turns of the speech cloud, by how they ended; unavailable: they were not asked for, as it is left alone",
    ("outcome",),
    registry=registry,
)
cloud_retries = Counter(
    "factory_audio_cloud_retries", "Turns that were asked for again after a failure", registry=registry
)

declare_phase(
    "first_audio",
    "Until the first sound is there, in whatever format",
    (0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 8),
)

# The first one that an error is an instance of.
TURN_OUTCOMES = {
    UpstreamRefused: "refused",
    UpstreamSilent: "silent",
    UpstreamFailed: "failed",
    ImpatientTimeout: "impatient",
    UpstreamTimeout: "timeout",
    UpstreamUnavailable: "unavailable",
}
WHOLE, FAILED, LEFT = "whole", "failed", "left"

# From the start, so that the first failure is seen as a rise.
for engine in get_args(EngineName):
    for outcome in (WHOLE, FAILED, LEFT):
        recordings.labels(engine, outcome)
for outcome in (WHOLE, LEFT, *TURN_OUTCOMES.values()):
    cloud_turns.labels(outcome)


@contextmanager
def recording(engine: EngineName) -> Iterator[Callable[[Piece], None]]:
    """Count a recording of `engine`, and each of its pieces that is given to the function."""

    def count(piece: Piece) -> None:
        if isinstance(piece, bytes):
            sound_bytes.labels(engine).inc(len(piece))
            sound_seconds.labels(engine).inc(len(piece) / BYTES_PER_SECOND)

    outcome = LEFT
    try:
        yield count
        outcome = WHOLE
    except Exception:
        outcome = FAILED
        raise
    finally:
        recordings.labels(engine, outcome).inc()


@contextmanager
def cloud_turn() -> Iterator[None]:
    """Count a turn with the speech cloud by how it ends."""
    outcome = LEFT
    try:
        yield
        outcome = WHOLE
    except Exception as error:
        outcome = next((name for kind, name in TURN_OUTCOMES.items() if isinstance(error, kind)), LEFT)
        raise
    finally:
        cloud_turns.labels(outcome).inc()


@contextmanager
def cloud_left_alone() -> Iterator[None]:
    """Count a turn that is not asked for."""
    try:
        yield
    except UpstreamUnavailable:
        cloud_turns.labels(TURN_OUTCOMES[UpstreamUnavailable]).inc()
        raise
