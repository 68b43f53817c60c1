"""espeak-ng in a process of its own: it reads strangers' text, and has a record of memory errors.

Started by confined_process.py as a script, with the paths of the library and of its data. A wish holds voice, rate,
volume, pitch and text; each part of the answer is what one call back of the library gave: events and sound. Upstream:
espeak-ng's `speak_lib.h`.
"""

import ctypes
import struct
import sys
from itertools import count, takewhile
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from functions.audio.confined_child import Answer, Send, serve

# An event in a part: kind, position in the text (characters, from 1), length, time in milliseconds.
EVENT = struct.Struct("<iiii")
EVENT_COUNT = struct.Struct("<H")

SAMPLE_RATE = 22_050
BYTES_PER_SAMPLE = 2
BUFFER_MILLISECONDS = 100

# speak_lib.h
OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
PARAMETER_RATE, PARAMETER_VOLUME, PARAMETER_PITCH = 1, 2, 3
POSITION_CHARACTER = 1
CHARACTERS_UTF8 = 1
EVENT_LIST_TERMINATED, EVENT_WORD, EVENT_END = 0, 1, 5
CONTINUE = 0
OK = 0


class Event(ctypes.Structure):
    """espeak_EVENT: `text_position` counts characters from 1, `audio_position` is in milliseconds."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(Event))


def prepare(library_path: str, data_path: str) -> Answer:
    library = _library(library_path, data_path)
    return lambda wish, send: _say(library, wish, send)


def _library(path: str, data_path: str) -> ctypes.CDLL:
    library = ctypes.CDLL(path)
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    rate = library.espeak_Initialize(OUTPUT_SYNCHRONOUS, BUFFER_MILLISECONDS, data_path.encode(), INITIALIZE_DONT_EXIT)
    if rate != SAMPLE_RATE:
        sys.exit(f"espeak-ng could not be started (code {rate})")
    return library


def _say(library: ctypes.CDLL, wish: dict[str, Any], send: Send) -> str:
    """Speak one part; the reason why it could not be, or ""."""
    if library.espeak_SetVoiceByName(wish["voice"].encode()) != OK:
        return f"espeak-ng has no voice {wish['voice']}"
    library.espeak_SetParameter(PARAMETER_RATE, wish["rate"], 0)
    library.espeak_SetParameter(PARAMETER_VOLUME, wish["volume"], 0)
    library.espeak_SetParameter(PARAMETER_PITCH, wish["pitch"], 0)

    def on_samples(samples: int | None, number: int, events: "ctypes._Pointer[Event]") -> int:
        found = [
            EVENT.pack(event.type, event.text_position, event.length, event.audio_position)
            for event in takewhile(lambda event: event.type != EVENT_LIST_TERMINATED, map(events.__getitem__, count()))
            if event.type in (EVENT_WORD, EVENT_END)
        ]
        sound = ctypes.string_at(samples, number * BYTES_PER_SAMPLE) if samples and number else b""
        if found or sound:
            send(EVENT_COUNT.pack(len(found)) + b"".join(found) + sound)
        return CONTINUE

    # Held by this name until espeak_Synth returns: the library keeps a bare pointer.
    callback = SynthCallback(on_samples)
    library.espeak_SetSynthCallback(callback)
    data = wish["text"].encode()
    outcome = library.espeak_Synth(data, len(data) + 1, 0, POSITION_CHARACTER, 0, CHARACTERS_UTF8, None, None)
    return "" if outcome == OK else f"espeak-ng failed with {outcome}"


if __name__ == "__main__":
    serve(prepare)
