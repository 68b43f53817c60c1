"""Text normalisation: what is written for the eye, as a person would read it aloud.

Marks of Markdown are left out, of a link its text is read and of a bare address its host, emoji are not named. All that
is a word stays. What a mark stands for is decided within one line and a few hundred characters, and no repeat is inside
of another: so the time is linear.
"""

import re
from collections.abc import Callable

Replace = str | Callable[["re.Match[str]"], str]

_EMOJI = "\U0001f000-\U0001faff\u2600-\u27bf\u2b05-\u2b55\u20e3\ufe0f\u200d\U000e0020-\U000e007f"
# Emphasis begins and ends at a word: `5 * 3 * 2`, `snake_case` and `2*3*4` are none.
_EMPHASIS = r"(?<![\w{0}])(?P<mark>{0}{{1,3}})(?=[^\s{0}])(?P<text>[^{0}\n]{{1,400}})(?<=\S)(?P=mark)(?![\w{0}])"

# In this order: what is inside of a mark is looked at after it.
_RULES: list[tuple[re.Pattern[str], Replace]] = [
    # A fence around code, with the language; a line under a heading, between sections or between rows of a table.
    (re.compile(r"^[ \t]{0,3}(?:```|~~~)[\w+-]{0,40}[ \t]*$", re.MULTILINE), ""),
    (re.compile(r"^(?=[ \t]{0,3}(?:([-=*_])[ \t]?\1[ \t]?\1))[-=*_ \t]{3,200}+$", re.MULTILINE), ""),
    (re.compile(r"^(?=[ \t|:]{0,8}---)[-|: \t]{3,400}+$", re.MULTILINE), ""),
    # Headings, quotations and items of a list.
    (re.compile(r"^[ \t]{0,12}(?:#{1,6}|>{1,6}|[-*+•])[ \t]+", re.MULTILINE), ""),
    # Pictures and links.
    (re.compile(r"!?\[([^\[\]\n]{0,400})\]\([^()\s]{1,2000}(?:[ \t]\"[^\"\n]{0,200}\")?\)"), r"\1"),
    (re.compile(r"<(https?://[^\s<>]{1,2000})>"), r"\1"),
    (
        re.compile(r"\bhttps?://(?:www\.)?([\w.-]{1,253})(?::\d{1,5})?(?:[/?#][^\s<>\"')\]*`]{0,2000})?"),
        lambda m: _host(m),
    ),
    # Code within a line, then emphasis.
    (re.compile(r"`{1,3}([^`\n]{1,400})`{1,3}"), r"\1"),
    (re.compile(_EMPHASIS.format(r"\*")), r"\g<text>"),
    (re.compile(_EMPHASIS.format("_")), r"\g<text>"),
    (re.compile(r"~~(?=\S)([^~\n]{1,400})(?<=\S)~~"), r"\1"),
    (re.compile(rf"[{_EMOJI}]+"), " "),
]


def normalized(text: str) -> str:
    """`text` as it is to be read aloud; the text itself where nothing of it would be left."""
    spoken = text
    for pattern, replacement in _RULES:
        spoken = pattern.sub(replacement, spoken)
    return spoken if any(character.isalnum() for character in spoken) else text


def _host(match: "re.Match[str]") -> str:
    # A stop at the end belongs to the sentence.
    whole, host = match[0], match[1].rstrip(".")
    return host + ("." if whole.endswith(".") else "")
