"""The Llama-3 chat prompt, as tokens.

Source: Meta's model card for Llama 3 Instruct, "Prompt format". The frame is tokenised with special tokens on, the
article with special tokens off, each by itself: an article that contains `<|eot_id|>` is only text. The frame opens
with `<|begin_of_text|>`, so none is added. The opening is the same for every request, so that it is read only once;
what differs, such as the wished length, stands behind the article.
"""

from collections.abc import Callable, Sequence

INSTRUCTION = "You are a news editor. Summarize the article in a few plain sentences. Use only facts from the article."
OPENING = (
    f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{INSTRUCTION}<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n"
)
LENGTH = "\n\nSummarize the article above in at most {words} words."
CLOSING = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
# English has about 0.75 words a token; a little less is asked for, so that the text ends before it is cut.
WORDS_PER_TOKEN = 0.65
LEAST_WORDS = 10

Tokenize = Callable[[str, bool], list[int]]


def frame_length(tokenize: Tokenize, output_tokens: int | None = None) -> int:
    """Tokens of a prompt that are not the article's; with `output_tokens` the wished length is among them."""
    return len(tokenize(OPENING, True)) + len(_closing(tokenize, output_tokens))


def build(article: Sequence[int], tokenize: Tokenize, output_tokens: int | None = None) -> list[int]:
    """The whole prompt around an article's tokens; `tokenize(text, special)` is the model's own tokenizer.

    With `output_tokens` the model is told to keep to as many words as fit them.
    """
    return [*tokenize(OPENING, True), *article, *_closing(tokenize, output_tokens)]


def _closing(tokenize: Tokenize, output_tokens: int | None) -> list[int]:
    if output_tokens is None:
        return tokenize(CLOSING, True)
    words = max(LEAST_WORDS, int(output_tokens * WORDS_PER_TOKEN))
    return tokenize(LENGTH.format(words=words) + CLOSING, True)
