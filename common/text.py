"""Texts of callers, checked; texts for callers, cleaned. A check raises ValueError with a sentence for the caller."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

from pydantic import Field

# The same rule as `not_blank` and `without_nul`, for openapi.json. Python knows more white space than a pattern's \s.
TEXT_PATTERN = r"^[^\x00]*[^\s\x00\x1c-\x1f\x85][^\x00]*$"
COMPARED_CHARACTERS = 64
# Of 1; below it two names are not alike.
LEAST_LIKENESS = 0.5
# An absolute path's folders: a slash with neither a word nor an address in front of it, and all up to the last slash.
_FOLDERS = re.compile(r"(?<![\w/:.])/(?:[^/\n'\":]++(?<!\s)/)*+(?=[^\s/])")


def not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def without_nul(text: str) -> str:
    # No article holds one, and C libraries would end the text there and drop the rest.
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    return text


def without_folders(text: str) -> str:
    """`text` with the names of files in place of their absolute paths: where they lie is the operator's business."""
    return _FOLDERS.sub("", text)


def nearest(word: str, names: Iterable[str], most: int = 1) -> list[str]:
    """Up to `most` of `names` that look like `word` in any letter case, the most alike first: "did you mean ..?"."""
    folded = {name.casefold(): name for name in sorted(names)}
    # No name is longer: a longer word is not compared with all of them.
    wanted = word[:COMPARED_CHARACTERS].casefold()
    return [folded[match] for match in difflib.get_close_matches(wanted, folded, n=most, cutoff=LEAST_LIKENESS)]


def text_field(characters: int) -> Any:
    """A field for a text of at most so many characters. openapi.json gets the rules of the checks above."""
    return Field(max_length=characters, json_schema_extra={"minLength": 1, "pattern": TEXT_PATTERN})
