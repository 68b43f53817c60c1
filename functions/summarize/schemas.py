"""What POST /summarize takes and answers."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from common.numbers import AnyWholeNumber
from common.text import not_blank, text_field, without_nul

MAX_TEXT_CHARACTERS = 200_000
MAX_NEW_TOKENS = 1024
# llama.cpp takes the largest 32-bit number for "pick one yourself".
MAX_SEED = 2**32 - 2


class SummarizeRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: Annotated[str, text_field(MAX_TEXT_CHARACTERS), AfterValidator(not_blank), AfterValidator(without_nul)]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS), AnyWholeNumber] = Field(
        150, description="most tokens the summary may have"
    )
    temperature: float = Field(0.7, ge=0, le=2, allow_inf_nan=False, description="0 always picks the likeliest token")
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), AnyWholeNumber] | None = Field(
        None, description="the same seed gives the same summary"
    )
    model: Literal["auto", "main"] = Field(
        "auto",
        description="main: only the main model writes; auto: where that has no time, a smaller one may stand in for it",
    )
    stream: bool = Field(False, description="answer with Server-Sent Events, as `Accept: text/event-stream` does")
    progress: bool = Field(False, description="of a stream: until the first word, `status` events tell how far it is")


class Usage(BaseModel):
    prompt_tokens: int = Field(description="instruction and article")
    cached_tokens: int = Field(description="of these, the opening that all prompts share: it is read once")
    completion_tokens: int = Field(description="of the summary; thoughts of a model that thinks aloud are not counted")
    cached_answer: bool = Field(False, description="the whole answer was made for the same request before")


def _never_null(schema: dict[str, Any]) -> None:
    """The field is there with a value or not at all."""
    schema |= schema.pop("anyOf")[0]
    schema.pop("default")


class SummarizeResponse(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    summary: str
    model: str = Field(description="who wrote it: the main model, or the one that stands in for it")
    inference_time_ms: int
    finish_reason: Literal["stop", "length", "deadline"] = Field(
        description="length: `max_tokens` ended it; deadline: time did, after the last whole sentence"
    )
    usage: Usage
    condensed: bool = Field(description="the article was too long for the room or the time: sentences were left out")
    input_tokens: int = Field(description="tokens of the whole article as it was sent, as the writer counts them")
    read: list[tuple[int, int]] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="of a condensed article: what was read of it, as offsets of the first character and behind the "
        "last one, in code points",
        json_schema_extra=_never_null,
    )
    unsupported: list[str] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="numbers and names of the summary that the article does not have; only where they are looked for",
        json_schema_extra=_never_null,
    )
