"""espeak-ng as its process is asked and answers."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from functions.audio.confined_process import ConfinedProcess
from functions.audio.espeak_child import EVENT, EVENT_COUNT

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


class Speakers(ConfinedProcess):
    """espeak-ng, whatever becomes of its processes. `say` is for one thread at a time."""

    def __init__(self, paths: Callable[[], tuple[str, str]]) -> None:
        """`paths` gives those of the library and its data, and may raise."""
        super().__init__("espeak-ng", "espeak_child.py", paths)

    def say(self, manner: Manner, text: str, hear: Callable[[Sound], None]) -> None:
        """Speak `text`, and give each piece of sound to `hear`. Raises CannotSpeak."""
        self.ask(asdict(manner) | {"text": text}, lambda part: hear(_sound(part)))


def _sound(part: bytes) -> Sound:
    (number,) = EVENT_COUNT.unpack_from(part)
    begin = EVENT_COUNT.size + number * EVENT.size
    events = [EVENT.unpack_from(part, EVENT_COUNT.size + at * EVENT.size) for at in range(number)]
    return Sound(part[begin:], events)
