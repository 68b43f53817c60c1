"""Captions over HTTP, from both engines: they hold the text and end with the sound."""

import re

import httpx
import pytest

from tests.conftest import problem
from tests.doubles.edge_server import SECONDS_PER_CHARACTER, Fault, SpeechCloud
from tests.functions.audio.conftest import SetAudio, seconds

TEXT = 'The committee met on Tuesday; it talked about "the bridge". Nobody agreed, as usual. ' * 3
LONG_TEXT = "Seven words are in this short sentence. " * 110
TIME = re.compile(r"(\d\d):(\d\d):(\d\d)[.,](\d{3}) --> (\d\d):(\d\d):(\d\d)[.,](\d{3})")
ENGINES = ["edge-tts", "espeak-ng"]


def ask(client: httpx.Client, accept: str, text: str = TEXT, **more: str) -> httpx.Response:
    return client.post("/audio", json={"text": text, **more}, headers={"Accept": accept})


def times(captions: str) -> list[tuple[float, float]]:
    found = []
    for match in TIME.finditer(captions):
        values = [int(group) for group in match.groups()]
        start, end = (3600 * h + 60 * m + s + ms / 1000 for h, m, s, ms in (values[:4], values[4:]))
        found.append((start, end))
    return found


def lines(captions: str) -> str:
    """What is read, without numbers and times."""
    blocks = [block.splitlines() for block in captions.strip().split("\n\n") if TIME.search(block)]
    return " ".join(line for block in blocks for line in block if not TIME.search(line) and not line.isdecimal())


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("accept", "opening"), [("text/vtt", "WEBVTT\n\n"), ("application/x-subrip", "1\n")])
@pytest.mark.parametrize("text", [TEXT, LONG_TEXT], ids=["short", "several turns"])
def test_captions_go_with_the_sound(
    client: httpx.Client, set_audio: SetAudio, engine: str, accept: str, opening: str, text: str
) -> None:
    set_audio(engine=engine)
    captions = ask(client, accept, text)
    assert captions.status_code == 200
    assert captions.headers["content-type"].startswith(accept)
    assert captions.headers["x-audio-engine"] == engine
    assert captions.text.startswith(opening)
    sound = seconds(ask(client, "audio/mpeg", text).content)
    found = times(captions.text)
    assert len(found) >= text.count(".")
    assert all(start < end for start, end in found)
    assert [start for start, _ in found] == sorted({start for start, _ in found})
    assert found[-1][1] <= sound
    # The last words are said at the end, not where a part of the text ended.
    assert found[-1][0] > 0.85 * sound
    assert lines(captions.text) == " ".join(text.split())


def test_captions_and_sound_are_one_recording(client: httpx.Client, cloud: SpeechCloud) -> None:
    captions = ask(client, "text/vtt")
    sound = ask(client, "audio/mpeg")
    assert len(cloud.turns) == 1
    assert captions.headers["etag"] != sound.headers["etag"]
    assert captions.headers["vary"] == sound.headers["vary"] == "Accept"
    assert (
        client.post(
            "/audio", json={"text": TEXT}, headers={"Accept": "text/vtt", "If-None-Match": captions.headers["etag"]}
        ).status_code
        == 304
    )


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "audio/mpeg"),
        ("application/json, text/plain, */*", "audio/mpeg"),
        ("application/json", "audio/mpeg"),
        ("TEXT/VTT; q=0.9", "text/vtt; charset=utf-8"),
        ("audio/mpeg, text/vtt", "audio/mpeg"),
        ("text/vtt; timestamps=words", "text/vtt; charset=utf-8"),
        ("text/vtt; timestamps=words; q=0.5, audio/mpeg", "audio/mpeg"),
        ("text/html, text/vtt;q=0.5, audio/mpeg", "audio/mpeg"),
        ("text/vtt;q=0, audio/mpeg", "audio/mpeg"),
        ("text/vtt;q=0", "audio/mpeg"),
        ("text/html, TEXT/VTT;q=0.5, application/x-subrip;q=0.4", "text/vtt; charset=utf-8"),
    ],
)
def test_the_first_known_format_is_given(client: httpx.Client, accept: str, media_type: str) -> None:
    assert ask(client, accept).headers["content-type"] == media_type


def test_captions_by_word_are_asked_for_by_a_parameter_and_are_of_the_same_recording(
    client: httpx.Client, cloud: SpeechCloud
) -> None:
    plain, by_word = (ask(client, accept) for accept in ("text/vtt", 'Text/VTT; Timestamps="words"'))
    assert len(cloud.turns) == 1
    assert plain.text == ask(client, "text/vtt; timestamps=none").text
    assert re.sub(r"<\d\d:\d\d:\d\d\.\d{3}>", "", by_word.text) == plain.text != by_word.text
    # Another representation: it is not known by the other's tag.
    for known, status in ((plain, 200), (by_word, 304)):
        headers = {"Accept": "text/vtt; timestamps=words", "If-None-Match": known.headers["etag"]}
        assert client.post("/audio", json={"text": TEXT}, headers=headers).status_code == status


def test_the_captions_of_a_cut_recording_are_an_error(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.fault = Fault.CLOSE_AFTER_AUDIO
    assert problem(ask(client, "text/vtt"))["status"] == 502


@pytest.mark.usefixtures("cloud")
def test_the_words_of_the_cloud_are_timed_by_its_sound(client: httpx.Client) -> None:
    text = "One two three four. " + "Five six seven eight. " * 2
    starts = [start for start, _ in times(ask(client, "text/vtt", text).text)]
    expected = [at * SECONDS_PER_CHARACTER for at in (0, 20, 42)]
    assert starts == pytest.approx(expected, abs=0.05)
