"""Sound and captions as files, in a folder beside OUT."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from batch.articles import Id, digest
from batch.errors import Ended
from batch.results import cannot_be_written

MOST_NAME_CHARACTERS = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class Recordings:
    """The folder is named for OUT: `out.jsonl` has its files in `out-audio`."""

    def __init__(self, out: Path) -> None:
        self.folder = out.with_name(f"{out.stem}-audio")
        self._out = out

    def path(self, identity: Id, suffix: str) -> Path:
        """Of one id, always the same. No two ids have one file, also where letter case does not count."""
        shown = _UNSAFE.sub("_", str(identity)).strip("._-")[:MOST_NAME_CHARACTERS]
        return self.folder / f"{shown}{'-' if shown else ''}{digest(identity):016x}{suffix}"

    def told(self, path: Path) -> str:
        """As OUT names it: from OUT's own folder."""
        return path.relative_to(self._out.parent).as_posix()

    async def keep(self, path: Path, chunks: AsyncIterator[bytes]) -> int:
        """Write all of it, or nothing; returns how many bytes it is. Raises Ended on a full disk."""
        part = path.with_name(path.name + ".part")
        size = 0
        try:
            self.folder.mkdir(exist_ok=True)
            with part.open("wb") as file:
                async for chunk in chunks:
                    size += file.write(chunk)
            os.replace(part, path)
        except OSError as error:
            raise Ended(cannot_be_written(path, error)) from None
        finally:
            with suppress(OSError):
                part.unlink()
        return size
