"""The use case: an article in, its summary out, piece by piece."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from common.errors import FieldError, InvalidInput
from common.logs import trace
from functions.summarize import condense, prompt
from functions.summarize.engine import Completion, LlamaEngine, Sampling
from functions.summarize.schemas import SummarizeRequest, SummarizeResponse, Usage

# An article cut below this says too little to be summarised; a request that leaves less room is refused.
MIN_ARTICLE_TOKENS = 64


@dataclass(frozen=True)
class Plan:
    """What the model will see of an article of `input_tokens` tokens."""

    prompt: list[int]
    input_tokens: int
    condensed: bool


async def summarize(
    request: SummarizeRequest, engine: LlamaEngine, max_article_tokens: int | None
) -> AsyncGenerator[str | SummarizeResponse]:
    """Pieces of the summary as they come, and the whole answer at last.

    Raises InvalidInput for a `max_tokens` that leaves the article no room.
    """
    begun = time.monotonic()
    plan = await engine.run(lambda: make_plan(request, engine, max_article_tokens))
    sampling = Sampling(request.max_tokens, request.temperature, request.seed)
    pieces: list[str] = []
    async with aclosing(engine.generate(plan.prompt, sampling)) as stream:
        async for piece in stream:
            if isinstance(piece, str):
                pieces.append(piece)
                yield piece
            else:
                trace().add("prefill", piece.prefill_ms)
                trace().add("decode", piece.decode_ms)
                yield _response("".join(pieces), engine.name, begun, plan, piece)


def make_plan(request: SummarizeRequest, engine: LlamaEngine, max_article_tokens: int | None) -> Plan:
    """Tokenise the article, and condense it where it is over the room it has."""
    room = engine.context_tokens - prompt.frame_length(engine.tokenize) - request.max_tokens
    if room < MIN_ARTICLE_TOKENS:
        most = request.max_tokens + room - MIN_ARTICLE_TOKENS
        raise InvalidInput([FieldError("max_tokens", f"may be at most {most} with this model's context")])
    budget = min(room, max_article_tokens or room)
    text = request.text.strip()
    article = engine.tokenize(text, False)
    input_tokens = len(article)
    if input_tokens > budget:
        article = engine.tokenize(condense.lead(text, budget, lambda part: len(engine.tokenize(part, False))), False)
    return Plan(prompt.build(article, engine.tokenize), input_tokens, condensed=input_tokens > budget)


def _response(summary: str, model: str, begun: float, plan: Plan, completion: Completion) -> SummarizeResponse:
    return SummarizeResponse(
        summary=summary.strip(),
        model=model,
        inference_time_ms=round((time.monotonic() - begun) * 1000),
        finish_reason=completion.finish_reason,
        usage=Usage(
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
            completion_tokens=completion.completion_tokens,
        ),
        condensed=plan.condensed,
        input_tokens=plan.input_tokens,
    )
