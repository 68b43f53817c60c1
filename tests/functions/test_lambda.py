"""Every function's Lambda handler, with the events that the four kinds of front door send."""

import base64
import json
import re
from io import BytesIO
from typing import Any

import pytest
from mutagen.mp3 import MP3

import functions.audio.handler
import functions.extract.handler
import functions.health.handler
import functions.summarize.handler
from tests.conftest import SettingsEnv, lambda_event
from tests.doubles import lead_model
from tests.doubles.edge_server import SpeechCloud

pytestmark = pytest.mark.usefixtures("main_thread_loop")

HANDLERS = {
    "/summarize": functions.summarize.handler.handler,
    "/extract": functions.extract.handler.handler,
    "/audio": functions.audio.handler.handler,
    "/health": functions.health.handler.handler,
}
ARTICLE = "The harbour reopened on Monday. Ships came back within hours. Nobody was hurt."


@pytest.fixture(autouse=True)
def quick_and_offline(settings_env: SettingsEnv, speech_cloud: SpeechCloud) -> None:
    settings_env(AUDIO__ENDPOINT=speech_cloud.url, **lead_model.SETTINGS)


def invoke(kind: str, method: str, path: str, body: object = None, handler: str | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = HANDLERS[handler or path](lambda_event(kind, method, path, body), None)
    headers = answer.get("headers") or {name: values[0] for name, values in answer["multiValueHeaders"].items()}
    answer["headers"] = {name.lower(): value for name, value in headers.items()}
    return answer


@pytest.fixture(params=["api_gateway_v1", "api_gateway_v2", "function_url", "alb"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_summarize_answers_as_the_runner_does(kind: str) -> None:
    answer = invoke(kind, "POST", "/summarize", {"text": ARTICLE, "max_tokens": 150, "temperature": 0})
    assert answer["statusCode"] == 200
    assert answer["isBase64Encoded"] is False
    body = json.loads(answer["body"])
    assert body["model"] == lead_model.NAME
    assert body["summary"]


def test_extract_answers_as_the_runner_does(kind: str) -> None:
    text = "Apple Inc. announced that Tim Cook will visit Paris."
    answer = invoke(kind, "POST", "/extract", {"text": text, "labels": ["Person", "Organization", "Location"]})
    assert answer["statusCode"] == 200
    found = {(entity["text"], entity["label"]) for entity in json.loads(answer["body"])["entities"]}
    assert found == {("Apple Inc.", "Organization"), ("Tim Cook", "Person"), ("Paris", "Location")}


def test_audio_comes_as_base64_and_plays(kind: str) -> None:
    answer = invoke(kind, "POST", "/audio", {"text": "Hello world", "voice": "en-US-ChristopherNeural"})
    assert answer["statusCode"] == 200
    assert answer["isBase64Encoded"] is True
    assert answer["headers"]["content-type"] == "audio/mpeg"
    assert answer["headers"]["x-audio-engine"] == "edge-tts"
    assert MP3(BytesIO(base64.b64decode(answer["body"]))).info.length > 0.3


def test_a_recording_that_an_instance_keeps_is_had_again(kind: str) -> None:
    made = invoke(kind, "POST", "/audio", {"text": "Hello world"})
    path = made["headers"]["content-location"]
    assert re.fullmatch("(/prod)?/audio/recordings/[0-9a-f]{40}", path)
    event = lambda_event(kind, "GET", path.removeprefix("/prod"))
    again = HANDLERS["/audio"](event, None)
    assert again["statusCode"] == 200
    assert again["body"] == made["body"]


def test_health_answers(kind: str) -> None:
    answer = invoke(kind, "GET", "/health")
    assert (answer["statusCode"], json.loads(answer["body"])["status"]) == (200, "healthy")


def test_a_problem_comes_as_text_that_no_gateway_has_to_decode(kind: str) -> None:
    answer = invoke(kind, "POST", "/summarize", {"text": " "})
    assert (answer["statusCode"], answer["isBase64Encoded"]) == (422, False)
    assert answer["headers"]["content-type"] == "application/problem+json"
    assert json.loads(answer["body"])["errors"][0]["field"] == "text"


def test_a_handler_serves_only_its_own_function(kind: str) -> None:
    answer = invoke(kind, "POST", "/extract", {"text": "a"}, handler="/summarize")
    assert (answer["statusCode"], json.loads(answer["body"])["title"]) == (404, "Not Found")


def test_one_process_serves_many_invocations() -> None:
    for path, body in [
        ("/audio", {"text": "Hello"}),
        ("/summarize", {"text": ARTICLE}),
        ("/extract", {"text": ARTICLE}),
    ] * 2:
        assert invoke("function_url", "POST", path, body)["statusCode"] == 200


@pytest.mark.usefixtures("fresh_models")
def test_a_missing_model_is_a_503_with_its_reason(settings_env: SettingsEnv) -> None:
    settings_env(PROFILE="lambda", SUMMARIZE__MODEL="/nowhere/model.gguf")
    answer = invoke("function_url", "POST", "/summarize", {"text": ARTICLE})
    assert answer["statusCode"] == 503
    problem = json.loads(answer["body"])
    assert "there is no file model.gguf" in problem["detail"]
    assert "/nowhere" not in answer["body"]
    assert (problem["model"], problem["state"]) == ("llama", "failed")
    assert int(answer["headers"]["retry-after"]) >= 1
