"""What `make run` answers with: the language model of the package, in the service as it starts without any setting."""

import httpx
import pytest

from common.settings import SummarizeSettings
from functions.summarize import gguf_header, memory, tuning
from functions.summarize.model import packaged, resolve
from tests.conftest import Runner

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


def test_no_start_with_it_waits_for_a_measurement() -> None:
    path = packaged()
    assert path is not None
    assert path.stat().st_size < tuning.MIN_MODEL_BYTES


@pytest.mark.parametrize("stream", [False, True])
def test_it_summarises_an_article_in_words_of_the_article(as_it_starts: Runner, stream: bool) -> None:
    body = {"text": ARTICLE, "temperature": 0, "max_tokens": 120, "stream": stream}
    response = httpx.post(f"{as_it_starts.url}/summarize", json=body, timeout=60)
    assert response.status_code == 200, response.text
    assert "SmolLM2-135M-Instruct-Q4_1" in response.text
    assert "Lindholm" in response.text
    assert not any(mark in response.text for mark in ("<|im_start|>", "<|im_end|>", "assistant\\n"))
