"""What /summarize counts of the work that is done: an answer that is given again, or to several, counts once."""

from prometheus_client import Counter

from common.metrics import declare_phase, registry
from functions.summarize.outputs import Answer
from functions.summarize.tickets import Completion

WRITER = ("model", "writer")

prompt_tokens = Counter(
    "factory_summarize_prompt_tokens",
    "Tokens of prompts, those of the shared opening included; also of the parts of a map-reduce",
    WRITER,
    registry=registry,
)
cached_tokens = Counter(
    "factory_summarize_cached_tokens",
    "Tokens of prompts that were not read again, as all prompts share them",
    WRITER,
    registry=registry,
)
completion_tokens = Counter(
    "factory_summarize_completion_tokens", "Tokens of summaries that were written", WRITER, registry=registry
)
thinking_tokens = Counter(
    "factory_summarize_thinking_tokens", "Tokens of thoughts, which nobody is shown", WRITER, registry=registry
)
summaries = Counter(
    "factory_summarize_summaries",
    "Summaries that were written, by who wrote, why it was the stand-in, and what ended them",
    ("writer", "why", "finish_reason"),
    registry=registry,
)
condensed = Counter(
    "factory_summarize_condensed",
    "Of these summaries: sentences of the article were left out",
    ("writer",),
    registry=registry,
)

declare_phase("prefill", "Reading the article", (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60))
declare_phase("decode", "Writing the summary", (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60))
declare_phase("check", "Looking for what the article does not have", (0.001, 0.005, 0.02, 0.1, 0.5, 2))


def count_completion(model: str, writer: str, completion: Completion) -> None:
    """Count the tokens of one generation."""
    prompt_tokens.labels(model, writer).inc(completion.prompt_tokens)
    cached_tokens.labels(model, writer).inc(completion.cached_tokens)
    completion_tokens.labels(model, writer).inc(completion.completion_tokens)
    thinking_tokens.labels(model, writer).inc(completion.thinking_tokens)


def count_summary(answer: Answer) -> None:
    writer = answer.notes["writer"]
    summaries.labels(writer, answer.notes.get("why", ""), answer.response.finish_reason).inc()
    condensed.labels(writer).inc(answer.response.condensed)
