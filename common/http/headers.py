"""What callers say in headers, read in one pass: the time is linear in their length, whatever they hold."""

from collections.abc import Iterable, Iterator


def elements(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The elements of a list header such as `Prefer` or `Accept`: each first part as it stands, and its parameters.

    `a;q=0.5, b="x, y"` is ("a", {"q": "0.5"}) and ('b="x, y"', {}). Names of parameters are in lower case. Source: RFC
    9110, sections 5.6.1 to 5.6.6; a quoted string that does not end reaches to the end of its line.
    """
    for line in lines:
        for element in _split(line, ","):
            first, *parameters = _split(element, ";")
            named = (parameter.partition("=") for parameter in parameters)
            yield first.strip(), {name.strip().lower(): unquoted(value.strip()) for name, _, value in named}


def unquoted(value: str) -> str:
    """The value of a quoted string; any other value as it is."""
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    inner = value[1:-1]
    return inner.replace('\\"', '"').replace("\\\\", "\\") if "\\" in inner else inner


def qualities(lines: Iterable[str]) -> dict[str, float]:
    """The media types of `Accept` in lower case, in their order, with their qualities from 0 to 1.

    A quality that is no number counts as 1, one out of range as the nearest. Source: RFC 9110, section 12.5.1.
    """
    found: dict[str, float] = {}
    for media_type, parameters in elements(lines):
        if media_type:
            found.setdefault(media_type.lower(), _quality(parameters.get("q", "1")))
    return found


def _quality(text: str) -> float:
    # Three decimals by the standard; no number worth reading is longer.
    try:
        value = float(text) if len(text) <= 8 else 1.0
    except ValueError:
        return 1.0
    return min(1.0, max(0.0, value)) if value == value else 1.0


def _split(text: str, separator: str) -> Iterator[str]:
    """The parts of `text` between separators that are not inside a quoted string."""
    if '"' not in text:
        yield from text.split(separator)
        return
    start, quoted, escaped = 0, False, False
    for at, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = character == "\\", character != '"'
        elif character == '"':
            quoted = True
        elif character == separator:
            yield text[start:at]
            start = at + 1
    yield text[start:]
