"""Keys: whose a request brings, compared in constant time."""

import hmac
import logging

from starlette.datastructures import Headers

from common.settings import get_settings
from common.settings.keys import MOST_CHARACTERS, SAFE_CHARACTERS, Key, digest

logger = logging.getLogger(__name__)

KEY_HEADER = "X-API-Key"


def are_set() -> bool:
    """Whether a request needs a key."""
    return bool(get_settings().keys)


def is_key_name(caller: str) -> bool:
    """Whether a caller, as the log names it, is a key's name and not an address."""
    return caller in get_settings().keys


def name_of(caller: str) -> str:
    """The name of the caller's key; "" for an address, which is nobody's to collect."""
    return caller if is_key_name(caller) else ""


def offered(headers: Headers) -> list[str]:
    """What a request brings as its key. Another kind of Authorization, such as a signature of AWS, is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    found = [headers.get(KEY_HEADER, ""), token if scheme.lower() == "bearer" else ""]
    return [value.strip() for value in found if value.strip()]


def matching(values: list[str]) -> Key | None:
    """The key that is among `values`, the first that matches.

    How long this takes tells nothing of any key: digests of a fixed length are compared, each with each, to the end.
    """
    found: Key | None = None
    keys = list(get_settings().keys.values())
    for value in values:
        # What is longer is no key, and costs nothing.
        given = digest(value) if len(value) <= MOST_CHARACTERS else b""
        equal = [hmac.compare_digest(given, key.digest) for key in keys]
        if found is None and any(equal):
            found = keys[equal.index(True)]
    return found


def announce() -> None:
    """Say once in the log who may use the service."""
    names = sorted(get_settings().keys)
    short = sorted(key.name for key in get_settings().keys.values() if key.is_short)
    if short:
        few = f"fewer than {SAFE_CHARACTERS} characters"
        logger.warning("API keys: those of %s have %s, and may be found by trying", ", ".join(short), few)
    if names:
        logger.info("API keys: a request needs one of %d (%s)", len(names), ", ".join(names))
    else:
        logger.info("API keys: none are set, so everyone who reaches the service may use it (FACTORY_API_KEYS)")
