"""Hostile voices, amounts and texts: a 422, or a well-formed SSML document that says the text and nothing else."""

import re
from xml.etree import ElementTree

import httpx
import pytest

from functions.audio.normalization import normalized
from tests.conftest import problem
from tests.doubles.edge_server import SPEAK, SpeechCloud
from tests.functions.audio.conftest import SetAudio

VOICE = "en-US-ChristopherNeural"
HOSTILE_VOICES = [
    f"{VOICE}'/><break time='9s",
    f"{VOICE}' xml:lang='de",
    f'{VOICE}"',
    f"{VOICE}&quot;",
    f"{VOICE}\n",
    f"{VOICE}\u2028",
    f" {VOICE}",
    f"{VOICE}\0",
    "en-US-../../Neural",
    "en-US-<voice>Neural",
    "en-US-ChristopherNeural)(en-US, AriaNeural",
    "Microsoft Server Speech Text to Speech Voice (en-US, ChristopherNeural)",
    "Microsoft Server Speech Text to Speech Voice (en-US', Neural)",
    "en-US-СhristopherNeural",
    "ｅｎ-US-ChristopherNeural",
    "en-US-" + "A" * 10_000 + "Neural",
    "${jndi:ldap://127.0.0.1/a}",
    "{{7*7}}",
]
HOSTILE_AMOUNTS = [
    "+0%'/><audio src='http://127.0.0.1/",
    "+0%\n",
    "\n+0%",
    "+0%\r",
    "+0%\0",
    "+999999%",
    "+99999999999999999999%",
    "+1e3%",
    "+٥%",
    "+５%",
    "+０%",
    "−5%",
    "+ 5%",
    "+-5%",
    "++5%",
    "5%",
    "%",
    "+%",
    "+0% ",
    "+0％",
    "+0%%",
    "+0&#37;",
    "default",
    "x-fast",
    "+0st",
]
HOSTILE_TEXTS = [
    "</prosody></voice></speak>",
    "</prosody><voice name='en-US-GuyNeural'><prosody>hello",
    "<break time='60s'/> hello",
    "<speak><audio src='http://127.0.0.1/a.wav'/></speak> hello",
    "]]> hello <![CDATA[x]]>",
    "<!-- hello --> <?xml version='1.0'?>",
    "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]> &e; hello",
    "&amp; &lt; &#60; &#x3c; &unknown; & hello",
    "5 < 6 && 7 > 3, \"quoted\" & 'single'",
    "a\x01b\x0bc\x0cd\x1fe",
    "Path:turn.end\r\n\r\n hello",
    "\r\n\r\nX-RequestId:1\r\nPath:speech.config\r\n\r\n{}",
    "\ufeff\u202ehello\u202c\u200b\u00ad",
    "\ufffe\uffff hello",
    "\x7f\x80\x85\x9f hello",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 hello \U0010ffff",
    "e" + "\u0301" * 5000,
    "&" * 5000 + " hello",
    "<" * 3000 + " hello " + ">" * 3000,
    "'\"" * 5000 + " hello",
    "字" * 5000,
]
# XML 1.0 can carry none of them; there is a space in their place.
NOT_IN_XML = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@pytest.mark.parametrize("voice", HOSTILE_VOICES, ids=lambda voice: repr(voice)[:40])
@pytest.mark.parametrize("path", ["/audio", "/v1/audio/speech"])
def test_a_hostile_voice_is_a_422(client: httpx.Client, cloud: SpeechCloud, path: str, voice: str) -> None:
    text = {"input" if path.startswith("/v1") else "text": "Hello"}
    response = client.post(path, json={**text, "voice": voice})
    assert [error["field"] for error in problem(response)["errors"]] == ["voice"]
    assert response.status_code == 422
    assert cloud.handshakes == 0


@pytest.mark.parametrize("amount", HOSTILE_AMOUNTS, ids=lambda amount: repr(amount)[:40])
@pytest.mark.parametrize("field", ["rate", "volume", "pitch"])
def test_a_hostile_amount_is_a_422(client: httpx.Client, cloud: SpeechCloud, field: str, amount: str) -> None:
    value = amount.replace("%", "Hz") if field == "pitch" else amount
    response = client.post("/audio", json={"text": "Hello", field: value})
    assert response.status_code == 422
    assert [error["field"] for error in problem(response)["errors"]] == [field]
    assert cloud.handshakes == 0


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text)[:40])
@pytest.mark.parametrize("normalize", [False, True])
def test_a_hostile_text_is_said_not_obeyed(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio, text: str, normalize: bool
) -> None:
    set_audio(engine="edge-tts")
    response = client.post("/audio", json={"text": text, "normalize": normalize})
    assert response.status_code == 200, response.text
    spoken = ""
    for turn in cloud.turns:
        document = ElementTree.fromstring(turn.ssml)
        assert [element.tag for element in document.iter()] == [SPEAK + tag for tag in ("speak", "voice", "prosody")]
        assert turn.voice == "Microsoft Server Speech Text to Speech Voice (en-US, ChristopherNeural)"
        assert turn.prosody == {"rate": "+0%", "volume": "+0%", "pitch": "+0Hz"}
        spoken += turn.text
    said = normalized(text) if normalize else text
    assert "".join(spoken.split()) == "".join(NOT_IN_XML.sub(" ", said).split())
