"""The Llama-3 chat prompt, as tokens.

Source: Meta's model card for Llama 3 Instruct, "Prompt format". The frame is tokenised with special tokens on, the
article with special tokens off, each by itself: an article that contains `<|eot_id|>` is only text. The frame opens
with `<|begin_of_text|>`, so none is added.
"""

from collections.abc import Callable, Sequence

INSTRUCTION = "You are a news editor. Summarize the article in a few plain sentences. Use only facts from the article."
OPENING = (
    f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{INSTRUCTION}<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n"
)
CLOSING = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"

Tokenize = Callable[[str, bool], list[int]]


def frame_length(tokenize: Tokenize) -> int:
    """Tokens of a prompt that are not the article's."""
    return len(tokenize(OPENING, True)) + len(tokenize(CLOSING, True))


def build(article: Sequence[int], tokenize: Tokenize) -> list[int]:
    """The whole prompt around an article's tokens; `tokenize(text, special)` is the model's own tokenizer."""
    return [*tokenize(OPENING, True), *article, *tokenize(CLOSING, True)]
