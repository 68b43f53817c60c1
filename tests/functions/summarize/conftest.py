import pytest

from functions.summarize import engine
from functions.summarize.context import SHARED_SEQUENCE
from functions.summarize.engine import LlamaEngine


@pytest.fixture(scope="session")
def llama() -> LlamaEngine:
    """The embedded model, through the same loader as in the service."""
    return engine.load(lambda _: None)


def idle(llama: LlamaEngine) -> bool:
    """Nobody has a place, and the cache holds nothing but the shared opening."""
    slots = range(SHARED_SEQUENCE + 1, llama.parallel + 1)
    return not llama.requests and not any(llama._context.length(slot) for slot in slots)
