"""What each function is asked, and what of its answer is written down."""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from batch.errors import Problem, invalid
from functions.audio.schemas import AudioRequest
from functions.extract.schemas import ExtractRequest
from functions.summarize.schemas import SummarizeRequest

Fields = dict[str, Any]

# Texts that one call of /extract takes here: fewer than it may have, as a call is tried again as a whole.
MOST_TEXTS, MOST_TEXTS_CHARACTERS = 16, 60_000
# How an answer comes is decided here, and the text is the article's.
HIDDEN = frozenset({"text", "texts", "stream", "progress"})


@dataclass(frozen=True)
class Function:
    """`together`: articles that one call may have."""

    name: str
    request: type[BaseModel]
    together: int = 1

    @property
    def path(self) -> str:
        return f"/{self.name}"

    def problem_with(self, text: str, fields: Fields) -> Problem | None:
        """What the service would say to it; nothing is sent of which that is known."""
        try:
            self.request.model_validate({**fields, "text": text})
        except ValidationError as error:
            return invalid(error)
        return None


SUMMARIZE = Function("summarize", SummarizeRequest)
EXTRACT = Function("extract", ExtractRequest, together=MOST_TEXTS)
AUDIO = Function("audio", AudioRequest)
FUNCTIONS = {function.name: function for function in (SUMMARIZE, EXTRACT, AUDIO)}


def options(function: Function) -> dict[str, dict[str, Any]]:
    """The JSON schema of each field that may be chosen for a run."""
    properties: dict[str, dict[str, Any]] = function.request.model_json_schema()["properties"]
    return {name: schema for name, schema in properties.items() if name not in HIDDEN}


def body(texts: list[str], fields: Fields) -> bytes:
    """Of a call: one text as `text`, several as `texts`."""
    named: Fields = {"text": texts[0]} if len(texts) == 1 else {"texts": texts}
    return json.dumps({**fields, **named}, ensure_ascii=False).encode()


def apart(answer: Fields, number: int) -> list[Fields]:
    """The answers to each of `number` texts, as if each had been sent alone; a bad one has `error`. Raises ValueError
    for an answer to something else."""
    if number == 1:
        return [answer]
    results = answer.get("results")
    if not isinstance(results, list) or len(results) != number:
        raise ValueError(f"an answer to {number} texts has not as many results")
    return [{**result, "model": answer.get("model")} if "error" not in result else result for result in results]
