"""The processes in which espeak-ng speaks: one at work, one started ahead that takes over when the first one dies.

A text can make espeak-ng write where it must not. Then its process dies, and the part of a text that killed it is
remembered and not spoken again. As an earlier text may have done the damage, a part counts as the culprit only when it
has also killed a fresh process that spoke nothing else.
"""

import hashlib
import json
import logging
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from cachetools import LRUCache

from functions.audio.espeak_child import DONE, EVENT, EVENT_COUNT, FRAME, READY, SOUND

logger = logging.getLogger(__name__)

CHILD = Path(__file__).with_name("espeak_child.py")
START_SECONDS = 20.0
# Between two frames of a part; the first comes after some milliseconds. A process that is silent for longer hangs.
SILENCE_SECONDS = 4.0
# Parts that killed a process are remembered by a digest, so many of them.
REMEMBERED_PARTS = 4096
READ_BYTES = 65_536

# An event: kind, position in the text, length, milliseconds; see espeak_child.py.
Event = tuple[int, int, int, int]


@dataclass(frozen=True)
class Manner:
    """`voice` as espeak-ng names it, `rate` in words a minute, `volume` with 100 as normal, `pitch` from 0 to 100."""

    voice: str
    rate: int
    volume: int
    pitch: int


@dataclass(frozen=True)
class Sound:
    """PCM of 16 bits, mono, and the events within it."""

    samples: bytes
    events: list[Event]


class CannotSpeak(Exception):
    """This part cannot be spoken; the process lives, or another has taken its place."""


class _Died(Exception):
    """The process is gone, or had to be ended."""


class _Child:
    """One process. Its methods block, and are called from one thread at a time."""

    def __init__(self, library: str, data: str) -> None:
        command = [sys.executable, "-I", "-S", "-B", str(CHILD), library, data]
        # -I and -S: it needs the standard library only, and starts in a fraction of the time.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0, cwd="/"
        )
        assert self._process.stdout is not None
        self._readable = select.poll()
        self._readable.register(self._process.stdout, select.POLLIN)
        self._received = bytearray()
        self.not_confined: list[str] | None = None
        self.has_spoken = False

    def wait_until_ready(self) -> None:
        """Raises _Died."""
        if self.not_confined is None:
            kind, payload = self._frame(START_SECONDS)
            assert kind == READY
            self.not_confined = json.loads(payload)

    def say(self, manner: Manner, text: str) -> Iterator[Sound]:
        """The sound of `text` as it is made. Raises CannotSpeak and _Died."""
        self.wait_until_ready()
        self.has_spoken = True
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(asdict(manner) | {"text": text}).encode() + b"\n")
        except OSError:
            raise _Died from None
        while True:
            kind, payload = self._frame(SILENCE_SECONDS)
            if kind == SOUND:
                yield _sound(payload)
            elif payload:
                raise CannotSpeak(payload.decode())
            else:
                assert kind == DONE
                return

    def end(self) -> str:
        """Kill it, if it lives, and say how it ended."""
        self._process.kill()
        status = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        return f"signal {-status}" if status < 0 else f"exit status {status}"

    def _frame(self, seconds: float) -> tuple[bytes, bytes]:
        """The next frame; _Died when none comes within `seconds`."""
        until = time.monotonic() + seconds
        header = self._bytes(FRAME.size, until)
        kind, length = FRAME.unpack(header)
        return kind, self._bytes(length, until)

    def _bytes(self, number: int, until: float) -> bytes:
        assert self._process.stdout is not None
        while len(self._received) < number:
            left = until - time.monotonic()
            if left <= 0 or not self._readable.poll(left * 1000):
                raise _Died
            more = self._process.stdout.read(READ_BYTES)
            if not more:
                raise _Died
            self._received += more
        taken = bytes(self._received[:number])
        del self._received[:number]
        return taken


class Speakers:
    """espeak-ng, whatever becomes of its processes. `say` is for one thread at a time."""

    def __init__(self, paths: Callable[[], tuple[str, str]]) -> None:
        """`paths` gives those of the library and its data, and may raise."""
        self._paths = paths
        self._lock = threading.Lock()
        self._at_work: _Child | None = None
        self._spare: _Child | None = None
        self._killers: LRUCache[bytes, str] = LRUCache(REMEMBERED_PARTS)
        self._told = False

    def start(self) -> None:
        """Have a process at work and one in reserve. Raises CannotSpeak when none can be started."""
        with self._lock:
            child = self._present()
            try:
                child.wait_until_ready()
            except _Died:
                raise CannotSpeak(f"espeak-ng could not be started ({self._lost(child)})") from None
            if not self._told:
                self._told = True
                missing = ", ".join(child.not_confined or ()) or "nothing"
                logger.info("espeak-ng has a process of its own; of its confinement this system lacks: %s", missing)

    def say(self, manner: Manner, text: str, hear: Callable[[Sound], None]) -> None:
        """Speak `text`, and give each piece of sound to `hear`. Raises CannotSpeak."""
        digest = hashlib.sha256(repr((manner, text)).encode()).digest()
        if (reason := self._killers.get(digest)) is not None:
            raise CannotSpeak(reason)
        self.start()
        heard = 0
        while True:
            with self._lock:
                child = self._present()
                alone = not child.has_spoken
                try:
                    for number, sound in enumerate(child.say(manner, text)):
                        # What was heard before the first process died is not said twice.
                        if number >= heard:
                            heard = number + 1
                            hear(sound)
                    return
                except _Died:
                    how = self._lost(child)
            if alone:
                self._killers[digest] = reason = f"espeak-ng cannot speak a part of this text ({how})"
                raise CannotSpeak(reason)

    def end(self) -> None:
        """End the processes; the next part begins new ones."""
        with self._lock:
            for child in (self._at_work, self._spare):
                if child is not None:
                    child.end()
            self._at_work = self._spare = None

    def _present(self) -> _Child:
        if self._at_work is None:
            self._at_work, self._spare = self._spare or _Child(*self._paths()), None
        if self._spare is None:
            self._spare = _Child(*self._paths())
        return self._at_work

    def _lost(self, child: _Child) -> str:
        how = child.end()
        self._at_work = None
        logger.warning("espeak-ng's process ended (%s); another takes its place", how)
        return how


def _sound(payload: bytes) -> Sound:
    (number,) = EVENT_COUNT.unpack_from(payload)
    begin = EVENT_COUNT.size + number * EVENT.size
    events = [EVENT.unpack_from(payload, EVENT_COUNT.size + at * EVENT.size) for at in range(number)]
    return Sound(payload[begin:], events)
