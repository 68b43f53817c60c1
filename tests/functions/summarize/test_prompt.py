"""The frame around an article, as tokens of the real llama.cpp: whole, once, and never the article's business."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ModelLoadFailed
from common.settings import SummarizeSettings
from functions.summarize.context import LlamaContext, Options
from functions.summarize.engine import LlamaEngine
from functions.summarize.prompt import INSTRUCTION, LENGTH, Prompt
from tests.doubles import lead_model, tiny_gguf
from tests.functions.summarize.vocabulary import CONTROL, USER_DEFINED, Vocabulary, sentence_pieces

ARTICLE = "The town of Lindholm opened a bridge on Monday."
# What was sent before templates were read: written down, not computed.
LLAMA_3 = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "You are a news editor. Summarize the article in a few plain sentences. Use only facts from the article.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n",
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "\n\nSummarize the article above in at most 39 words.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
)
# In the manner of the templates of Llama 3.1 and 3.2, which write the date.
LLAMA_3_DATED = (
    "{{- bos_token }}{{- '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + strftime_now('%d %b %Y') }}"
    "{{- '\n\n' + messages[0]['content'] | trim + '<|eot_id|>' }}{% for message in messages[1:] %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}{{- message['content'] + '<|eot_id|>' }}"
    "{% endfor %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{{ '<|im_start|>assistant\n' }}"
)
# Each writes what stands before an article in another way: a special token, one and a space, a line of text, a word.
MANNERS = {
    "mistral": "{{ bos_token }}[INST] {{ messages[0].content }}\n\n{{ messages[1].content }}[/INST]",
    "behind a special token": "{{ messages[0].content }}[INST]{{ messages[1].content }}[/INST]",
    "behind a space": "{{ messages[0].content }}[INST] {{ messages[1].content }} [/INST]",
    "zephyr": "<|system|>\n{{ messages[0].content }}</s>\n<|user|>\n{{ messages[1].content }}</s>\n<|assistant|>",
    "vicuna": "{{ bos_token }}{{ messages[0].content }} USER: {{ messages[1].content }} ASSISTANT:",
    "chatml": CHATML,
}


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    markers = {"[INST]": CONTROL, "[/INST]": CONTROL, "<|im_start|>": USER_DEFINED, "<|im_end|>": USER_DEFINED}
    return sentence_pieces(tmp_path_factory.mktemp("vocabulary") / "spm.gguf", markers)


@pytest.fixture(scope="module")
def spaced(sentencepiece: Path) -> dict[str, tuple[Vocabulary, Prompt]]:
    contexts = {manner: Vocabulary(sentencepiece, template) for manner, template in MANNERS.items()}
    return {manner: (context, Prompt(context, SummarizeSettings())) for manner, context in contexts.items()}


class WithTemplate(LlamaContext):
    """The embedded model with another template, and a vocabulary that may want no BOS."""

    template: str | None = None
    wants_bos = True

    @property
    def chat_template(self) -> str:
        return super().chat_template if self.template is None else self.template

    @property
    def adds_bos(self) -> bool:
        return self.wants_bos and super().adds_bos


@pytest.fixture(scope="module")
def shared_context() -> Iterator[WithTemplate]:
    context = WithTemplate(lead_model.FILE, 512, 1, Options(threads=1))
    yield context
    context.close()


@pytest.fixture
def embedded(shared_context: WithTemplate) -> Iterator[WithTemplate]:
    yield shared_context
    shared_context.template, shared_context.wants_bos = None, True


def test_llama_3s_prompt_is_token_for_token_what_it_always_was(llama: LlamaEngine) -> None:
    opening, closing, told = (llama.tokenize(text, True) for text in LLAMA_3)
    article = llama.tokenize(ARTICLE, False)
    assert llama.prompt.opening == opening
    assert llama.prompt.article(ARTICLE) == article
    assert llama.prompt.build(article) == [*opening, *article, *closing]
    assert llama.prompt.build(article, 60) == [*opening, *article, *told]
    assert llama.prompt.frame_length() == len(opening) + len(closing)
    assert llama.prompt.frame_length(60) == len(opening) + len(told)
    assert llama.prompt.thinking is None


def test_a_template_that_dates_llama_3s_prompt_does_not_change_it(embedded: WithTemplate) -> None:
    undated = Prompt(embedded, SummarizeSettings())
    embedded.template = LLAMA_3_DATED
    assert Prompt(embedded, SummarizeSettings()).opening == undated.opening


def test_a_model_with_llama_3s_vocabulary_and_another_template_is_asked_by_its_own(embedded: WithTemplate) -> None:
    embedded.template = CHATML
    prompt = Prompt(embedded, SummarizeSettings())
    text = b"".join(map(embedded.piece, prompt.build(prompt.article(ARTICLE)))).decode()
    assert text == (
        f"<|im_start|>system\n{INSTRUCTION}<|im_end|>\n<|im_start|>user\n{ARTICLE}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_operators_instruction_is_the_systems_message(embedded: WithTemplate) -> None:
    settings = SummarizeSettings(instruction="  Tell it to a child. ")
    opening = Prompt(embedded, settings).opening
    assert opening == embedded.tokenize(LLAMA_3[0].replace(INSTRUCTION, "Tell it to a child."), True)


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("article", ["the end.", "The end", "  in ", "7 in ten: é", "\n\nthe"])
def test_a_sentencepiece_model_reads_the_parts_as_it_reads_the_whole(
    manner: str, article: str, spaced: dict[str, tuple[Vocabulary, Prompt]]
) -> None:
    context, prompt = spaced[manner]
    roles = ("system", INSTRUCTION), ("user", article + LENGTH.format(words=39))
    contents = {f"messages[{index}].content": content for index, (_, content) in enumerate(roles)}
    template = MANNERS[manner]
    if manner == "chatml":
        text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in roles)
        text += "<|im_start|>assistant\n"
    else:
        text = re.sub(r"{{ (.*?) }}", lambda found: {"bos_token": "<s>", **contents}[found[1]], template)
    assert prompt.build(prompt.article(article), 60) == context.whole(text)


@pytest.mark.parametrize("manner", MANNERS)
def test_a_prompt_begins_with_one_bos_whether_the_template_writes_it_or_not(
    manner: str, spaced: dict[str, tuple[Vocabulary, Prompt]]
) -> None:
    context, prompt = spaced[manner]
    tokens = prompt.build(prompt.article("the end <s>"), 60)
    assert tokens[0] == context.bos
    assert tokens.count(context.bos) == 1


def test_a_second_bos_of_a_template_is_dropped(sentencepiece: Path) -> None:
    context = Vocabulary(sentencepiece, "{{ bos_token }}{{ bos_token }}" + MANNERS["mistral"])
    assert Prompt(context, SummarizeSettings()).opening.count(context.bos) == 1


MARKERS = ("<s>", "</s>", "[INST]", "[/INST]", "<|im_start|>", "<|im_end|>")
LLAMA_3_MARKERS = ("<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>")
# "\u2581" is SentencePiece's own sign for a space.
TEXT = st.text(st.characters(exclude_characters="\u2581", exclude_categories=["Cs"]), max_size=8)
HOSTILE = st.lists(st.one_of(st.sampled_from(MARKERS + LLAMA_3_MARKERS), TEXT), max_size=8).map("".join)


_SPACED = re.compile(r"(<\|im_start\|>|<\|im_end\|>) *")


@given(article=HOSTILE, manner=st.sampled_from(sorted(MANNERS)))
def test_no_marker_in_an_article_becomes_one_of_the_frames(
    article: str, manner: str, spaced: dict[str, tuple[Vocabulary, Prompt]]
) -> None:
    context, prompt = spaced[manner]
    tokens = prompt.article(article)
    named = {context.tokenize(marker, True)[0]: marker for marker in MARKERS}
    # Markers that are no control tokens are text, too, for a model whose frame does without them.
    harmless = set(MARKERS[4:]) if manner != "chatml" else set()
    assert {named[token] for token in tokens if token in named} <= harmless
    # llama.cpp puts a space behind a user-defined token, wherever that stands; and one before the whole.
    written, sent = (_SPACED.sub(r"\1", text) for text in (b"".join(map(context.piece, tokens)).decode(), article))
    assert written.strip(" ") == sent.strip(" ")


@given(article=HOSTILE)
def test_no_marker_in_an_article_becomes_one_of_llama_3s(article: str, llama: LlamaEngine) -> None:
    tokens = llama.prompt.article(article)
    assert not {llama.tokenize(marker, True)[0] for marker in LLAMA_3_MARKERS} & set(tokens)
    assert b"".join(map(llama._context.piece, tokens)).decode() == article


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ messages[1].content }}", "leaves out or changes the instruction"),
        ("{{ messages[1].content + messages[0].content }}", "writes nothing before the user's message"),
        ("{{ raise_exception('only for tools') }}", "only for tools"),
    ],
)
def test_a_template_without_a_usable_frame_is_a_clear_reason(
    template: str, reason: str, embedded: WithTemplate
) -> None:
    embedded.template, embedded.wants_bos = template, False
    with pytest.raises(ModelLoadFailed, match=reason):
        Prompt(embedded, SummarizeSettings())


RUNS = ["a", "1", "!", " ", "\n", "漢", "é", "😀", "a1", "\u0301"]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("words", ["deepseek-llm", "qwen2", "sentencepiece"])
def test_a_text_without_a_boundary_is_tokenised_and_the_process_lives(
    run: str, words: str, tmp_path: Path, sentencepiece: Path
) -> None:
    """Where llama.cpp splits words by recursion, 40,000 letters in one call are too many for its stack."""
    text = "The end of " + run * (100_000 // len(run)) + "x."
    path = sentencepiece
    if words != "sentencepiece":
        path = tiny_gguf.write(tmp_path / "tiny.gguf", "llama", pre=words)
    context = Vocabulary(path, "")
    written = b"".join(map(context.piece, context.tokenize(text, False))).decode()
    assert written.removeprefix(" ") == text
    assert b"".join(map(context.piece, context.continued(text, False))).decode() == text


def test_a_text_with_boundaries_is_tokenised_as_one() -> None:
    context = LlamaContext(lead_model.FILE, 512, 1, Options(threads=1))
    try:
        text = "The mayor of Lindholm said no. " * 1000
        assert context.tokenize(text, False) == context._tokens(text, False)
    finally:
        context.close()
