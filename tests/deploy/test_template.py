"""template.yaml as cfn-lint and SAM's own transform see it, and as far as it can be seen without an account."""

import json
import re
import tomllib
from importlib import import_module
from typing import Any

import pytest
from boto3 import Session
from cfnlint.api import lint
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

from common.aws_lambda import LambdaHandler
from common.settings import load_settings
from tests.conftest import ROOT

TEXT = (ROOT / "template.yaml").read_text(encoding="utf-8")
FUNCTIONS = ["Summarize", "Extract", "Audio", "Health"]
# Imported while tests are collected: Mangum leaves an event loop behind, which conftest closes before the first test.
HANDLERS = {
    f"functions.{path.parent.name}.handler.handler": import_module(f"functions.{path.parent.name}.handler").handler
    for path in ROOT.glob("functions/*/handler.py")
}


@pytest.fixture(scope="module")
def transformed() -> dict[str, Any]:
    """The CloudFormation that SAM makes of the template, with the defaults of its parameters."""
    return transform({})


def transform(parameters: dict[str, str]) -> dict[str, Any]:
    translator = Translator({}, Parser(), boto_session=Session(region_name="eu-central-1"))
    plain: dict[str, Any] = translator.translate(yaml_parse(TEXT), parameters)
    return plain


@pytest.fixture(scope="module")
def functions(transformed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return of_type(transformed, "AWS::Lambda::Function")


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {name: item["Properties"] for name, item in template["Resources"].items() if item["Type"] == kind}


def test_cfn_lint_finds_nothing_in_the_template_nor_in_its_transform(transformed: dict[str, Any]) -> None:
    assert lint(TEXT) == []
    assert lint(json.dumps(transformed)) == []


@pytest.mark.parametrize("deploys", ["true", "false"])
def test_sam_transforms_it_with_and_without_the_state_machine(deploys: str, transformed: dict[str, Any]) -> None:
    assert transform({"DeployBatch": deploys})["Resources"].keys() == transformed["Resources"].keys()


def test_cfn_lint_would_find_a_mistake() -> None:
    assert lint(TEXT.replace("EphemeralStorage:", "EphemeralStore:"))


def test_the_four_functions_share_one_image(functions: dict[str, dict[str, Any]]) -> None:
    assert list(functions) == FUNCTIONS
    for function in functions.values():
        assert function["PackageType"] == "Image"
        assert function["Code"] == {"ImageUri": {"Ref": "ImageUri"}}
        assert function["Architectures"] == ["x86_64"]
        assert function["Environment"]["Variables"]["FACTORY_PROFILE"] == "lambda"
    builds = [function["Metadata"] for function in yaml_parse(TEXT)["Resources"].values() if "Metadata" in function]
    # SAM builds equal ones once.
    assert builds == [builds[0]] * len(FUNCTIONS)


def test_every_command_is_a_handler_and_every_handler_has_a_command(functions: dict[str, dict[str, Any]]) -> None:
    configurations = [function["ImageConfig"] for function in functions.values()]
    assert all(configuration["EntryPoint"] == ["python", "-m", "awslambdaric"] for configuration in configurations)
    assert sorted(configuration["Command"] for configuration in configurations) == sorted([name] for name in HANDLERS)
    assert all(isinstance(handler, LambdaHandler) for handler in HANDLERS.values())


def test_nobody_calls_without_a_signature(transformed: dict[str, Any]) -> None:
    urls = of_type(transformed, "AWS::Lambda::Url")
    assert {url["TargetFunctionArn"]["Ref"] for url in urls.values()} == set(FUNCTIONS)
    assert {url["AuthType"] for url in urls.values()} == {"AWS_IAM"}
    # A permission of the function's own could let others in; there is none, and no other door.
    assert of_type(transformed, "AWS::Lambda::Permission") == {}
    kinds = {item["Type"] for item in transformed["Resources"].values()}
    assert not {kind for kind in kinds if kind.startswith(("AWS::ApiGateway", "AWS::ElasticLoadBalancing"))}


def test_callers_may_do_what_a_url_asks_for_and_nothing_else(transformed: dict[str, Any]) -> None:
    (policy,) = of_type(transformed, "AWS::IAM::ManagedPolicy").values()
    by_url, by_invocation = policy["PolicyDocument"]["Statement"]
    assert (by_url["Action"], by_invocation["Action"]) == ("lambda:InvokeFunctionUrl", "lambda:InvokeFunction")
    assert by_invocation["Condition"] == {"Bool": {"lambda:InvokedViaFunctionUrl": True}}
    for statement in (by_url, by_invocation):
        assert [arn["Fn::GetAtt"] for arn in statement["Resource"]] == [[name, "Arn"] for name in FUNCTIONS]


def test_the_functions_may_only_write_their_log(transformed: dict[str, Any]) -> None:
    roles = of_type(transformed, "AWS::IAM::Role")
    assert [name for name in roles if name != "CorpusRunRole"] == [f"{name}Role" for name in FUNCTIONS]
    for name in FUNCTIONS:
        role = roles[f"{name}Role"]
        (policy,) = role["ManagedPolicyArns"]
        assert policy.endswith(":policy/service-role/AWSLambdaBasicExecutionRole")
        assert "Policies" not in role


def test_costs_are_capped_and_logs_end(transformed: dict[str, Any], functions: dict[str, dict[str, Any]]) -> None:
    parameters = transformed["Parameters"]
    groups = of_type(transformed, "AWS::Logs::LogGroup")
    for name, function in functions.items():
        condition, reserved, otherwise = function["ReservedConcurrentExecutions"]["Fn::If"]
        assert reserved == {"Ref": f"{name}Concurrency"}
        assert otherwise == {"Ref": "AWS::NoValue"}
        assert transformed["Conditions"][condition] == {"Fn::Not": [{"Fn::Equals": [reserved, "-1"]}]}
        assert 1 <= parameters[f"{name}Concurrency"]["Default"] <= 10
        assert function["Timeout"] == {"Ref": "TimeoutSeconds"}
        assert groups[function["LoggingConfig"]["LogGroup"]["Ref"]]["RetentionInDays"] == {"Ref": "LogDays"}
        assert function["LoggingConfig"]["LogFormat"] == "JSON"


def test_a_new_account_can_have_the_defaults(transformed: dict[str, Any], functions: dict[str, dict[str, Any]]) -> None:
    parameters = transformed["Parameters"]
    assert functions["Summarize"]["MemorySize"] == {"Ref": "SummarizeMemory"}
    assert parameters["SummarizeMemory"]["Default"] == 3008
    assert parameters["Preset"]["Default"] == "llama-3.2-1b"
    assert all(function["MemorySize"] <= 3008 for name, function in functions.items() if name != "Summarize")
    storage = transformed["Mappings"]["Presets"]
    assert set(storage) == set(parameters["Preset"]["AllowedValues"])
    assert all(512 <= preset["Storage"] <= 10240 for preset in storage.values())


def test_larger_presets_are_refused_with_the_default_memory(transformed: dict[str, Any]) -> None:
    rule = transformed["Rules"]["RoomForTheModel"]
    assert rule["RuleCondition"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "Preset"}, "llama-3.2-1b"]}]}
    default = str(transformed["Parameters"]["SummarizeMemory"]["Default"])
    assert rule["Assertions"][0]["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "SummarizeMemory"}, default]}]}


def test_every_variable_is_a_setting(
    transformed: dict[str, Any], functions: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for function in functions.values():
        for name, value in function["Environment"]["Variables"].items():
            # Where there is no bucket.
            plain = value["Fn::If"][2] if "Fn::If" in value else value
            default = plain if isinstance(plain, str) else transformed["Parameters"][plain["Ref"]]["Default"]
            monkeypatch.setenv(name, default)
    settings = load_settings()
    assert settings.profile == "lambda"
    limit = transformed["Parameters"]["TimeoutSeconds"]["Default"]
    assert settings.summarize.deadline_seconds is not None
    assert settings.summarize.deadline_seconds < limit


def test_every_url_is_told(transformed: dict[str, Any]) -> None:
    outputs = transformed["Outputs"]
    for name in FUNCTIONS:
        assert outputs[f"{name}Url"]["Value"] == {"Fn::GetAtt": [f"{name}Url", "FunctionUrl"]}


def test_samconfig_overrides_parameters_that_exist_and_holds_no_secret(transformed: dict[str, Any]) -> None:
    text = (ROOT / "samconfig.toml").read_text(encoding="utf-8")
    environments = {name: value for name, value in tomllib.loads(text).items() if name != "version"}
    for environment in environments.values():
        for override in environment["deploy"]["parameters"].get("parameter_overrides", []):
            name, _, value = override.partition("=")
            parameter = transformed["Parameters"][name]
            assert value in parameter.get("AllowedValues", [value])
            if parameter["Type"] == "Number":
                assert parameter["MinValue"] <= int(value) <= parameter.get("MaxValue", int(value))
    assert not re.search(r"\d{12}|AKIA|secret|password|token", text, re.IGNORECASE)
