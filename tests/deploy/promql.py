"""Just enough of PromQL to tell what a query asks for: which series, by which labels, and inside of what."""

import re
from dataclasses import dataclass, field

TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<range>\[[^\]]*\])
    |(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?(?:ms|[smhdwy])?)
    |(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    |(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){},@])
    )""",
    re.VERBOSE,
)
# Each is followed by labels in parentheses.
GROUPINGS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
OPERATORS = {"and", "or", "unless", "bool", "offset"}


@dataclass(frozen=True)
class Matcher:
    label: str
    sign: str
    value: str


@dataclass(frozen=True)
class Selector:
    """A series that is asked for. `inside`: the functions around it, the innermost last."""

    metric: str
    matchers: tuple[Matcher, ...]
    is_range: bool
    inside: tuple[str, ...]


@dataclass
class Query:
    selectors: list[Selector] = field(default_factory=list)
    groupings: list[str] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)


def tokens(text: str) -> list[tuple[str, str]]:
    """Kinds and texts. Raises ValueError at what is no PromQL."""
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        if (match := TOKEN.match(text, at)) is None:
            raise ValueError(f"not understood from here on: {text[at:]!r}")
        assert match.lastgroup is not None
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def read(text: str) -> Query:
    """What the query `text` asks for. Raises ValueError where it is not well formed."""
    left = [*tokens(text), ("end", "")]
    query, inside = Query(), list[str]()
    last = ""
    while left[0][0] != "end":
        kind, value = left.pop(0)
        if kind == "name" and value in GROUPINGS:
            query.groupings += _labels(left)
            # `sum by (le) (..)`: the parenthesis that follows is that of `sum`.
            continue
        if kind == "name" and value not in OPERATORS:
            if left[0][1] == "(" or left[0][1] in GROUPINGS:
                query.functions.add(value)
            else:
                query.selectors.append(_selector(value, left, tuple(inside)))
        if value == "(" and kind == "sign":
            inside.append(last)
        elif value == ")" and kind == "sign":
            if not inside:
                raise ValueError(f"a parenthesis too many: {text}")
            inside.pop()
        last = value if kind == "name" else ""
    if inside:
        raise ValueError(f"a parenthesis is not closed: {text}")
    return query


def _labels(left: list[tuple[str, str]]) -> list[str]:
    _expect(left, "(")
    found = []
    while left[0][1] != ")":
        kind, value = left.pop(0)
        if kind == "name":
            found.append(value)
        elif value != ",":
            raise ValueError(f"{value!r} is no label")
    left.pop(0)
    return found


def _selector(metric: str, left: list[tuple[str, str]], inside: tuple[str, ...]) -> Selector:
    matchers = []
    if left[0][1] == "{":
        left.pop(0)
        while left[0][1] != "}":
            (_, label), (_, sign), (kind, value) = left.pop(0), left.pop(0), left.pop(0)
            if kind != "string" or sign not in ("=", "!=", "=~", "!~"):
                raise ValueError(f"{label}{sign}{value} matches nothing")
            matchers.append(Matcher(label, sign, value[1:-1]))
            if left[0][1] == ",":
                left.pop(0)
        left.pop(0)
    is_range = left[0][0] == "range"
    if is_range:
        left.pop(0)
    return Selector(metric, tuple(matchers), is_range, inside)


def _expect(left: list[tuple[str, str]], wanted: str) -> None:
    if left.pop(0)[1] != wanted:
        raise ValueError(f"{wanted!r} is missing")
