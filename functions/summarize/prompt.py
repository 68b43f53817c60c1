"""A model's prompt, as tokens: the frame that its chat template writes, and an article in it.

The frame is tokenised with special tokens on, once, and the article with special tokens off, by itself: an article that
contains `<|eot_id|>` is only text. The opening is the same for every request, so that it is read only once. What
differs, such as the wished length, stands behind the article.

For Llama 3 the frame is the one of Meta's model card ("Prompt format"). The templates of 3.1 and 3.2 write the date
besides, which would make the opening another one each day and tells a summary nothing.
"""

import re
from collections.abc import Sequence

from common.errors import ModelLoadFailed
from common.settings import SummarizeSettings
from functions.summarize import template, thinking
from functions.summarize.context import LlamaContext
from functions.summarize.template import Frame
from functions.summarize.thinking import Thinking

INSTRUCTION: str = SummarizeSettings.model_fields["instruction"].default
LENGTH = "\n\nSummarize the article above in at most {words} words."
# English has about 0.75 words a token; a little less is asked for, so that the text ends before it is cut.
WORDS_PER_TOKEN = 0.65
LEAST_WORDS = 10

LLAMA_3_OPENING = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{instruction}<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n"
)
LLAMA_3_CLOSING = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
LLAMA_3_TOKENS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")


class Prompt:
    """The prompts of one loaded model: its frame, tokenised, and how an article is put into it."""

    def __init__(self, context: LlamaContext, settings: SummarizeSettings) -> None:
        """Render and tokenise the frame. Raises ModelLoadFailed for a template that cannot be used, with the reason."""
        self._context = context
        frame, self.thinking = self._frame(settings)
        # The space of "USER: " belongs to the word behind it.
        opening = frame.opening.rstrip(" ")
        self._lead = frame.opening[len(opening) :]
        self.opening = self._with_bos(context.tokenize(opening, True))
        self._closing = frame.closing
        self._closings: dict[int | None, list[int]] = {}
        # SentencePiece puts a space before a text. Where other text stands before it there is to be none.
        self._behind_text = context.adds_space and not self._spaced_after(opening)
        self._disguise = self._pattern_of_markers()

    def article(self, text: str) -> list[int]:
        """The tokens of `text` at its place in the frame: plain text, whatever it says."""
        first, *rest = self._disguise.split(self._lead + text) if self._disguise else [self._lead + text]
        tokens = self._context.continued(first, False) if self._behind_text else self._context.tokenize(first, False)
        for part in rest:
            tokens += self._context.continued(part, False)
        return tokens

    def frame_length(self, output_tokens: int | None = None) -> int:
        """Tokens of a prompt that are not the article's; with `output_tokens` the wished length is among them."""
        return len(self.opening) + len(self._closing_for(output_tokens))

    def build(self, article: Sequence[int], output_tokens: int | None = None) -> list[int]:
        """The whole prompt around an article's tokens.

        With `output_tokens` the model is told to keep to as many words as fit them.
        """
        return [*self.opening, *article, *self._closing_for(output_tokens)]

    def _closing_for(self, output_tokens: int | None) -> list[int]:
        words = None if output_tokens is None else max(LEAST_WORDS, int(output_tokens * WORDS_PER_TOKEN))
        tokens = self._closings.get(words)
        if tokens is None:
            wish = "" if words is None else LENGTH.format(words=words)
            tokens = self._closings[words] = self._context.continued(wish + self._closing, True)
        return tokens

    def _frame(self, settings: SummarizeSettings) -> tuple[Frame, Thinking | None]:
        context, instruction = self._context, settings.instruction.strip()
        frame = template.frame(context.chat_template, instruction, context.special_tokens)
        if frame.closing == LLAMA_3_CLOSING and all(len(context.tokenize(name, True)) == 1 for name in LLAMA_3_TOKENS):
            return Frame(LLAMA_3_OPENING.format(instruction=instruction), LLAMA_3_CLOSING), None
        return thinking.find(
            context.chat_template,
            frame,
            lambda text: context.continued(text, True),
            lambda token: None if context.piece(token) else context.text(token),
            settings.thinking_tokens,
        )

    def _with_bos(self, tokens: list[int]) -> list[int]:
        """`tokens` with one BOS in front where the vocabulary wants one, whether or not the template writes it."""
        bos = self._context.bos
        while tokens[:2] == [bos, bos]:
            tokens = tokens[1:]
        if self._context.adds_bos and tokens[:1] != [bos]:
            tokens = [bos, *tokens]
        if not tokens:
            raise ModelLoadFailed("its chat template writes nothing before the user's message")
        return tokens

    def _spaced_after(self, opening: str) -> bool:
        """Whether a text behind `opening` gets SentencePiece's space, as behind a special token."""
        text = self._lead + "a"
        apart = [*self._context.tokenize(opening, True), *self._context.tokenize(text, False)]
        return self._context.tokenize(opening + text, True) == apart

    def _pattern_of_markers(self) -> re.Pattern[str] | None:
        """Where to cut a text within those markers of the frame that llama.cpp reads in any text, so that none is left.

        They are tokens that the vocabulary calls user-defined, as some files do with all their markers.
        """
        frame = {*self.opening, *self._closing_for(None)} | set(self.thinking.ending if self.thinking else ())
        names = {self._context.text(token) for token in frame if self._context.is_user_defined(token)}
        cuts = [f"(?<={re.escape(name[0])})(?={re.escape(name[1:])})" for name in names if len(name.strip()) > 1]
        return re.compile("|".join(sorted(cuts))) if cuts else None
