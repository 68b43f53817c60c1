"""Keys, limits and other origins on AWS Lambda, behind each kind of front door."""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

import functions.audio.handler
import functions.extract.handler
import functions.health.handler
import functions.summarize.handler
from common import quotas
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
DESK = "desk-0123456789abcdef"
ORIGIN = "https://desk.example"
SIGNATURE = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261128/eu-central-1/lambda/aws4_request, Signature=00"


@pytest.fixture(autouse=True)
def guarded(settings_env: SettingsEnv, speech_cloud: SpeechCloud) -> Iterator[None]:
    settings_env(AUDIO__ENDPOINT=speech_cloud.url, API_KEYS=f"desk:{DESK}", **lead_model.SETTINGS)
    quotas.forget()
    yield
    quotas.forget()


@pytest.fixture(params=["api_gateway_v1", "api_gateway_v2", "function_url", "alb"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def invoke(kind: str, method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    event = lambda_event(kind, method, path, {"text": "Apple Inc. is in Paris."} if method == "POST" else None)
    event["headers"] |= headers
    if "multiValueHeaders" in event:
        event["multiValueHeaders"] |= {name: [value] for name, value in headers.items()}
    answer: dict[str, Any] = HANDLERS[path](event, None)
    told = {name: values[0] for name, values in (answer.get("multiValueHeaders") or {}).items()}
    answer["headers"] = {name.lower(): value for name, value in {**told, **(answer.get("headers") or {})}.items()}
    return answer


def problem(answer: dict[str, Any]) -> dict[str, Any]:
    assert answer["headers"]["content-type"] == "application/problem+json"
    text = base64.b64decode(answer["body"]).decode() if answer["isBase64Encoded"] else answer["body"]
    body: dict[str, Any] = json.loads(text)
    assert body["status"] == answer["statusCode"]
    return body


@pytest.mark.parametrize("path", ["/summarize", "/extract", "/audio"])
def test_each_function_needs_a_key(kind: str, path: str) -> None:
    # The URL takes Authorization for itself.
    refused = invoke(kind, "POST", path, {"authorization": SIGNATURE})
    assert problem(refused)["status"] == 401
    assert refused["headers"]["www-authenticate"] == 'Bearer realm="factory"'
    assert invoke(kind, "POST", path, {"authorization": SIGNATURE, "x-api-key": DESK})["statusCode"] == 200


def test_health_needs_none(kind: str) -> None:
    assert invoke(kind, "GET", "/health", {})["statusCode"] == 200


def test_a_limit_is_a_429_with_its_fields(kind: str, settings_env: SettingsEnv) -> None:
    settings_env(EXTRACT__REQUESTS_PER_MINUTE=1)
    headers = {"authorization": f"Bearer {DESK}"}
    answered = invoke(kind, "POST", "/extract", headers)
    assert re.fullmatch('"extract";r=0;t=[0-9]+', answered["headers"]["ratelimit"])
    refused = invoke(kind, "POST", "/extract", headers)
    assert problem(refused)["type"] == "urn:problem-type:factory:too-many-requests"
    assert 1 <= int(refused["headers"]["retry-after"]) <= 61


def test_a_page_of_an_origin_that_is_named_may_call(kind: str, settings_env: SettingsEnv) -> None:
    settings_env(CORS_ORIGINS=ORIGIN)
    asked = {"origin": ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    preflight = invoke(kind, "OPTIONS", "/extract", asked)
    assert (preflight["statusCode"], preflight["headers"]["access-control-allow-origin"]) == (200, ORIGIN)
    refused = invoke(kind, "POST", "/extract", {"origin": ORIGIN})
    assert (refused["statusCode"], refused["headers"]["access-control-allow-origin"]) == (401, ORIGIN)
