"""An article, and the id by which its line in OUT is known."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from batch.errors import Problem, unreadable

# Longer ones are not read into memory: a text that the service takes has a tenth of this.
MOST_BYTES = 16 * 1024 * 1024
MOST_ID_CHARACTERS = 512

Id = str | int


@dataclass(frozen=True, slots=True)
class Article:
    """`place` is where it stands, for messages: `news.jsonl, line 7`."""

    id: Id
    text: str
    place: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    id: Id
    place: str
    problem: Problem


Item = Article | Unreadable


class Source(Protocol):
    """What is read. Both methods read it from its beginning and block."""

    @property
    def name(self) -> str: ...

    def items(self) -> Iterator[Item]: ...

    def count(self, is_wanted: Callable[[], bool]) -> int | None:
        """How many items there are, if that can be found out cheaply; it stops when nobody wants to know any more."""


def article(identity: object, text: object, place: str, raw: bytes) -> Item:
    """The article of a record, or what is wrong with it. An article without an id gets one made of its text."""
    if identity is None or identity == "":
        identity = made_id("text", text) if isinstance(text, str) else made_id("unreadable", raw)
    if isinstance(identity, bool) or not isinstance(identity, str | int):
        return bad(raw, place, "the id is neither a string nor a whole number")
    if isinstance(identity, str) and not is_good_id(identity):
        return bad(raw, place, f"the id is over {MOST_ID_CHARACTERS} characters, or not valid Unicode")
    if not isinstance(text, str):
        return Unreadable(identity, place, unreadable(f"{place}: the text is no string"))
    if not _is_unicode(text):
        return Unreadable(identity, place, unreadable(f"{place}: the text is not valid Unicode"))
    return Article(identity, text, place)


def bad(raw: bytes, place: str, reason: str, identity: Id | None = None) -> Unreadable:
    """Something that cannot be read. Without an id it gets one that stays when lines before it come or go."""
    known = made_id("unreadable", raw) if identity is None else identity
    return Unreadable(known, place, unreadable(f"{place}: {reason}"))


def made_id(kind: str, content: str | bytes) -> str:
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return f"{kind}-{hashlib.blake2b(raw, digest_size=12).hexdigest()}"


def digest(identity: Id) -> int:
    """64 bits that stand for an id: of a million ids two have the same once in 37 million runs."""
    return int.from_bytes(hashlib.blake2b(str(identity).encode(), digest_size=8).digest())


def is_good_id(identity: str) -> bool:
    return len(identity) <= MOST_ID_CHARACTERS and _is_unicode(identity)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
