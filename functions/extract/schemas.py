"""What POST /extract takes and answers."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from common.text import not_blank, text_field, without_nul

MAX_TEXT_CHARACTERS = 200_000
MAX_TEXTS = 64
MAX_LABELS = 50
MAX_LABEL_CHARACTERS = 100
# Below this nearly every span of every text would be an entity.
MIN_THRESHOLD = 0.01


def _distinct(labels: list[str]) -> list[str]:
    seen: set[str] = set()
    for label in labels:
        if label in seen:
            raise ValueError(f"has the label {label!r} more than once")
        seen.add(label)
    return labels


Text = Annotated[str, text_field(MAX_TEXT_CHARACTERS), AfterValidator(not_blank), AfterValidator(without_nul)]
Label = Annotated[str, text_field(MAX_LABEL_CHARACTERS), AfterValidator(not_blank), AfterValidator(without_nul)]


class Options(BaseModel):
    """What to look for, and how."""

    model_config = ConfigDict(extra="forbid", strict=True)

    labels: Annotated[list[Label], Field(min_length=1, max_length=MAX_LABELS), AfterValidator(_distinct)] = Field(
        default_factory=lambda: ["Person", "Organization", "Location"],
        description="what to look for; letter case matters to the model",
        json_schema_extra={"uniqueItems": True},
    )
    threshold: float = Field(0.5, ge=MIN_THRESHOLD, le=1, allow_inf_nan=False, description="least score of an entity")
    flat_ner: bool = Field(True, description="false: an entity may lie inside another")
    multi_label: bool = Field(False, description="true: one span may carry several labels")


# A null is taken as if the field were not there.
ONE_OF_BOTH: list[JsonValue] = [
    {"required": ["text"], "properties": {"text": {"type": "string"}, "texts": {"type": "null"}}},
    {"required": ["texts"], "properties": {"texts": {"type": "array"}, "text": {"type": "null"}}},
]


class ExtractRequest(Options):
    model_config = ConfigDict(json_schema_extra={"oneOf": ONE_OF_BOTH})

    text: Text | None = Field(None, description="either this or `texts`")
    # Each is checked by itself: a bad one has its own error among the results of the others.
    texts: Annotated[list[str], Field(min_length=1, max_length=MAX_TEXTS)] | None = Field(
        None, description="several texts at once, each as `text` would be"
    )


class Entity(BaseModel):
    text: str
    label: str
    score: float
    start: int = Field(description="offset of the first character, in code points")
    end: int = Field(description="offset after the last character: text[start:end] is the entity's text")


class TextResult(BaseModel):
    entities: list[Entity] = Field(description="in the order of the text")
    inference_time_ms: int = Field(description="with the time in the queue")
    words: int = Field(description="words the model looked at: all of the text's")
    windows: int = Field(description="overlapping windows the text was looked at in")
    cached_answer: bool = Field(False, description="the answer was made for the same request before")


class ExtractResponse(TextResult):
    model_config = ConfigDict(protected_namespaces=())

    model: str


class TextProblem(BaseModel):
    """Problem details (RFC 9457) of one text."""

    type: str
    title: str
    status: int
    detail: str


class TextError(BaseModel):
    error: TextProblem


class TextsResponse(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    results: list[TextResult | TextError] = Field(description="one for each of `texts`, in their order")
    model: str
    inference_time_ms: int
