"""What texts are made of that have broken parsers before, and longer and longer texts of it."""

from collections.abc import Iterator
from itertools import product
from random import Random

FRAGMENTS = (
    # White space, separators and quotes of headers, JSON and prose.
    *(" ", "\t", "\n", "\r\n", "\xa0", "\u200b", "\u2029", "\u3000"),
    *(",", ";", "=", ":", '"', "'", "\\", '\\"', '"\\', ", ", "; ", '="', "a=b;", "W/", 'W/"x",'),
    *(".", "!", "?", "…", "。", "।", ". ", ".\n", "a.", "A. ", "1. ", "Dr. ", "[1]", '."', "» ", ".)"),
    *("(", ")", "[", "]", "{", "}", "<", ">", "&", "[[", '{"a":', "<b>", "&amp;"),
    *("-", "–", " - ", "—", "_", "-_", "a-", "a_", "*", "* ", "/", "//"),
    # Letters, digits and what is counted as either.
    *("a", "A", "é", "e\u0301", "\u0301", "\u0489", "0", "9", "1,", "1.", "²", "٣", "\ufdfa", "ﬃ", "ß", "İ", "ǅ"),
    *(
        "市",
        "。市",
        "の",
        "ไ",
        "अ",
        "अ\u0947",
        "한",
        "\u1100",
        "ა",
        "\u0600",
        "\u202e",
        "\ufeff",
        "\ufffd",
        "\U000e0001",
    ),
    *("🙂", "👩\u200d🚀", "🇫🇮", "🇫", "👍🏽", "\u200d", "\ufe0f", "\U0001d4d0", "\U00020000"),
    *(
        "#",
        "# ",
        ">",
        "> ",
        "|",
        "| ",
        "---",
        "|---",
        ":--",
        "```",
        "`",
        "~~",
        "**",
        "*a",
        "_a",
        "](",
        "[a](",
        "![",
        "<http://",
    ),
    *("s'", "a ", "A ", "ab ", "word ", "q=", "q=0.5,", "*/*,", "wait=", "bytes=", "0-,", "http://", "@a", "%"),
)
# The last character decides whether a pattern that has read all before it has to give it back.
ENDS = ("", "x", "\n", '"', ".", "\u0301")


def shapes(length: int, first: str, second: str, end: str) -> str:
    """`first` and `second` in turns, up to `length` characters, and then `end`."""
    unit = first + second
    return (unit * (length // len(unit) + 1))[: max(0, length - len(end))] + end


def halves(length: int, first: str, second: str, end: str) -> str:
    """A run of `first`, then a run of `second`, and then `end`."""
    runs = (part * (length // 2 // len(part) + 1) for part in (first, second) if part)
    return "".join(run[: length // 2] for run in runs) + end


SHAPES = {"in turns": shapes, "in halves": halves}
Case = tuple[str, str, str, str]


def singles() -> Iterator[Case]:
    """Every fragment by itself with every end."""
    for first, end in product(FRAGMENTS, ENDS):
        yield "in turns", first, "", end


def pairs(random: Random) -> Iterator[Case]:
    """Pairs of fragments in random order, without end."""
    while True:
        first, second = random.choice(FRAGMENTS), random.choice(FRAGMENTS)
        yield random.choice(list(SHAPES)), first, second, random.choice(ENDS)


def made(case: Case, length: int) -> str:
    """The text of a case, with about `length` characters."""
    shape, first, second, end = case
    return SHAPES[shape](length, first, second, end)
