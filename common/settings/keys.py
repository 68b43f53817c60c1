"""API keys as they are written in settings: `desk:KEY,pulse:sha256=HEX`, or one a line in a file.

No message here holds a key or a part of one: it would end in a log.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

# No address looks like a name: IPv4 begins with a digit, and IPv6 holds a colon.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}", re.ASCII)
# What a header can carry and a list with commas too.
KEY = re.compile(r"[!-+\--~]+", re.ASCII)
DIGEST = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
DIGEST_MARK = "sha256="
# 16 random characters of base64 are 96 bits. A shorter key may be found by trying, which the log says at the start.
SAFE_CHARACTERS, MOST_CHARACTERS = 16, 256
LEAST_WEIGHT, MOST_WEIGHT = 0.01, 100.0
MOST_FILE_BYTES = 1_048_576
# Each request is compared with all of them.
MOST_KEYS = 1000


@dataclass(frozen=True)
class Key:
    """`digest` is the SHA-256 of the key, and all that is kept of it, but for whether it `is_short`."""

    name: str
    digest: bytes
    weight: float = 1.0
    is_short: bool = False


class BadKeys(Exception):
    """Raised with what is wrong: the name of the setting, and a sentence that holds nothing of a key."""

    def __init__(self, found: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{setting}: {detail}" for setting, detail in found))
        self.found = found


def keys_of(api_keys: str | None, api_keys_file: Path | None, api_key_weights: str) -> dict[str, Key]:
    """The keys of these settings by name. Raises BadKeys."""
    bad: list[tuple[str, str]] = []
    found: list[Key] = []
    given: dict[str, float] = {}
    readings: dict[str, Callable[[], list[Key]]] = {}
    if api_keys is not None:
        readings["api_keys"] = partial(listed, api_keys)
    if api_keys_file is not None:
        readings["api_keys_file"] = partial(from_file, api_keys_file)
    for setting, reading in readings.items():
        try:
            found += reading()
            _check_distinct(found)
        except ValueError as error:
            bad.append((setting, str(error)))
    try:
        given = weights(api_key_weights)
        if not bad and (unknown := sorted(given.keys() - {key.name for key in found})):
            raise ValueError(f"there is no key of the name {unknown[0]}")
    except ValueError as error:
        bad.append(("api_key_weights", str(error)))
    if bad:
        raise BadKeys(bad)
    return {key.name: replace(key, weight=given.get(key.name, 1.0)) for key in found}


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def listed(text: str) -> list[Key]:
    """The keys of a list with commas. Raises ValueError."""
    return _keys((f"key {number}", item.strip()) for number, item in enumerate(text.split(","), 1))


def from_file(path: Path) -> list[Key]:
    """The keys of a file: one a line; blank lines, and those that begin with #, do not count. Raises ValueError."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_FILE_BYTES + 1)
        if len(content) > MOST_FILE_BYTES:
            raise ValueError(f"the file is larger than {MOST_FILE_BYTES} bytes")
        lines = content.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8") from None
    named = ((f"line {number}", line.strip()) for number, line in enumerate(lines, 1))
    return _keys((place, line) for place, line in named if line and not line.startswith("#"))


def weights(text: str) -> dict[str, float]:
    """The weights of `desk=3,pulse=1` by name. Raises ValueError."""
    found: dict[str, float] = {}
    for item in text.split(",") if text.strip() else ():
        name, equals, value = item.strip().partition("=")
        if not equals or not NAME.fullmatch(name.strip()):
            raise ValueError("must be NAME=WEIGHT, with commas")
        if name.strip() in found:
            raise ValueError(f"{name.strip()} has more than one weight")
        found[name.strip()] = _weight(name.strip(), value.strip())
    return found


def _check_distinct(keys: list[Key]) -> None:
    """Raises ValueError where two have one name, or are one key, or where there are too many."""
    if len(keys) > MOST_KEYS:
        raise ValueError(f"there may be {MOST_KEYS} keys")
    names: dict[bytes, str] = {}
    for key in keys:
        if key.name in names.values():
            raise ValueError(f"the name {key.name} is there more than once")
        if key.digest in names:
            raise ValueError(f"{names[key.digest]} and {key.name} have the same key")
        names[key.digest] = key.name


def _weight(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not LEAST_WEIGHT <= value <= MOST_WEIGHT:
        raise ValueError(f"the weight of {name} must be a number from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}")
    return value


def _keys(items: Iterable[tuple[str, str]]) -> list[Key]:
    found = [_key(place, item) for place, item in items]
    if not found:
        raise ValueError("holds no key")
    return found


def _key(place: str, item: str) -> Key:
    # No message names even the name: the two may be in the wrong order.
    name, colon, key = item.partition(":")
    if not colon or not NAME.fullmatch(name):
        raise ValueError(f"{place}: must be NAME:KEY; a name is a letter and up to 63 letters, digits and ._-")
    if key.startswith(DIGEST_MARK):
        if not DIGEST.fullmatch(key.removeprefix(DIGEST_MARK)):
            raise ValueError(f"{place}: {DIGEST_MARK} must be followed by the 64 hex digits of a SHA-256")
        return Key(name, bytes.fromhex(key.removeprefix(DIGEST_MARK)))
    if not KEY.fullmatch(key) or len(key) > MOST_CHARACTERS:
        allowed = f"1 to {MOST_CHARACTERS} characters of ASCII, without spaces and commas"
        raise ValueError(f"{place}: the key must have {allowed}")
    return Key(name, digest(key), is_short=len(key) < SAFE_CHARACTERS)
