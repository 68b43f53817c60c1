"""Every voice that is known: the bundled list, and what the cloud's own list adds when it answers."""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from common.settings import AudioSettings
from common.text import nearest
from functions.audio.voices import BUNDLED, NAME, Voice, voice

logger = logging.getLogger(__name__)

FRESH_SECONDS = 24 * 3600.0
RETRY_SECONDS = 600.0

Source = Literal["bundled", "cloud"]


class Catalogue(Mapping[str, Voice]):
    """Voices by name. A voice that was known once stays: a client that uses it is not refused without need."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Back to the bundled list."""
        self._voices: dict[str, Voice] = dict(BUNDLED)
        self._due_at = 0.0
        self._refreshing: asyncio.Task[None] | None = None
        self.source: Source = "bundled"

    def __getitem__(self, name: str) -> Voice:
        return self._voices[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._voices)

    def __len__(self) -> int:
        return len(self._voices)

    def speaking(self, locale: str) -> list[Voice]:
        """The voices of a locale (`en-GB`) or of a language (`en`), in any letter case."""
        wanted = f"{locale.casefold()}-"
        return [known for known in self._voices.values() if f"{known.locale.casefold()}-".startswith(wanted)]

    async def refresh(self, settings: AudioSettings, wait_seconds: float) -> None:
        """Ask the cloud, once a day, for its list; return after `wait_seconds` at most, then it goes on by itself.

        A cloud that does not answer changes nothing and is asked again after ten minutes.
        """
        if settings.engine == "espeak-ng" or (settings.endpoint and not settings.voices_endpoint):
            return
        if time.monotonic() >= self._due_at:
            self._due_at = time.monotonic() + RETRY_SECONDS
            self._refreshing = asyncio.create_task(self._refresh(settings))
        if self._refreshing and self._refreshing.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([self._refreshing], timeout=wait_seconds)

    async def _refresh(self, settings: AudioSettings) -> None:
        try:
            async with asyncio.timeout(settings.connect_seconds + settings.first_audio_seconds):
                rows = await _listed(settings.voices_endpoint)
            voices = {known.name: known for row in rows if (known := _read(row)) is not None}
        except Exception as error:
            # All of them: what edge-tts raises on an answer it does not understand is whatever its parsing trips over.
            logger.warning("the speech cloud's list of voices could not be had: %s", error or type(error).__name__)
            return
        self._voices |= voices
        self._due_at = time.monotonic() + FRESH_SECONDS
        self.source = "cloud"


def closest(name: str, names: Iterable[str]) -> str:
    """ "; the closest are .." with up to three of `names` that are nearest to `name`; empty when none is near."""
    near = nearest(name, names, 3)
    return f"; the closest are {', '.join(near)}" if near else ""


async def _listed(endpoint: str | None) -> list[Any]:
    import edge_tts.voices

    if endpoint:
        # edge-tts appends `&name=value` to it.
        edge_tts.voices.VOICE_LIST = endpoint if "?" in endpoint else f"{endpoint}?"  # type: ignore[attr-defined]
    return await edge_tts.voices.list_voices()


def _read(row: dict[str, Any]) -> Voice | None:
    """A voice of the cloud's list, None of one that cannot be addressed."""
    name, locale, gender = row["ShortName"], row["Locale"], row["Gender"]
    if gender in ("Female", "Male") and NAME.fullmatch(name) and name.startswith(f"{locale}-"):
        return voice(name, locale, gender)
    return None


catalogue = Catalogue()
