"""What POST /audio refuses, and that it says which field and why."""

import re

import httpx
import pytest

from functions.audio.schemas import PITCH, RATE, VOLUME, AudioRequest, SignedAmount
from tests.conftest import problem
from tests.doubles.edge_server import SpeechCloud

BAD_VALUES = [
    ("text", ""),
    ("text", " \n\t\u3000"),
    ("text", "\x01\u200b"),
    ("text", "a\0b"),
    ("text", "x" * 20_001),
    ("text", 7),
    ("text", None),
    ("text", ["Hello"]),
    ("voice", "en-US-Christopher"),
    ("voice", "en-US-ChristopherNeural'/><break time='9s"),
    ("voice", "en-US-ChristopherNeural\n"),
    ("voice", "EN-US-CHRISTOPHERNEURAL"),
    ("voice", ""),
    ("voice", 1),
    ("rate", "+999999%"),
    ("rate", "+301%"),
    ("rate", "-91%"),
    ("rate", "+0%\n"),
    ("rate", "0%"),
    ("rate", "+0"),
    ("rate", "+ 0%"),
    ("rate", "+1.5%"),
    ("rate", "+٥%"),
    ("rate", "+５%"),
    ("rate", "\u22125%"),
    ("rate", ""),
    ("rate", 0),
    ("rate", None),
    ("volume", "+101%"),
    ("volume", "-101%"),
    ("volume", "+0%\n"),
    ("volume", 50),
    ("pitch", "+101Hz"),
    ("pitch", "-101Hz"),
    ("pitch", "+0hz"),
    ("pitch", "+0%"),
    ("pitch", "+0Hz\n"),
    ("speed", "+0%"),
]


@pytest.mark.parametrize(("field", "value"), BAD_VALUES, ids=[f"{field}={value!r:.24}" for field, value in BAD_VALUES])
def test_a_bad_field_is_named_and_never_reaches_the_cloud(
    client: httpx.Client, cloud: SpeechCloud, field: str, value: object
) -> None:
    response = client.post("/audio", json={"text": "Hello world", field: value})
    assert response.status_code == 422
    assert [error["field"] for error in problem(response)["errors"]] == [field]
    assert cloud.handshakes == 0


@pytest.mark.parametrize("text", [r"\ud800", r"fine \udc00 until here"])
def test_half_a_surrogate_pair_is_refused_not_a_crash(client: httpx.Client, cloud: SpeechCloud, text: str) -> None:
    body = b'{"text": "' + text.encode() + b'"}'
    response = client.post("/audio", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert [error["field"] for error in problem(response)["errors"]] == ["text"]
    assert cloud.handshakes == 0


def test_text_is_required(client: httpx.Client) -> None:
    response = client.post("/audio", json={})
    assert response.status_code == 422
    assert [error["field"] for error in problem(response)["errors"]] == ["text"]


def test_every_bad_field_is_named_at_once(client: httpx.Client) -> None:
    bad = {"text": " ", "voice": "nobody", "rate": "fast", "volume": "loud", "pitch": "high", "tempo": 1}
    response = client.post("/audio", json=bad)
    assert {error["field"] for error in problem(response)["errors"]} == set(bad)


def test_an_unknown_voice_is_answered_with_the_closest_ones(client: httpx.Client) -> None:
    response = client.post("/audio", json={"text": "Hello", "voice": "en-us-cristopher"})
    [error] = problem(response)["errors"]
    assert "en-US-ChristopherNeural" in error["detail"]
    assert "/audio/voices" in error["detail"]


def test_an_amount_out_of_bounds_is_answered_with_the_bounds(client: httpx.Client) -> None:
    response = client.post("/audio", json={"text": "Hello", "rate": "+400%", "pitch": "-300Hz"})
    details = {error["field"]: error["detail"] for error in problem(response)["errors"]}
    assert "-90%" in details["rate"]
    assert "+300%" in details["rate"]
    assert "-100Hz" in details["pitch"]
    assert "+100Hz" in details["pitch"]


def test_the_article_is_not_in_the_error(client: httpx.Client) -> None:
    response = client.post("/audio", json={"text": "confidential " * 2000})
    assert response.status_code == 422
    assert b"confidential" not in response.content


@pytest.mark.parametrize(
    ("given", "normalised"), [("+0%", "+0%"), ("-0%", "+0%"), ("+007%", "+7%"), ("-90%", "-90%"), ("+300%", "+300%")]
)
def test_amounts_up_to_the_bounds_are_taken_and_spelled_one_way(given: str, normalised: str) -> None:
    assert AudioRequest(text="Hello", rate=given).rate == normalised


def test_the_longest_text_is_taken() -> None:
    assert len(AudioRequest(text="é" * 20_000).text) == 20_000


@pytest.mark.parametrize("amount", [RATE, VOLUME, PITCH], ids=["rate", "volume", "pitch"])
def test_the_pattern_in_openapi_json_allows_what_is_taken_and_nothing_else(amount: SignedAmount) -> None:
    for number in range(-1000, 1001):
        spelled = f"{number:+d}{amount.unit}"
        assert bool(re.search(amount.pattern, spelled)) == (amount.least <= number <= amount.most), spelled
    for spelled in ("", "+", f"10{amount.unit}", "+10", f"+1.5{amount.unit}", f"+10{amount.unit}x", f"+{amount.unit}"):
        assert not re.search(amount.pattern, spelled), spelled
