import pytest

from functions.summarize import engine
from functions.summarize.engine import LlamaEngine


@pytest.fixture(scope="session")
def llama() -> LlamaEngine:
    """The embedded model, through the same loader as in the service."""
    return engine.load(lambda _: None)
