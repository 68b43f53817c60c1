"""The processes in which C code reads strangers' text: one at work, one started ahead that takes over when it dies.

A text can make espeak-ng write where it must not. Then its process dies, and the wish that killed it is remembered and
not tried again. As an earlier text may have done the damage, a wish counts as the culprit only when it has also killed
a fresh process that was asked nothing else.
"""

import hashlib
import json
import logging
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cachetools import LRUCache

from common.child import harmless_environment
from functions.audio.confined_child import DONE, FRAME, PART, READY

logger = logging.getLogger(__name__)

START_SECONDS = 20.0
# Between two frames of an answer; the first comes after some milliseconds. A process that is silent for longer hangs.
SILENCE_SECONDS = 4.0
# Wishes that killed a process are remembered by a digest, so many of them.
REMEMBERED_WISHES = 4096
READ_BYTES = 65_536

Wish = Mapping[str, Any]


class CannotSpeak(Exception):
    """This part of a text cannot be spoken; the process lives, or another has taken its place."""


class _Died(Exception):
    """The process is gone, or had to be ended."""


class _Child:
    """One process. Its methods block, and are called from one thread at a time."""

    def __init__(self, script: Path, library: str, data: str) -> None:
        command = [sys.executable, "-I", "-S", "-B", str(script), library, data]
        # -I and -S: it needs the standard library only, and starts in a fraction of the time.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            env=harmless_environment(),
        )
        assert self._process.stdout is not None
        self._readable = select.poll()
        self._readable.register(self._process.stdout, select.POLLIN)
        self._received = bytearray()
        self.not_confined: list[str] | None = None
        self.was_asked = False

    def wait_until_ready(self) -> None:
        """Raises _Died."""
        if self.not_confined is None:
            kind, payload = self._frame(START_SECONDS)
            assert kind == READY
            self.not_confined = json.loads(payload)

    def ask(self, wish: Wish) -> Iterator[bytes]:
        """The parts of the answer as they come. Raises CannotSpeak and _Died."""
        self.wait_until_ready()
        self.was_asked = True
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(wish).encode() + b"\n")
        except OSError:
            raise _Died from None
        while True:
            kind, payload = self._frame(SILENCE_SECONDS)
            if kind == PART:
                yield payload
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


class ConfinedProcess:
    """What the script `child` does, whatever becomes of its processes. `ask` is for one thread at a time."""

    def __init__(self, name: str, child: str, paths: Callable[[], tuple[str, str]]) -> None:
        """`child` is a module beside this one; `paths` gives those of the library and its data, and may raise."""
        self._name = name
        self._script = Path(__file__).with_name(child)
        self._paths = paths
        self._lock = threading.Lock()
        self._at_work: _Child | None = None
        self._spare: _Child | None = None
        self._killers: LRUCache[bytes, str] = LRUCache(REMEMBERED_WISHES)
        self._told = False

    def start(self) -> None:
        """Have a process at work and one in reserve. Raises CannotSpeak when none can be started."""
        with self._lock:
            child = self._present()
            try:
                child.wait_until_ready()
            except _Died:
                raise CannotSpeak(f"{self._name} could not be started ({self._lost(child)})") from None
            if not self._told:
                self._told = True
                missing = ", ".join(child.not_confined or ()) or "nothing"
                logger.info(
                    "%s has a process of its own; of its confinement this system lacks: %s", self._name, missing
                )

    def ask(self, wish: Wish, hear: Callable[[bytes], None]) -> None:
        """Give each part of the answer to `hear`. Raises CannotSpeak."""
        digest = hashlib.sha256(json.dumps(wish).encode()).digest()
        if (reason := self._killers.get(digest)) is not None:
            raise CannotSpeak(reason)
        self.start()
        heard = 0
        while True:
            with self._lock:
                child = self._present()
                alone = not child.was_asked
                try:
                    for number, part in enumerate(child.ask(wish)):
                        # What was heard before the first process died is not said twice.
                        if number >= heard:
                            heard = number + 1
                            hear(part)
                    return
                except _Died:
                    how = self._lost(child)
            if alone:
                self._killers[digest] = reason = f"{self._name} cannot speak a part of this text ({how})"
                raise CannotSpeak(reason)

    def end(self) -> None:
        """End the processes; the next wish begins new ones."""
        with self._lock:
            for child in (self._at_work, self._spare):
                if child is not None:
                    child.end()
            self._at_work = self._spare = None

    def _present(self) -> _Child:
        if self._at_work is None:
            self._at_work, self._spare = self._spare or _Child(self._script, *self._paths()), None
        if self._spare is None:
            self._spare = _Child(self._script, *self._paths())
        return self._at_work

    def _lost(self, child: _Child) -> str:
        how = child.end()
        self._at_work = None
        logger.warning("%s's process ended (%s); another takes its place", self._name, how)
        return how
