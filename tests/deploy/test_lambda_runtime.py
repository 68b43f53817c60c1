"""Every Command of template.yaml in the real runtime of Lambda, awslambdaric, against a double of the Runtime API."""

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from mutagen.mp3 import MP3
from samtranslator.yaml_helper import yaml_parse

from functions.summarize.model import PRESETS
from tests.conftest import ROOT, lambda_event, wait_until
from tests.doubles import lead_model
from tests.doubles.edge_server import SECONDS_PER_CHARACTER, SpeechCloud
from tests.doubles.hub_server import HubServer
from tests.doubles.lambda_runtime import INIT_SECONDS, MAX_PAYLOAD_BYTES, Function, LambdaRuntime, start

TEMPLATE = (ROOT / "template.yaml").read_text(encoding="utf-8")
COMMANDS: dict[str, str] = {
    name.lower(): resource["Properties"]["ImageConfig"]["Command"][0]
    for name, resource in yaml_parse(TEMPLATE)["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
}
ARTICLE = "The harbour reopened on Monday. Ships came back within hours. Nobody was hurt."
REQUESTS: dict[str, tuple[str, str, object]] = {
    "summarize": ("POST", "/summarize", {"text": ARTICLE, "temperature": 0}),
    "extract": ("POST", "/extract", {"text": "Apple Inc. announced that Tim Cook will visit Paris."}),
    "audio": ("POST", "/audio", {"text": "Hello world"}),
    "health": ("GET", "/health", None),
}
LOADS = ["summarize", "extract"]


def event(request: tuple[str, str, object], kind: str = "function_url") -> dict[str, Any]:
    return lambda_event(kind, *request)


def settings(cloud: SpeechCloud, **others: object) -> dict[str, str]:
    """As template.yaml sets them, with models of this repository in place of those that have to be downloaded."""
    values: dict[str, object] = {name.lower(): value for name, value in lead_model.SETTINGS.items()}
    values |= {"extract__model": "embedded", "audio__endpoint": cloud.url, "profile": "lambda", **others}
    return {f"FACTORY_{name.upper()}": str(value) for name, value in values.items()}


@pytest.fixture(scope="module", params=COMMANDS)
def function(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, speech_cloud: SpeechCloud
) -> Iterator[Function]:
    """Each of the four in turn, one process for all tests that change nothing about it."""
    folder = tmp_path_factory.mktemp("lambda")
    with (
        LambdaRuntime() as runtime,
        start(COMMANDS[request.param], runtime, folder, **settings(speech_cloud)) as running,
    ):
        yield running


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Which of the four `function` is."""
    return str(request.node.callspec.params["function"])


def answer(function: Function, happening: object, deadline_seconds: float = 30.0) -> dict[str, Any]:
    """The handler's answer, with its headers in lower case whatever the front door calls them."""
    result = function.invoke(happening, deadline_seconds)
    assert result.status == "response", f"{result.payload.decode()}\n{function.log_text()}"
    found: dict[str, Any] = result.json
    found["headers"] = {header.lower(): value for header, value in found["headers"].items()}
    return found


def problem(found: dict[str, Any]) -> dict[str, Any]:
    assert found["headers"]["content-type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(found["body"])
    assert (body["status"], body["instance"]) == (found["statusCode"], found["headers"]["x-request-id"])
    return body


def test_it_starts_long_before_lambda_gives_up(function: Function, name: str) -> None:
    assert function.runtime.wait_until_ready(), function.log_text()
    print(f"{name}: {function.init_seconds:.2f} s from start to the first `next`")
    assert function.init_seconds < INIT_SECONDS


@pytest.mark.parametrize("kind", ["api_gateway_v1", "api_gateway_v2", "function_url", "alb"])
def test_it_answers_the_events_of_every_front_door(function: Function, name: str, kind: str) -> None:
    found = answer(function, event(REQUESTS[name], kind))
    assert found["statusCode"] == 200, found
    if name == "audio":
        assert found["headers"]["x-audio-engine"] == "edge-tts"
        assert MP3(BytesIO(base64.b64decode(found["body"]))).info.length > 0.3
    elif name == "summarize":
        assert json.loads(found["body"])["summary"]
    elif name == "extract":
        texts = {entity["text"] for entity in json.loads(found["body"])["entities"]}
        assert texts == {"Apple Inc.", "Tim Cook", "Paris"}
    else:
        assert json.loads(found["body"])["status"] == "healthy"


def test_bad_input_is_an_answer_and_no_failed_invocation(function: Function, name: str) -> None:
    method, path, body = REQUESTS[name]
    wrong = (method, path, {"text": " "}) if body else (method, "/nowhere", None)
    found = answer(function, event(wrong))
    assert problem(found)["status"] == found["statusCode"] == (422 if body else 404)


def test_an_event_that_is_no_request_fails_and_the_next_is_served(function: Function, name: str) -> None:
    failed = function.invoke({"Records": []})
    assert (failed.status, failed.json["errorType"]) == ("error", "RuntimeError")
    assert answer(function, event(REQUESTS[name]))["statusCode"] == 200


def test_requests_are_in_the_log_with_the_invocations_id(function: Function, name: str) -> None:
    answer(function, event(REQUESTS[name]))
    lines = [json.loads(line) for line in function.log_text().splitlines() if line.startswith("{")]
    access = [line for line in lines if line.get("logger") == "factory.access"]
    assert access[-1]["requestId"]
    assert access[-1]["fields"]["status"] == 200


def test_it_writes_nothing_but_its_log(function: Function, name: str) -> None:
    answer(function, event(REQUESTS[name]))
    assert [path.name for path in function.log.parent.iterdir()] == [function.log.name]


@pytest.mark.parametrize("name", LOADS)
def test_the_second_invocation_finds_the_model_loaded(name: str, speech_cloud: SpeechCloud, tmp_path: Path) -> None:
    with LambdaRuntime() as runtime, start(COMMANDS[name], runtime, tmp_path, **settings(speech_cloud)) as function:
        method, path, _ = REQUESTS[name]
        first, second = (
            function.invoke(event((method, path, {"text": f"{ARTICLE} {number}"}))) for number in ("One.", "Two.")
        )
        assert (first.json["statusCode"], second.json["statusCode"]) == (200, 200)
        print(f"{name}: first {first.seconds:.2f} s, second {second.seconds:.2f} s")
        assert second.seconds < first.seconds
        assert function.log_text().count("ready after") == 1


def test_the_first_call_downloads_the_preset_and_nothing_else_is_written(tmp_path: Path) -> None:
    wanted = yaml_parse(TEMPLATE)["Parameters"]["Preset"]["Default"]
    preset = PRESETS[wanted]
    file, name = (template.format("Q4_K_M") for template in (preset.file, preset.name))
    variables = {"FACTORY_PROFILE": "lambda", "FACTORY_SUMMARIZE__MODEL": wanted}
    variables |= {"FACTORY_MODELS_FOLDER": str(tmp_path / "models")}
    with (
        HubServer({preset.repo: {file: lead_model.FILE}}) as hub,
        LambdaRuntime() as runtime,
        start(COMMANDS["summarize"], runtime, tmp_path, **variables | {"HF_ENDPOINT": hub.url}) as function,
    ):
        found = answer(function, event(REQUESTS["summarize"]))
        assert (found["statusCode"], json.loads(found["body"])["model"]) == (200, name), found
        assert sorted(path.name for path in tmp_path.iterdir()) == ["lambda.log", "models"]


def test_a_summary_ends_before_the_invocation_does(speech_cloud: SpeechCloud, tmp_path: Path) -> None:
    sentences = [f"Ship number {number} came back to the harbour on Monday." for number in range(180)]
    openings = ["It was raining.", "It was sunny.", "It was snowing."]
    first, second, third = (
        event(("POST", "/summarize", {"text": " ".join([opening, *sentences]), "max_tokens": 300, "seed": 1}))
        for opening in openings
    )
    roomy = settings(speech_cloud, summarize__context=8192, summarize__max_article_tokens="none")
    with LambdaRuntime() as runtime, start(COMMANDS["summarize"], runtime, tmp_path, **roomy) as function:
        # Loads the model and lets the service see how fast it is.
        answer(function, first)
        whole = function.invoke(second, 60)
        assert json.loads(whole.json["body"])["condensed"] is False
        # One second is kept for sending the answer, and a quarter of what it takes is left.
        deadline = 1 + whole.seconds / 4
        hurried = function.invoke(third, deadline)
        assert (hurried.status, hurried.seconds < deadline) == ("response", True), function.log_text()
        found = hurried.json
        print(f"{whole.seconds:.2f} s, with {deadline:.2f} s {hurried.seconds:.2f} s: {found['statusCode']}")
        if found["statusCode"] == 200:
            body = json.loads(found["body"])
            assert body["condensed"] or body["finish_reason"] == "deadline"
        else:
            assert found["statusCode"] == 503
            assert int(found["headers"]["retry-after"]) >= 1
        # Without any time there is no summary, but an answer, and the process lives on.
        late = answer(function, event(REQUESTS["summarize"]), 0.9)
        assert (late["statusCode"], problem(late)["type"]) == (503, "urn:problem-type:factory:queue-full")
        assert answer(function, event(REQUESTS["summarize"]))["statusCode"] == 200


def test_an_answer_over_6_mb_is_a_413_that_says_what_to_do(speech_cloud: SpeechCloud, tmp_path: Path) -> None:
    # 12.5 minutes fit; this speaks for 14.
    sentence = "The ships came back. "
    text = sentence * round(14 * 60 / SECONDS_PER_CHARACTER / len(sentence))
    with (
        LambdaRuntime() as runtime,
        start(COMMANDS["audio"], runtime, tmp_path, **settings(speech_cloud)) as function,
    ):
        found = answer(function, event(("POST", "/audio", {"text": text})))
        told = problem(found)
        assert (told["status"], told["type"]) == (413, "urn:problem-type:factory:answer-too-large")
        assert "send the text in 2 parts" in told["detail"]
        half = answer(function, event(("POST", "/audio", {"text": text[: len(text) // 2]})))
        assert half["statusCode"] == 200
        assert MP3(BytesIO(base64.b64decode(half["body"]))).info.length == pytest.approx(7 * 60, abs=5)


@pytest.mark.parametrize(("variable", "value"), [("profile", "lamda"), ("summarize__threads", "many")])
def test_a_bad_setting_fails_the_start_with_its_reason(
    variable: str, value: str, speech_cloud: SpeechCloud, tmp_path: Path
) -> None:
    broken = settings(speech_cloud, **{variable: value})
    with LambdaRuntime() as runtime, start(COMMANDS["summarize"], runtime, tmp_path, **broken) as function:
        assert not runtime.wait_until_ready()
        assert runtime.init_error is not None, function.log_text()
        assert runtime.init_error["errorType"] == "InvalidSettings"
        assert f"FACTORY_{variable.upper()}: " in runtime.init_error["errorMessage"]
        assert function.process.wait(5) == 1


def test_a_missing_handler_fails_the_start(tmp_path: Path) -> None:
    with LambdaRuntime() as runtime, start("functions.nowhere.handler", runtime, tmp_path):
        assert not runtime.wait_until_ready()
        assert runtime.init_error is not None
        assert runtime.init_error["errorType"] == "Runtime.ImportModuleError"


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[Function]:
    """A handler that answers as many letters as it is told, or not at all."""
    code = "import threading\ndef handler(event, _):\n    return 'x' * event if event else threading.Event().wait()\n"
    (tmp_path / "sample.py").write_text(code, encoding="utf-8")
    with LambdaRuntime() as runtime, start("sample.handler", runtime, tmp_path, PYTHONPATH=str(tmp_path)) as running:
        yield running


def test_the_double_takes_6_mb_and_no_byte_more(sample: Function) -> None:
    # With its two quotes.
    assert len(sample.invoke(MAX_PAYLOAD_BYTES - 2).payload) == MAX_PAYLOAD_BYTES
    too_large = sample.invoke(MAX_PAYLOAD_BYTES - 1)
    assert (too_large.status, too_large.json["errorType"]) == ("error", "Function.ResponseSizeTooLarge")
    # The runtime does not survive it, and no model that it had loaded.
    assert sample.process.wait(5) != 0
    assert sample.invoke(1).json["errorType"] == "Runtime.ExitError"


def test_the_double_kills_a_function_at_its_deadline(sample: Function) -> None:
    result = sample.invoke(0, 0.3)
    assert result.status == "timeout"
    assert 0.3 <= result.seconds < 2
    wait_until(lambda: sample.process.poll() is not None, "the function is gone")
