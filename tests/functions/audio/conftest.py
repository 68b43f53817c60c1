"""A real server on loopback with the real edge-tts client, which talks to a double of the speech cloud."""

import io
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest
import uvicorn
from mutagen.mp3 import MP3

from functions.audio import piper, service
from functions.audio.catalogue import catalogue
from functions.audio.handler import app
from functions.audio.piper_loading import voices
from functions.audio.piper_model import PiperModel
from functions.audio.piper_voices import piper_voice
from functions.audio.service import Studio, breaker
from tests.conftest import WAIT_SECONDS, wait_until
from tests.doubles.edge_server import SpeechCloud

SetAudio = Callable[..., None]


def mp3(recording: bytes) -> MP3:
    return MP3(io.BytesIO(recording))


def seconds(recording: bytes) -> float:
    return float(mp3(recording).info.length)


@pytest.fixture
def set_audio(settings_env: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> SetAudio:
    """Call it with settings of the audio section: `set_audio(engine="edge-tts")`."""
    # A proxy of the machine must not stand between the client and the loopback.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def change(**values: object) -> None:
        settings_env(**{f"AUDIO__{name.upper()}": value for name, value in values.items()})

    return change


@pytest.fixture(autouse=True)
def piper_is_away(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Piper speaks no language, so it is espeak-ng that stands in; but where a test has asked for `human`."""
    if "human" not in request.fixturenames:
        monkeypatch.setattr(piper, "piper_voices", lambda *_: [])


@pytest.fixture
def human() -> PiperModel:
    """The Piper voice that comes as a package, loaded."""
    voice = piper_voice("en-US", "Male")
    assert voice is not None
    model = voices.start(voice)
    wait_until(lambda: model.loaded is not None, "the voice is loaded", 60)
    assert model.loaded is not None
    return model.loaded


@pytest.fixture
def cloud(set_audio: SetAudio, monkeypatch: pytest.MonkeyPatch) -> Iterator[SpeechCloud]:
    """The double that the service under test speaks with; nothing of an earlier test is remembered or kept."""
    from edge_tts.drm import DRM

    monkeypatch.setattr(DRM, "clock_skew_seconds", 0.0)
    breaker.reset()
    monkeypatch.setattr(service, "studio", Studio())
    catalogue.reset()
    with SpeechCloud() as running:
        set_audio(endpoint=running.url)
        yield running


@pytest.fixture(scope="session")
def base_url() -> Iterator[str]:
    """The function behind uvicorn: a test transport inside the process does not stream."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws="none", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="audio-under-test", daemon=True)
    thread.start()
    wait_until(lambda: server.started, "the server starts")
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(WAIT_SECONDS)


@pytest.fixture
def client(base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, timeout=WAIT_SECONDS, trust_env=False) as opened:
        yield opened
