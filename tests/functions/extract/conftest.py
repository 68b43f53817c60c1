import threading

import pytest

from functions.extract import engine, service
from functions.extract.engine import GlinerEngine
from functions.extract.schemas import ExtractRequest, ExtractResponse


@pytest.fixture(scope="session")
def gliner() -> GlinerEngine:
    """The embedded model, through the same loader as in the service."""
    return engine.load(lambda _: None)


def extract(gliner: GlinerEngine, text: str, **fields: object) -> ExtractResponse:
    return service.extract(ExtractRequest(text=text, **fields), gliner, threading.Event())  # type: ignore[arg-type]
