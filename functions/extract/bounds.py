"""What one request to POST /extract may cost, in one place. Each bound is a setting; over it the request is refused."""

from collections.abc import Sequence

from common.errors import AnswerTooLarge, FieldError, InvalidInput
from common.settings import ExtractSettings

# Candidates that are looked at for each entity that an answer may have.
SPANS_PER_ENTITY = 5
# Up to here a text cannot have too many tokens, whatever it holds: normalising makes 18 characters of one at most.
SURELY_FEW_CHARACTERS = 4096
WHAT_HELPS = "(a higher `threshold`, fewer `labels`, a shorter text)"


def check_texts(texts: Sequence[str], settings: ExtractSettings) -> None:
    """Raises InvalidInput when the texts of one request are too long together."""
    total = sum(map(len, texts))
    if total > settings.max_characters:
        detail = f"have {total} characters together, and may have {settings.max_characters}"
        raise InvalidInput([FieldError("texts", detail)])


def check_labels(tokens: int, most: int) -> None:
    """Raises InvalidInput when the labels are too long: all of them stand before each window of the text."""
    if tokens > most:
        detail = f"have {tokens} tokens together, and may have {most}: fewer or shorter labels"
        raise InvalidInput([FieldError("labels", detail)])


class Bounds:
    """What a request has used up so far; its texts share it."""

    def __init__(self, settings: ExtractSettings) -> None:
        self._settings = settings
        self._tokens = self._spans = self._entities = self._bytes = 0

    def add_window(self, tokens: int) -> None:
        """A window of so many tokens, labels included, is to be looked at."""
        self._tokens += tokens
        if self._tokens > self._settings.max_tokens:
            detail = f"has more than {self._settings.max_tokens} tokens, with the labels before each window: send less"
            raise InvalidInput([FieldError("text", detail)])

    def add_spans(self, number: int) -> None:
        """The model found so many spans over the threshold."""
        self._spans += number
        if self._spans > SPANS_PER_ENTITY * self._settings.max_entities:
            most = SPANS_PER_ENTITY * self._settings.max_entities
            raise AnswerTooLarge(f"more than {most} spans are over the threshold {WHAT_HELPS}")

    def add_entities(self, number: int) -> None:
        """The answer has so many more entities."""
        self._entities += number
        most = self._settings.max_entities
        if self._entities > most:
            raise AnswerTooLarge(f"the answer would have more than {most} entities {WHAT_HELPS}")

    def add_bytes(self, size: int) -> None:
        """They are so many bytes of it."""
        self._bytes += size
        most = self._settings.max_answer_bytes
        if self._bytes > most:
            raise AnswerTooLarge(f"the answer would have more than {most} bytes {WHAT_HELPS}")
