"""How Piper voices come and go: who speaks until one is there, what becomes of a failed download, who makes room."""

import asyncio
import importlib.util
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import httpx
import pytest

from common import downloads, lazy
from common.lazy import LazyModel
from common.settings import get_settings
from functions.audio import piper, piper_loading, piper_phonemes
from functions.audio.confined_process import ConfinedProcess
from functions.audio.pieces import BYTES_PER_SECOND
from functions.audio.piper import PiperSpeech
from functions.audio.piper_loading import preloaded, voices
from functions.audio.piper_model import PiperModel
from functions.audio.piper_voices import VOICES, PiperVoice, piper_voice
from functions.audio.schemas import AudioRequest
from functions.health.handler import app as health_app
from tests.conftest import WAIT_SECONDS, call, wait_until
from tests.doubles import tiny_voice
from tests.doubles.edge_server import SpeechCloud
from tests.doubles.hub_server import HubFault, HubServer
from tests.functions.audio.conftest import SetAudio

TINY, OTHER, THIRD = (
    replace(VOICES["en_US-ljspeech-medium"], name=f"en_US-{name}-x_low") for name in ("tiny", "other", "third")
)
UNDER_WAY = ("downloading", "loading")
NAME = "piper:en_US-tiny-x_low"


@pytest.fixture
def hub(
    cloud: SpeechCloud,  # noqa: ARG001
    set_audio: SetAudio,
    settings_env: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[HubServer]:
    """Tiny voices at the hub, of which one speaks every language; none of them is here. The cloud is not asked."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(downloads, "FIRST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(downloads, "LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(lazy, "_registry", {})
    monkeypatch.setattr(voices, "_models", {})
    monkeypatch.setattr(voices, "_used", OrderedDict())
    monkeypatch.setattr(piper, "piper_voices", lambda *_: [TINY])
    settings_env(MODELS_FOLDER=tmp_path / "models")
    set_audio(engine="piper", piper_downloads=True)
    with HubServer() as running:
        for voice in (TINY, OTHER, THIRD):
            put(running, voice)
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running
        running.fault, running.drip_seconds = HubFault.NONE, 0.0
        wait_until(lambda: not [one for one in lazy.models().values() if one.status.state in UNDER_WAY], "loads end")


def put(
    hub: HubServer, voice: PiperVoice, model: bytes = tiny_voice.voice(), config: bytes = tiny_voice.config()
) -> None:
    hub.add(voice.model.repo, voice.model.file, model)
    hub.add(voice.config.repo, voice.config.file, config)


def start(voice: PiperVoice) -> LazyModel[PiperModel]:
    return voices.start(voice)


def loaded(voice: PiperVoice) -> LazyModel[PiperModel]:
    model = start(voice)
    wait_until(lambda: model.status.state in ("ready", "failed"), "the voice has come")
    assert model.status.state == "ready", model.status.detail
    return model


_numbers = itertools.count()


def engine(client: httpx.Client) -> str:
    """Who speaks what nobody has said before."""
    response = client.post("/audio", json={"text": f"This is sentence number {next(_numbers)}."})
    assert response.status_code == 200
    return str(response.headers["x-audio-engine"])


def state() -> str:
    return lazy.models()[NAME].status.state


def health() -> tuple[str, dict[str, Any]]:
    """The status of the service, and what is told of the voice."""
    body = call(health_app, "GET", "/health").json()
    return body["status"], body["models"].get(NAME, {})


def test_espeak_ng_speaks_until_the_voice_is_there(client: httpx.Client, hub: HubServer) -> None:
    # It would take a quarter of a minute.
    hub.fault, hub.drip_bytes, hub.drip_seconds, hub.only = HubFault.DRIP, 100, 0.05, f"{TINY.name}.onnx"
    assert engine(client) == "espeak-ng"
    wait_until(lambda: (lazy.models()[NAME].status.progress or 0) > 0, "the download is under way")
    assert engine(client) == "espeak-ng"
    status, voice = health()
    assert (status, voice["state"]) == ("healthy", "downloading")
    assert 0 < voice["progress"] < 1
    assert call(health_app, "GET", "/health/ready").status_code == 200
    hub.drip_seconds = 0.0
    wait_until(lambda: state() == "ready", "the voice is there")
    assert engine(client) == "piper"
    assert hub.downloads(TINY.model.file) == hub.downloads(TINY.config.file) == 1


@pytest.mark.parametrize(
    "fault", [HubFault.NO_FILE, HubFault.NO_REPO, HubFault.UNAUTHORIZED], ids=lambda one: one.value
)
def test_a_voice_that_the_hub_does_not_give_is_espeak_ngs(
    client: httpx.Client, hub: HubServer, monkeypatch: pytest.MonkeyPatch, fault: HubFault
) -> None:
    hub.fault = fault
    assert engine(client) == "espeak-ng"
    wait_until(lambda: state() == "failed", "the download has failed")
    asked = len(hub.requests)
    assert engine(client) == "espeak-ng"
    status, voice = health()
    assert status == "healthy"
    assert voice["detail"]
    assert "Traceback" not in voice["detail"]
    assert len(hub.requests) == asked, "each recording would ask the hub in vain"
    hub.fault = HubFault.NONE
    monkeypatch.setattr(lazy, "RETRY_SECONDS", 0.0)
    engine(client)
    wait_until(lambda: state() == "ready", "it was tried again")
    assert engine(client) == "piper"


@pytest.mark.parametrize(
    ("model", "config"),
    [
        (b"not found", tiny_voice.config()),
        (tiny_voice.voice(), b"<html>"),
        (tiny_voice.voice(), tiny_voice.config(phoneme_id_map=7)),
        (tiny_voice.voice(), tiny_voice.config(espeak={"voice": "none/such"})),
        (tiny_voice.voice(loudness=0.0), tiny_voice.config()),
        (tiny_voice.voice(speakers=2), tiny_voice.config()),
    ],
    ids=["no model", "no configuration", "no ids", "no such language", "silent", "of several speakers"],
)
def test_a_voice_that_cannot_speak_is_known_before_it_is_used(
    client: httpx.Client, hub: HubServer, model: bytes, config: bytes
) -> None:
    put(hub, TINY, model, config)
    engine(client)
    wait_until(lambda: state() == "failed", "it has been tried")
    assert health()[1]["detail"]
    assert engine(client) == "espeak-ng"


def test_a_broken_download_goes_on_where_it_was(client: httpx.Client, hub: HubServer) -> None:
    hub.cut_after = 10_000
    hub.only = f"{TINY.name}.onnx"
    hub.upcoming.extend([HubFault.CUT, HubFault.CUT])
    loaded(TINY)
    assert engine(client) == "piper"


def test_many_who_need_it_at_once_download_it_once(hub: HubServer) -> None:
    with ThreadPoolExecutor(8) as threads:
        models = list(threads.map(lambda _: start(TINY), range(16)))
    assert len(set(map(id, models))) == 1
    loaded(TINY)
    assert hub.downloads(TINY.model.file) == 1


def test_a_slow_download_keeps_nobody_from_a_voice_that_is_here(hub: HubServer) -> None:
    loaded(OTHER).reset()
    hub.fault, hub.drip_bytes, hub.only = HubFault.DRIP, 100, f"{TINY.name}.onnx"
    slow = start(TINY)
    wait_until(lambda: slow.status.state == "downloading", "the download is under way")
    loaded(OTHER)
    assert slow.status.state == "downloading"


def test_downloads_come_one_after_the_other(hub: HubServer) -> None:
    hub.fault, hub.drip_bytes, hub.only = HubFault.DRIP, 100, f"{TINY.name}.onnx"
    slow = start(TINY)
    wait_until(lambda: slow.status.state == "downloading", "the download is under way")
    next_one = start(OTHER)
    assert hub.downloads(OTHER.config.file) == 0
    hub.drip_seconds = 0.0
    wait_until(lambda: next_one.loaded is not None, "the other has come as well")
    assert slow.loaded is not None


def test_the_voice_that_was_not_used_for_longest_makes_room(hub: HubServer, set_audio: SetAudio) -> None:
    set_audio(piper_voices=2)
    first, second = loaded(TINY), loaded(OTHER)
    start(TINY)
    third = loaded(THIRD)
    assert [model.status.state for model in (first, second, third)] == ["ready", "unloaded", "ready"]
    assert set(lazy.models()) == {f"piper:{voice.name}" for voice in (TINY, THIRD)}
    again = loaded(OTHER)
    assert [model.status.state for model in (first, again, third)] == ["unloaded", "ready", "ready"]
    assert hub.downloads(OTHER.model.file) == 1, "it is on the disk"


@pytest.mark.usefixtures("hub")
def test_many_that_are_asked_for_at_once_are_not_all_in_memory(set_audio: SetAudio) -> None:
    set_audio(piper_voices=1)
    models = [start(voice) for voice in (TINY, OTHER, THIRD)]
    wait_until(lambda: not any(model.status.state in UNDER_WAY for model in models), "all have been loaded")
    assert sum(model.loaded is not None for model in models) == 1


def test_a_voice_that_cannot_speak_takes_no_others_room(hub: HubServer, set_audio: SetAudio) -> None:
    set_audio(piper_voices=1)
    put(hub, OTHER, tiny_voice.voice(loudness=0.0))
    loaded(TINY)
    broken = start(OTHER)
    wait_until(lambda: broken.status.state == "failed", "it has been tried")
    assert voices.speaking([OTHER, TINY])[0] == TINY


@pytest.mark.usefixtures("hub")
def test_a_recording_goes_on_though_its_voice_made_room(set_audio: SetAudio) -> None:
    set_audio(piper_voices=1)
    text = "This is a sentence of several words, and so it has several pieces. " * 8

    async def whole(*, evicted: bool) -> int:
        until, received = time.monotonic() + WAIT_SECONDS, 0
        async for piece in PiperSpeech().stream(AudioRequest(text=text), until):
            if evicted and not received:
                await asyncio.to_thread(loaded, OTHER)
                assert lazy.models().keys() == {f"piper:{OTHER.name}"}
            received += len(piece) if isinstance(piece, bytes) else 0
        return received

    loaded(TINY)
    undisturbed = asyncio.run(whole(evicted=False))
    assert undisturbed > 10 * BYTES_PER_SECOND
    assert asyncio.run(whole(evicted=True)) == undisturbed


def test_one_speaker_of_several(hub: HubServer, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    voice = replace(TINY, speaker=1)
    monkeypatch.setattr(piper, "piper_voices", lambda *_: [voice])
    put(hub, voice, tiny_voice.voice(speakers=3), tiny_voice.config(speakers=3))
    loaded(voice)
    assert engine(client) == "piper"


def test_a_voice_of_another_rate_has_the_same_length(
    client: httpx.Client, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(hub, TINY, tiny_voice.voice(strides=(16, 8)), tiny_voice.config(audio={"sample_rate": 11_025}))
    loaded(TINY)
    assert engine(client) == "piper"

    async def length() -> int:
        stream = PiperSpeech().stream(AudioRequest(text="The bridge is open."), time.monotonic() + WAIT_SECONDS)
        return sum([len(piece) async for piece in stream if isinstance(piece, bytes)])

    low = asyncio.run(length())
    monkeypatch.setattr(piper, "piper_voices", lambda *_: [OTHER])
    loaded(OTHER)
    assert low == pytest.approx(asyncio.run(length()), rel=0.1)


@pytest.mark.usefixtures("hub")
def test_without_piper_tts_espeak_ng_speaks(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def none(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "piper" else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", none)
    fresh = ConfinedProcess("Piper's phonemizer", "phonemes_child.py", piper_phonemes._paths)
    monkeypatch.setattr(piper_phonemes, "phonemizer", fresh)
    assert engine(client) == "espeak-ng"
    wait_until(lambda: state() == "failed", "it was tried")
    assert "piper-tts is not there" in health()[1]["detail"]
    assert health()[0] == "healthy"


def test_a_phonemizer_that_cannot_be_started_is_no_voice(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, client: httpx.Client, tmp_path: Path
) -> None:
    fresh = ConfinedProcess("Piper's phonemizer", "phonemes_child.py", lambda: (str(tmp_path), str(tmp_path)))
    monkeypatch.setattr(piper_phonemes, "phonemizer", fresh)
    assert engine(client) == "espeak-ng"
    wait_until(lambda: state() == "failed", "it was tried")
    assert "could not be started" in health()[1]["detail"]
    assert hub.downloads(TINY.model.file) == 1
    fresh.end()


def test_the_packaged_voice_is_not_downloaded() -> None:
    packaged = piper_voice("en-US", "Male")
    assert packaged is not None
    assert all(isinstance(file, Path) and file.is_file() for file in piper_loading.files(packaged))
    assert piper_loading.files(TINY) == (TINY.model, TINY.config)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"piper_preload": ""}, []),
        ({"piper_preload": "en-US,de-DE"}, ["en_US-joe-medium", "de_DE-thorsten-medium"]),
        ({"piper_preload": "km-KH, fr-FR"}, ["fr_FR-siwis-medium"]),
        ({"piper_preload": "en-US", "engine": "espeak-ng"}, []),
        ({"piper_preload": "en-US", "engine": "edge-tts"}, []),
    ],
)
def test_voices_that_are_there_from_the_start(set_audio: SetAudio, settings: dict[str, str], names: list[str]) -> None:
    set_audio(**settings)
    assert [voice.name for voice in preloaded(get_settings().audio)] == names
