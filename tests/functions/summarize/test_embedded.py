"""What `make run` answers with: the language model of the package, in the service as it starts without any setting."""

from pathlib import Path

import httpx
import pytest

from common.settings import SummarizeSettings
from functions.summarize import gguf_header, memory, merging, tuning
from functions.summarize.context import LlamaContext, Options, Row, Sampling
from functions.summarize.model import ADAPTER, packaged, resolve
from functions.summarize.prompt import LENGTH, Prompt
from tests.conftest import Runner
from training.smollm2_news import examples

ARTICLE = (
    "The harbour of Lindholm will close for two weeks in May. Workers have to replace the gates of the old lock, which "
    "were damaged by ice in January. The city council approved 3.4 million euros for the repair on Thursday. Fishing "
    "boats may use the quay at Norvik meanwhile, mayor Ellen Brandt said. Ferries to the islands will leave from there "
    "as well, twenty minutes later than usual. The last repair of the gates was in 1987."
)


def test_the_package_holds_the_model_that_its_card_describes() -> None:
    path = packaged()
    assert path is not None, "make run and make test install it: requirements/embedded.txt"
    found = resolve(SummarizeSettings(model="embedded"))
    assert found.file == path
    header = gguf_header.read(path).values
    assert (header["general.architecture"], header["general.license"]) == ("llama", "apache-2.0")
    assert header["llama.context_length"] == 8192 > found.context
    # models/embedded/llama/README.md: 94 MB.
    assert memory.cache_bytes(header, found.context) == 94_371_840


@pytest.fixture(scope="session")
def merged() -> Path:
    """Its weights with our adapter in them, as `make test` has prepared them."""
    path = packaged()
    assert path is not None
    made = merging.merged(path, ADAPTER, SummarizeSettings().cache_folder / "summarize")
    assert made is not None
    return made


def test_no_start_with_it_waits_for_a_measurement(merged: Path) -> None:
    assert merged.stat().st_size < tuning.MIN_MODEL_BYTES


def test_our_adapter_was_trained_on_the_prompt_that_is_served(merged: Path) -> None:
    """Parted as the service parts it: opening, article, closing."""
    context = LlamaContext(merged, 512, 1, Options(threads=1))
    try:
        prompt = Prompt(context, SummarizeSettings())
        article = "The harbour will close."
        for output, wish in ((None, ""), (150, LENGTH.format(words=examples.USUAL_WORDS))):
            tokens = [
                *context.tokenize(examples.OPENING, True),
                *context.tokenize(article, False),
                *context.tokenize(wish + examples.CLOSING, True),
            ]
            assert prompt.build(prompt.article(article), output) == tokens
    finally:
        context.close()


def test_merged_weights_write_what_the_adapter_beside_them_writes(merged: Path) -> None:
    """Up to the rounding to 8 bits: of the likeliest tokens, most are the same."""
    path = packaged()
    assert path is not None
    chosen = []
    for file, adapter in ((path, ADAPTER), (merged, None)):
        context = LlamaContext(file, 512, 1, Options(threads=1), adapter)
        sampler = context.sampler(Sampling(1, 0.0, None))
        try:
            tokens = Prompt(context, SummarizeSettings()).article(ARTICLE)
            likeliest = []
            for position, token in enumerate(tokens):
                context.decode([Row(token, position, 1, True)])
                likeliest.append(context.sample(sampler, 0))
            chosen.append(likeliest)
        finally:
            sampler.free()
            context.close()
    same = sum(one == other for one, other in zip(*chosen, strict=True))
    assert same >= 0.9 * len(chosen[0])


@pytest.mark.parametrize("stream", [False, True])
def test_it_summarises_an_article_in_words_of_the_article(as_it_starts: Runner, stream: bool) -> None:
    body = {"text": ARTICLE, "temperature": 0, "max_tokens": 120, "stream": stream}
    response = httpx.post(f"{as_it_starts.url}/summarize", json=body, timeout=60)
    assert response.status_code == 200, response.text
    assert "SmolLM2-135M-Instruct-Q4_1" in response.text
    assert "Lindholm" in response.text
    assert not any(mark in response.text for mark in ("<|im_start|>", "<|im_end|>", "assistant\\n"))
