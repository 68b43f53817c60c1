"""What GET /health answers."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from common.lazy import State
from common.upstreams import UpstreamState


class ModelHealth(BaseModel):
    """With what else a loaded model tells of itself, such as `graph`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str]

    state: State
    progress: float | None = Field(description="from 0 to 1; null where it cannot be told")
    detail: str = Field(description="how far it is, why it failed, or what it computes with")
    rates: dict[str, float] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="what it was measured to do lately: `reading_tokens_per_second`, `writing_tokens_per_second`",
    )


class QueueHealth(BaseModel):
    at_work: int = Field(description="requests that are being served")
    waiting: int = Field(description="requests that wait for their turn")


class UpstreamHealth(BaseModel):
    state: UpstreamState = Field(description="open: it keeps failing and is left alone; half-open: about to be tried")
    failures: int = Field(description="in a row")
    retry_in_seconds: float = Field(description="until it is tried again; 0 unless the state is open")


class HealthResponse(BaseModel):
    status: Literal["healthy", "degraded"] = Field(
        description="degraded: a model that is needed could not be loaded, or a service elsewhere fails"
    )
    models_loaded: bool = Field(description="every model that this process needs is ready")
    uptime_seconds: int
    version: str = Field(description="of the service")
    loop_lag_ms: float | None = Field(
        description="the longest that the event loop kept anybody waiting within the last minute; null on AWS Lambda"
    )
    llama_loaded: bool = Field(description="the main model of /summarize; another may stand in for it before")
    gliner_loaded: bool
    models: dict[str, ModelHealth] = Field(description="each model that this process knows of, by name")
    queues: dict[str, QueueHealth] = Field(description="requests that are here now, by the name of the function")
    upstreams: dict[str, UpstreamHealth] = Field(description="each service elsewhere that this process uses, by name")
