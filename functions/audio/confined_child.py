"""What a process does that lets C code read strangers' text: it answers wishes one by one, and nothing else.

The other end is confined_process.py. For each line of JSON on its standard input it writes frames to its standard
output: PART as often as there is something, then DONE, which is empty or holds the reason why there is no more. It ends
when its input does. Standard library only.
"""

import json
import os
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any

from functions.audio.confinement import confine, limit_cpu_seconds

# A frame: its kind and the length of what follows.
FRAME = struct.Struct("<cI")
READY, PART, DONE = b"R", b"P", b"D"

MEMORY_BYTES = 256 * 1024 * 1024
OPEN_FILES = 16
# A sentence takes some milliseconds; the longest that is sent some tenths of a second.
CPU_SECONDS_PER_WISH = 5

Send = Callable[[bytes], None]
# Answers a wish by parts; the outcome is the reason why it cannot, or "".
Answer = Callable[[dict[str, Any], Send], str]


def serve(prepare: Callable[[str, str], Answer]) -> None:
    """Load by `prepare(library, data)`, whose paths are this process's arguments; confine this process; answer."""
    library, data = sys.argv[1:]
    # Ctrl-C reaches all processes of a terminal; this one ends with its parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A parent that is gone is no reason for a stack trace.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    lines, descriptor = sys.stdin.buffer, os.dup(1)
    answer = prepare(library, data)
    not_done = confine(data, MEMORY_BYTES, OPEN_FILES)
    _send(descriptor, READY, json.dumps(not_done).encode())
    for line in lines:
        limit_cpu_seconds(CPU_SECONDS_PER_WISH)
        reason = answer(json.loads(line), lambda part: _send(descriptor, PART, part))
        _send(descriptor, DONE, reason.encode())


def _send(descriptor: int, kind: bytes, payload: bytes) -> None:
    data = memoryview(FRAME.pack(kind, len(payload)) + payload)
    while data:
        data = data[os.write(descriptor, data) :]
