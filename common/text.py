"""Checks on text that every function's schema shares. Each raises ValueError with a sentence for the caller."""


def not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def without_nul(text: str) -> str:
    # No article holds one, and C libraries would end the text there and drop the rest.
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    return text
