"""Piper in place of the cloud: who speaks, how it sounds, and what becomes of others when something fails."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import httpx
import numpy as np
import pytest

from common import lazy
from functions.audio import piper, piper_phonemes
from functions.audio.confined_process import CannotSpeak
from functions.audio.phonemes_child import MOST_PHONEMES, bounded
from functions.audio.pieces import Word
from functions.audio.piper import PiperSpeech
from functions.audio.piper_model import PiperModel
from functions.audio.piper_phonemes import phonemized, phonemizer
from functions.audio.schemas import AudioRequest
from functions.audio.service import breaker
from tests.conftest import WAIT_SECONDS, SettingsEnv, wait_until
from tests.doubles.edge_server import Fault, SpeechCloud
from tests.functions.audio.conftest import SetAudio, mp3, seconds
from tests.functions.audio.sounds import decoded

TEXT = "The committee met on Tuesday to talk about the new bridge over the river."
LONG = " ".join(f"{TEXT} It was meeting number {number}, and the last one of the year." for number in range(8))


@pytest.fixture
def away(cloud: SpeechCloud) -> SpeechCloud:
    cloud.fault = Fault.FORBIDDEN
    return cloud


def say(client: httpx.Client, text: str = TEXT, accept: str = "audio/mpeg", **fields: str) -> httpx.Response:
    return client.post("/audio", json={"text": text, **fields}, headers={"Accept": accept})


def engine(response: httpx.Response) -> str:
    return response.headers["x-audio-engine"]


async def pieces(**fields: str) -> list[bytes | Word]:
    until = time.monotonic() + WAIT_SECONDS
    return [piece async for piece in PiperSpeech().stream(AudioRequest.model_validate({"text": TEXT, **fields}), until)]


def sound(**fields: str) -> bytes:
    return b"".join(piece for piece in asyncio.run(pieces(**fields)) if isinstance(piece, bytes))


@pytest.mark.usefixtures("human", "away")
def test_a_human_voice_speaks_while_the_cloud_is_away(client: httpx.Client) -> None:
    response = say(client)
    assert response.status_code == 200
    assert engine(response) == "piper"
    assert response.headers["x-audio-voice"] == "piper:en_US-joe-medium"
    info = mp3(response.content).info
    assert (info.sample_rate, info.channels, info.bitrate) == (24_000, 1, 48_000)
    assert 3 < info.length < 7


@pytest.mark.usefixtures("human", "away")
def test_the_log_tells_who_spoke(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "factory.access"):
        say(client, "Who speaks?")
        wait_until(lambda: any("engine" in getattr(record, "fields", ()) for record in caplog.records), "it is told")
    told = [record.__dict__["fields"]["engine"] for record in caplog.records if hasattr(record, "fields")]
    assert told == ["piper"]


@pytest.mark.usefixtures("human")
def test_it_begins_without_asking_once_the_breaker_is_open(
    client: httpx.Client, away: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(breaker_failures=1, breaker_seconds=60)
    say(client)
    assert breaker.status.state == "open"
    asked = away.handshakes
    assert engine(say(client, "Another text.")) == "piper"
    assert away.handshakes == asked


@pytest.mark.usefixtures("human")
def test_with_its_own_setting_the_cloud_is_never_asked(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    set_audio(engine="piper")
    assert engine(say(client)) == "piper"
    assert cloud.handshakes == 0


@pytest.mark.usefixtures("human", "away")
def test_what_it_said_is_given_again_until_the_cloud_is_back(client: httpx.Client, away: SpeechCloud) -> None:
    first, second = say(client), say(client)
    # No two recordings of it are the same to the byte.
    assert first.content == second.content
    away.fault = Fault.NONE
    wait_until(lambda: engine(say(client, "Is it back?")) == "edge-tts", "the cloud is back")
    assert engine(say(client)) == "edge-tts"


@pytest.mark.usefixtures("human", "away")
@pytest.mark.parametrize("voice", ["km-KH-SreymomNeural", "am-ET-MekdesNeural"])
def test_a_language_that_it_does_not_speak_is_left_to_espeak_ng(client: httpx.Client, voice: str) -> None:
    assert engine(say(client, "12", voice=voice)) == "espeak-ng"


@pytest.mark.usefixtures("human")
def test_rate_changes_the_length_and_the_slowest_is_bounded() -> None:
    normal, fast, fastest, slow, slowest = (
        seconds(sound(text=LONG[:180], rate=rate)) for rate in ("+0%", "+50%", "+300%", "-60%", "-90%")
    )
    assert fast == pytest.approx(normal / 1.5, rel=0.15)
    assert fastest < 0.7 * normal
    assert slow == pytest.approx(normal / piper.SLOWEST, rel=0.15)
    assert slowest == pytest.approx(slow, rel=0.1)


@pytest.mark.usefixtures("human")
def test_volume_changes_how_loud_it_is_and_pitch_how_high() -> None:
    def loudness(recording: bytes) -> float:
        return float(np.sqrt(np.mean(decoded(recording).samples ** 2)))

    def height(recording: bytes) -> float:
        """The middle of the spectrum, in hertz."""
        samples = decoded(recording).samples
        power = np.abs(np.fft.rfft(samples)) ** 2
        return float(np.sum(power * np.fft.rfftfreq(len(samples), 1 / 24_000)) / np.sum(power))

    normal = sound()
    assert loudness(sound(volume="-50%")) == pytest.approx(loudness(normal) / 2, rel=0.25)
    assert loudness(sound(volume="-100%")) < 0.001
    low, high = sound(pitch="-24Hz"), sound(pitch="+36Hz")
    assert height(low) < height(normal) < height(high)
    assert seconds(low) == pytest.approx(seconds(normal), rel=0.2)
    assert seconds(high) == pytest.approx(seconds(normal), rel=0.2)


@pytest.mark.usefixtures("human")
def test_each_word_has_its_time() -> None:
    made = asyncio.run(pieces(text=f"{TEXT} It costs 1,234 euros, said Dr. Smith."))
    words = [piece for piece in made if isinstance(piece, Word)]
    whole = sum(len(piece) for piece in made if isinstance(piece, bytes)) / 6000
    assert [word.text for word in words][-6:] == ["costs", "1,234", "euros", "said", "Dr", "Smith"]
    assert all(earlier.start <= later.start for earlier, later in pairwise(words))
    assert all(0 <= word.start <= word.end <= whole for word in words)
    number = next(word for word in words if word.text == "1,234")
    assert number.end - number.start > 1, "it is read as several words"


@pytest.mark.usefixtures("human", "away")
def test_there_are_captions_of_it(client: httpx.Client) -> None:
    response = say(client, accept="text/vtt")
    assert engine(response) == "piper"
    assert "The committee met on Tuesday" in response.text


@pytest.mark.usefixtures("human", "away")
@pytest.mark.parametrize("text", ["*** --- ***", "\u4f1a\u8bae\u5728\u5468\u4e8c\u4e3e\u884c\u3002", "s'" * 70])
def test_what_it_cannot_say_is_tried_by_espeak_ng_and_harms_nobody(client: httpx.Client, text: str) -> None:
    assert say(client, text).status_code in (200, 502)
    assert engine(say(client, "And this is spoken all the same.")) == "piper"


@pytest.mark.usefixtures("human", "away")
def test_a_phonemizer_that_dies_is_replaced(client: httpx.Client) -> None:
    say(client)
    child = phonemizer._at_work
    assert child is not None
    os.kill(child._process.pid, signal.SIGKILL)
    assert engine(say(client, "After that.")) == "piper"


@pytest.mark.usefixtures("human", "away")
def test_a_failure_after_the_first_sound_cuts_the_connection(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = piper_phonemes.phonemizer.ask, 0

    def fails_later(*arguments: object) -> None:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise CannotSpeak("no more")
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(piper_phonemes.phonemizer, "ask", fails_later)
    with client.stream("POST", "/audio", json={"text": LONG}) as response:
        assert engine(response) == "piper"
        with pytest.raises(httpx.RemoteProtocolError):
            response.read()


@pytest.mark.usefixtures("human")
def test_a_listener_who_leaves_frees_it_within_the_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    decode = PiperModel.decode

    def counted(self: PiperModel, latent: object) -> Iterator[object]:
        for samples in decode(self, latent):  # type: ignore[arg-type]
            made.append(len(samples))
            yield samples

    monkeypatch.setattr(PiperModel, "decode", counted)

    async def leave() -> None:
        stream = PiperSpeech().stream(AudioRequest(text=LONG), time.monotonic() + WAIT_SECONDS)
        await anext(stream)
        await stream.aclose()
        assert piper.slots._active == 0

    asyncio.run(leave())
    assert len(made) <= 3


@pytest.mark.usefixtures("human", "away")
def test_of_more_than_it_can_make_espeak_ng_speaks(client: httpx.Client, base_url: str, set_audio: SetAudio) -> None:
    set_audio(piper_recordings=1, breaker_failures=1)
    say(client)

    def other(number: int) -> str:
        with httpx.Client(base_url=base_url, timeout=WAIT_SECONDS, trust_env=False) as opened:
            return engine(opened.post("/audio", json={"text": f"{number}. {LONG[:400]}"}, headers={"Prefer": "wait=1"}))

    with ThreadPoolExecutor(4) as threads:
        spoken = sorted(threads.map(other, range(4)))
    assert set(spoken) == {"espeak-ng", "piper"}


@pytest.mark.usefixtures("human", "away")
@pytest.mark.parametrize("voice", ["en-US-AvaNeural", "en-GB-SoniaNeural", "en-IN-PrabhatNeural"])
def test_until_the_voice_that_fits_best_is_there_another_of_the_language_speaks(
    client: httpx.Client, settings_env: SettingsEnv, voice: str
) -> None:
    settings_env(OFFLINE=True)
    response = say(client, voice=voice)
    assert response.headers["x-audio-voice"] == "piper:en_US-joe-medium"


@pytest.mark.usefixtures("human", "away")
def test_without_downloads_no_language_is_asked_of_the_hub(client: httpx.Client, set_audio: SetAudio) -> None:
    set_audio(piper_downloads=False)
    assert engine(say(client, "Guten Tag.", voice="de-DE-KatjaNeural")) == "espeak-ng"
    assert "piper:de_DE-thorsten-medium" not in lazy.models()
    assert engine(say(client, voice="en-US-AvaNeural")) == "piper"


@pytest.mark.usefixtures("human")
def test_health_knows_the_voice_and_is_well_without_it() -> None:
    model = lazy.models()["piper:en_US-joe-medium"]
    assert model.optional
    assert model.status.state == "ready"


@pytest.mark.parametrize("text", ["\u4f1a" * 130, "1234567890123 " * 28, "\U0001f600" * 100])
def test_signs_that_are_read_as_many_words_are_said_in_parts_of_bounded_size(human: PiperModel, text: str) -> None:
    parts = phonemized(human.config, text).sentences
    assert len(parts) > 3
    assert max(len(part.ids) for part in parts) <= 2 * MOST_PHONEMES + 3


def test_a_long_sentence_is_cut_behind_a_clause_or_else_behind_a_word() -> None:
    clause, word = ["a"] * 5 + [",", " "], ["b"] * 6 + [" "]
    parts = list(bounded(clause * 30 + word * 60))
    assert [phoneme for part in parts for phoneme in part] == clause * 30 + word * 60
    assert all(len(part) <= MOST_PHONEMES and part[-1] == " " for part in parts)
    assert parts[0] == clause * 30
    assert [len(part) for part in bounded(["c"] * 700)] == [MOST_PHONEMES, MOST_PHONEMES, 700 - 2 * MOST_PHONEMES]


@pytest.mark.usefixtures("human", "away")
@pytest.mark.parametrize("engine_setting", ["piper", "espeak-ng"])
def test_what_becomes_longer_than_a_recording_may_be_is_cut(
    client: httpx.Client, set_audio: SetAudio, engine_setting: str
) -> None:
    # 8 characters, about half a second; they are read as 40 words.
    set_audio(engine=engine_setting, max_speech_seconds=3)
    with client.stream("POST", "/audio", json={"text": "\U0001f4f0\U0001f600" * 4, "normalize": False}) as response:
        assert engine(response) == engine_setting
        with pytest.raises(httpx.RemoteProtocolError):
            response.read()
