"""Which bytes a request asks for (RFC 9110, section 14)."""

import re

from fastapi import Request

from functions.audio.errors import RangeNotSatisfiable

# One range; a list may have empty elements (RFC 9110, 5.6.1).
_ONE = re.compile(r"bytes=[ \t,]*(\d*)-(\d*)[ \t,]*", re.ASCII | re.IGNORECASE)
# More digits than any size has; a number of thousands of them is not worth reading.
_MOST_DIGITS = 18


def wanted_bytes(request: Request, entity_tag: str, size: int) -> range | None:
    """The bytes of a content of `size` bytes that `Range` asks for, where `If-Range` lets it; None means all of them.

    `entity_tag` is the content's strong one. Raises RangeNotSatisfiable. Several ranges at once are not served, and
    what cannot be understood counts as no range, as the standard wants it.
    """
    asked = request.headers.getlist("range")
    validators = request.headers.getlist("if-range")
    if len(asked) != 1 or any(validator.strip() != entity_tag for validator in validators):
        return None
    return parsed(asked[0], size)


def parsed(value: str, size: int) -> range | None:
    """What a `Range` means for a content of `size` bytes; None where it is to be ignored.

    Raises RangeNotSatisfiable where no byte of the content is in it.
    """
    match = _ONE.fullmatch(value.strip())
    if match is None or match[1] == match[2] == "":
        return None
    first, last = _number(match[1]), _number(match[2])
    if first is None:
        # The last so many.
        first, last = max(0, size - (last or 0)), size - 1
    elif last is not None and last < first:
        return None
    if first >= size:
        raise RangeNotSatisfiable(size)
    return range(first, size if last is None else min(last + 1, size))


def content_range(part: range, size: int) -> str:
    return f"bytes {part.start}-{part.stop - 1}/{size}"


def _number(digits: str) -> int | None:
    if not digits:
        return None
    significant = digits.lstrip("0") or "0"
    return int(significant) if len(significant) <= _MOST_DIGITS else 10**_MOST_DIGITS
