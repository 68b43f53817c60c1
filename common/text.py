"""Texts of callers, checked; texts for callers, cleaned. A check raises ValueError with a sentence for the caller."""

import re

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
