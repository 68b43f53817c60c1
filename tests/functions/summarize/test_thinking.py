"""Models that think aloud: what they think is never shown, never counted, and never all that they have time for."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FactoryError
from common.settings import SummarizeSettings
from functions.summarize import service
from functions.summarize.context import LlamaContext, Options, Sampler
from functions.summarize.engine import LlamaEngine
from functions.summarize.outputs import Answer
from functions.summarize.schemas import SummarizeRequest, SummarizeResponse
from functions.summarize.thinking import Thinking, Thoughts
from functions.summarize.writers import Writers
from tests.conftest import wait_until
from tests.doubles import lead_model
from tests.functions.summarize.conftest import idle

ARTICLE = "The town of Lindholm opened a bridge on Monday. It took four years to build."
SUMMARY = "A bridge was opened."
PLAIN = (
    "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content.split('</think>')[-1] + '\n' }}{% endfor %}"
    "assistant:\n"
)
# In the manner of DeepSeek's distilled models, of Qwen3, and of models that open a block by themselves.
OPENED = PLAIN + "{{ '<think>\n' }}"
SWITCHED = PLAIN + "{% if enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"

MARKERS = Thinking("<think>", "</think>", False, 0, ending=(1, 2, 3), spelled={900: "<think>", 901: "</think>"})


def read(thoughts: Thoughts, pieces: Sequence[str]) -> str:
    return "".join(thoughts.read(0, piece) for piece in pieces) + thoughts.rest()


def pieces_of(text: str, cuts: set[int]) -> list[str]:
    bounds = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    return [text[start:end] for start, end in pairwise(bounds)]


CUTS = st.sets(st.integers(1, 80))
INK = st.text(st.characters(exclude_characters="<>", exclude_categories=["Cs"]), max_size=30)


@given(before=st.sampled_from(["", " ", "\n"]), thought=INK, summary=INK, cuts=CUTS)
def test_a_block_is_cut_out_however_its_markers_are_split(
    before: str, thought: str, summary: str, cuts: set[int]
) -> None:
    pieces = pieces_of(f"{before}<think>{thought}</think>\n\n{summary}", cuts)
    assert read(Thoughts(MARKERS, 100), pieces) == summary.lstrip()


@given(summary=st.text(max_size=40), cuts=CUTS)
def test_a_text_without_a_block_is_only_stripped_in_front(summary: str, cuts: set[int]) -> None:
    thoughts = Thoughts(MARKERS, 100)
    summary = f"A {summary}"
    assert read(thoughts, pieces_of(f"\n{summary}", cuts)) == summary
    assert thoughts.tokens == 0


@given(thought=INK, cuts=CUTS)
def test_an_unfinished_block_shows_nothing(thought: str, cuts: set[int]) -> None:
    assert read(Thoughts(MARKERS, 100), pieces_of(f"<think>{thought}</thin", cuts)) == ""


@pytest.mark.parametrize(
    ("pieces", "text", "tokens"),
    [
        (["<", "think", ">", "Hm", "</", "think", ">", "\n\n", "Yes."], "Yes.", 7),
        (["<", "b", ">bold"], "<b>bold", 0),
        (["<", "thi"], "<thi", 0),
        (["</think>", "\n\nYes."], "Yes.", 1),
        (["<think></think>", "<think>Again</think>", "Yes. <think>"], "Yes. <think>", 2),
        (["Hm</think>Yes."], "Hm</think>Yes.", 0),
    ],
    ids=["a block", "another tag", "half a marker", "a closing marker only", "two blocks", "in the middle"],
)
def test_tokens_of_thoughts_are_counted_and_others_are_not(pieces: list[str], text: str, tokens: int) -> None:
    thoughts = Thoughts(MARKERS, 100)
    assert (read(thoughts, pieces), thoughts.tokens) == (text, tokens)


def test_markers_that_llama_cpp_writes_nothing_for_are_seen() -> None:
    thoughts = Thoughts(MARKERS, 100)
    assert [thoughts.read(900, ""), thoughts.read(5, "Hm"), thoughts.read(901, ""), thoughts.read(5, "Yes.")] == [
        *("", "", ""),
        "Yes.",
    ]
    assert thoughts.tokens == 3


class Scripted(LlamaContext):
    """The embedded model, which writes what it is told to, and reads it itself."""

    template = PLAIN
    script: Iterator[int] = iter(())

    @property
    def chat_template(self) -> str:
        return self.template

    def sample(self, sampler: Sampler, row: int) -> int:
        super().sample(sampler, row)
        return next(self.script)

    def says(self, *texts: str) -> None:
        """Each text is followed by the end of generation."""
        end = self.tokenize("<|eot_id|>", True)
        self.script = iter([token for text in texts for token in [*self.tokenize(text, False), *end]])


Engines = dict[tuple[str, int], tuple[LlamaEngine, Scripted]]


@pytest.fixture(scope="module")
def engines() -> Engines:
    return {}


def engine(engines: Engines, template: str, tokens: int) -> tuple[LlamaEngine, Scripted]:
    if (template, tokens) not in engines:
        context = Scripted(lead_model.FILE, lead_model.CONTEXT, 1, Options(threads=1))
        context.template = template
        settings = SummarizeSettings(parallel=1, thinking_tokens=tokens)
        engines[template, tokens] = LlamaEngine("thinker", settings, context), context
    return engines[template, tokens]


def prompt_end(llama: LlamaEngine, context: LlamaContext) -> str:
    return b"".join(map(context.piece, llama.prompt.build([])[-60:])).decode()


def ask(llama: LlamaEngine, *, stream: bool = False, max_tokens: int = 60) -> tuple[str, SummarizeResponse]:
    """What was streamed, and the answer."""
    request = SummarizeRequest(text=ARTICLE, max_tokens=max_tokens, temperature=0, stream=stream)

    async def outputs() -> tuple[str, SummarizeResponse]:
        text, answer = "", None
        async with aclosing(service.summarize(request, Writers(llama), SummarizeSettings())) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    text += piece
                elif isinstance(piece, Answer):
                    answer = piece.response
        assert answer is not None
        return text, answer

    try:
        return asyncio.run(outputs())
    finally:
        wait_until(lambda: idle(llama), "its place is free again")


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_are_in_neither_answer_nor_stream_nor_count(engines: Engines, stream: bool) -> None:
    llama, context = engine(engines, PLAIN, 200)
    context.says(f"<think>\nThe bridge. What else?\n</think>\n\n{SUMMARY}")
    text, answer = ask(llama, stream=stream)
    assert text == answer.summary == SUMMARY
    assert answer.finish_reason == "stop"
    assert answer.usage.completion_tokens <= len(llama.tokenize(f"\n\n{SUMMARY}", False))


def test_thoughts_do_not_take_the_summarys_tokens(engines: Engines) -> None:
    llama, context = engine(engines, PLAIN, 200)
    context.says(f"<think>{'What else? ' * 10}</think>{SUMMARY * 20}")
    _, answer = ask(llama, max_tokens=20)
    assert (answer.finish_reason, answer.usage.completion_tokens) == ("length", 20)
    assert answer.summary.startswith(SUMMARY)


def test_a_summary_without_thoughts_gets_none_of_their_tokens(engines: Engines) -> None:
    llama, context = engine(engines, PLAIN, 200)
    context.says(SUMMARY * 20)
    _, answer = ask(llama, max_tokens=20)
    assert (answer.finish_reason, answer.usage.completion_tokens) == ("length", 20)


@pytest.mark.parametrize("tokens", [0, 30])
def test_thoughts_that_use_up_their_tokens_are_ended_and_the_summary_follows(engines: Engines, tokens: int) -> None:
    llama, context = engine(engines, PLAIN, tokens)
    opening = llama.tokenize("<think>", False)
    assert llama.prompt.thinking is not None
    left = max(0, tokens - len(opening) - len(llama.prompt.thinking.ending))
    thought = (llama.tokenize("What else? ", False) * 50)[:left]
    context.script = iter([*opening, *thought, *llama.tokenize(SUMMARY, False), *llama.tokenize("<|eot_id|>", True)])
    _, answer = ask(llama)
    assert answer.summary == SUMMARY


def test_a_model_that_stops_while_it_thinks_is_asked_for_its_summary(engines: Engines) -> None:
    llama, context = engine(engines, PLAIN, 200)
    context.says("<think>Nothing.", SUMMARY)
    _, answer = ask(llama)
    assert (answer.summary, answer.finish_reason) == (SUMMARY, "stop")


def test_a_model_that_only_thinks_is_an_error_and_no_summary(engines: Engines) -> None:
    llama, context = engine(engines, PLAIN, 200)
    context.says("<think>Nothing.", "<think>Nothing again.")
    with pytest.raises(FactoryError, match="thoughts and no summary"):
        ask(llama)


def test_a_block_that_the_template_opens_is_closed_when_no_tokens_are_set_aside(
    engines: Engines, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        llama, context = engine(engines, OPENED, 0)
    assert prompt_end(llama, context).endswith("assistant:\n<think>\n\n</think>\n\n")
    told = [line for line in caplog.messages if "FACTORY_SUMMARIZE__THINKING_TOKENS" in line]
    assert len(told) == 1
    context.says(SUMMARY)
    assert ask(llama)[1].summary == SUMMARY


def test_a_block_that_the_template_opens_is_cut_when_tokens_are_set_aside(
    engines: Engines, caplog: pytest.LogCaptureFixture
) -> None:
    llama, context = engine(engines, OPENED, 100)
    assert prompt_end(llama, context).endswith("assistant:\n<think>\n")
    assert not caplog.messages
    context.says(f"A bridge?\n</think>\n\n{SUMMARY}")
    assert ask(llama)[1].summary == SUMMARY


def test_a_template_that_can_is_told_to_leave_thoughts_out(engines: Engines, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        llama, context = engine(engines, SWITCHED, 100)
    assert prompt_end(llama, context).endswith("<think>\n\n</think>\n\n")
    assert llama.thinking_tokens == 0
    assert not caplog.messages
    context.says(SUMMARY)
    assert ask(llama)[1].summary == SUMMARY
