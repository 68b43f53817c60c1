"""Articles out of text and HTML files. The id of each is its path below the folder."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from batch.articles import MOST_BYTES, Article, Item, Unreadable, is_good_id, made_id
from batch.errors import Unusable, unreadable

TEXT, HTML = frozenset({".txt"}), frozenset({".html", ".htm"})
SUFFIXES = TEXT | HTML
INSTALL = "to read HTML, install requirements/html.txt (make run EXTRAS=html)"


class _NoArticle(Exception):
    """Raised with why a file has none."""


@dataclass(frozen=True)
class Folder:
    """All text and HTML files below `path`, in the order of their names; or the one file that it is."""

    name: str
    path: Path

    def items(self) -> Iterator[Item]:
        for path in self._files():
            identity = self._id(path)
            try:
                yield Article(identity, read(path), identity)
            except _NoArticle as error:
                yield Unreadable(identity, identity, unreadable(f"{identity}: {error}"))

    def count(self, is_wanted: Callable[[], bool]) -> int | None:
        number = 0
        for _ in self._files():
            number += 1
            if not is_wanted():
                return None
        return number

    def _files(self) -> Iterator[Path]:
        if not self.path.is_dir():
            yield self.path
            return
        for folder, folders, names in os.walk(self.path):
            folders.sort()
            for name in sorted(names):
                if os.path.splitext(name)[1].lower() in SUFFIXES:
                    yield Path(folder, name)

    def _id(self, path: Path) -> str:
        named = path.name if path == self.path else path.relative_to(self.path).as_posix()
        return named if is_good_id(named) else made_id("file", os.fsencode(named))


def read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise _NoArticle(str(error.strerror)) from None
    if len(raw) > MOST_BYTES:
        raise _NoArticle(f"it is longer than {MOST_BYTES >> 20} MiB")
    if not raw.strip():
        raise _NoArticle("the file is empty")
    if path.suffix.lower() in HTML:
        return article_of(raw)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _NoArticle(f"not valid UTF-8 at byte {error.start + 1}") from None


def article_of(page: bytes) -> str:
    """The article of a web page, without menus, notes and comments (https://trafilatura.readthedocs.io).

    Raises Unusable where what reads it is not installed.
    """
    try:
        from trafilatura import extract
    except ImportError:
        # For all of them alike, so nothing of it is written down.
        raise Unusable(INSTALL) from None
    try:
        found = extract(page, include_comments=False, include_tables=False)
    except Exception as error:  # Whatever a stranger's page does to a parser, the others are still to be read.
        raise _NoArticle(f"the page cannot be read: {type(error).__name__}") from None
    if not found:
        raise _NoArticle("no article was found in the page")
    return str(found)
