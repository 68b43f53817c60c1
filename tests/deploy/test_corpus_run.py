"""The state machine of template.yaml, as SAM transforms it: what it names, what it may do, and how it plays."""

import asyncio
import csv
import io
import itertools
import json
import queue
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from boto3 import Session
from cfnlint.api import lint
from fastapi import APIRouter, Response
from pydantic import BaseModel
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

from benchmarks.scaling import BATCH_STATES, MODELS, RUN_STATES, batch_size
from common.http.app import create_app
from common.invocations import Batch, Invocation, Pace
from common.items import Direct
from tests.conftest import ROOT
from tests.doubles import lead_model
from tests.doubles.edge_server import SpeechCloud
from tests.doubles.lambda_runtime import Function, LambdaRuntime, start
from tests.doubles.s3_folder import s3_folder
from tests.doubles.state_machine import Execution, StateMachine, StatesError, check

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:factory-"
BUCKET = "corpora"
AT_A_TIME = 2
FUNCTIONS = ["Summarize", "Extract", "Audio"]
NEW = ["Corpora", "RecordingsToBucket", "CorpusRunLogs", "CorpusRun", "CorpusRunRole"]


def transformed() -> dict[str, Any]:
    translator = Translator({}, Parser(), boto_session=Session(region_name="eu-central-1"))
    parsed = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    plain: dict[str, Any] = translator.translate(parsed, {"DeployBatch": "true"})
    return plain


TEMPLATE = transformed()
MACHINE = TEMPLATE["Resources"]["CorpusRun"]["Properties"]


def substitutions() -> dict[str, str]:
    """As CloudFormation would fill them in, with the defaults of the parameters."""

    def value(intrinsic: dict[str, Any]) -> str:
        ((kind, told),) = intrinsic.items()
        if kind == "Fn::GetAtt":
            assert (TEMPLATE["Resources"][told[0]]["Type"], told[1]) == ("AWS::Lambda::Function", "Arn")
            return f"{ARN}{told[0].lower()}"
        if kind == "Fn::FindInMap":
            found: str = TEMPLATE["Mappings"][told[0]][TEMPLATE["Parameters"][told[1]["Ref"]]["Default"]][told[2]]
            return found
        assert kind == "Ref"
        known = {"AWS::Partition": "aws", "Corpora": BUCKET}
        return known.get(told) or str(TEMPLATE["Parameters"][told]["Default"])

    return {name: value(intrinsic) for name, intrinsic in MACHINE["DefinitionSubstitutions"].items()}


def definition(**others: str) -> dict[str, Any]:
    separator, lines = MACHINE["DefinitionString"]["Fn::Join"]
    filled = substitutions() | others
    text = re.sub(r"\$\{(\w+)\}", lambda found: filled[found[1]], separator.join(lines))
    plain: dict[str, Any] = json.loads(text)
    return plain


def statements() -> list[dict[str, Any]]:
    (policy,) = TEMPLATE["Resources"]["CorpusRunRole"]["Properties"]["Policies"]
    found: list[dict[str, Any]] = policy["PolicyDocument"]["Statement"]
    return found


def allowed(action: str) -> list[Any]:
    """The resources for which the machine may do it."""
    found: list[Any] = []
    for statement in statements():
        assert statement["Effect"] == "Allow"
        actions, resources = statement["Action"], statement["Resource"]
        if action in ([actions] if isinstance(actions, str) else actions):
            found += resources if isinstance(resources, list) else [resources]
    return found


def test_nothing_of_it_is_made_unless_it_is_asked_for() -> None:
    conditional = {name for name, item in TEMPLATE["Resources"].items() if item.get("Condition") == "Batches"}
    assert conditional == set(NEW)
    assert TEMPLATE["Conditions"]["Batches"] == {"Fn::Equals": [{"Ref": "DeployBatch"}, "true"]}
    assert TEMPLATE["Parameters"]["DeployBatch"]["Default"] == "false"
    # What names one of them is made with them, or knows what to do without.
    for name, item in {**TEMPLATE["Resources"], **TEMPLATE["Outputs"]}.items():
        if item.get("Condition") != "Batches":
            text = json.dumps(item).replace('{"Fn::If": ["Batches", {"Ref": "Corpora"}, "none"]}', "")
            assert not re.search(rf'"({"|".join(NEW)})"', text), name


def test_the_definition_is_one_that_step_functions_takes() -> None:
    check(definition())
    used = set(re.findall(r"\$\{(\w+)\}", json.dumps(MACHINE["DefinitionString"])))
    assert used == set(MACHINE["DefinitionSubstitutions"])
    assert MACHINE["StateMachineType"] == "STANDARD"


def linted(machine: dict[str, Any]) -> list[str]:
    """What cfn-lint says about a definition as plain text: into one with substitutions it does not look."""
    properties = {"DefinitionString": json.dumps(machine), "RoleArn": "arn:aws:iam::123456789012:role/corpus"}
    resource = {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}
    return [str(match) for match in lint(json.dumps({"Resources": {"CorpusRun": resource}}))]


def test_cfn_lints_rules_for_state_machines_find_nothing() -> None:
    assert linted(definition()) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("MaxConcurrencyPath", "MaxConcurrentPath"), ("ErrorEquals", "ErrorEqual"), ('"Choice"', '"Choose"')],
)
def test_cfn_lints_rules_for_state_machines_would_find_a_mistake(right: str, wrong: str) -> None:
    assert linted(json.loads(json.dumps(definition()).replace(right, wrong)))


def test_it_names_the_functions_and_the_bucket_of_the_template_and_no_others() -> None:
    machine = definition()
    assert {machine["States"][name]["Parameters"]["function"] for name in FUNCTIONS} == {
        f"{ARN}{name.lower()}" for name in FUNCTIONS
    }
    arns = set(re.findall(r'"(arn:[^"]*)"', json.dumps(machine)))
    services = {"arn:aws:states:::lambda:invoke", "arn:aws:states:::s3:getObject", "arn:aws:states:::s3:putObject"}
    assert arns == services | {f"{ARN}{name.lower()}" for name in FUNCTIONS}
    maps = [state for state in machine["States"].values() if state["Type"] == "Map"]
    for state in maps:
        assert state["ItemReader"]["Parameters"]["Bucket"] == state["ResultWriter"]["Parameters"]["Bucket"] == BUCKET
    assert {state["ItemReader"]["ReaderConfig"]["InputType"] for state in maps} == {"JSONL", "CSV"}


def test_it_may_do_what_it_does_and_nothing_else() -> None:
    actions = {
        name for one in statements() for name in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])
    }
    assert {name for name in actions if not name.startswith("logs:")} == {
        "lambda:InvokeFunction",
        "s3:GetObject",
        "s3:PutObject",
        "s3:ListMultipartUploadParts",
        "s3:AbortMultipartUpload",
        "states:StartExecution",
        "states:DescribeExecution",
        "states:StopExecution",
        "states:RedriveExecution",
    }
    assert allowed("lambda:InvokeFunction") == [{"Fn::GetAtt": [name, "Arn"]} for name in FUNCTIONS]
    assert allowed("s3:GetObject") == [{"Fn::Sub": f"${{Corpora.Arn}}/{folder}/*"} for folder in ("input", "results")]
    assert allowed("s3:PutObject") == [{"Fn::Sub": "${Corpora.Arn}/results/*"}]
    # Results go where it may write.
    for name in FUNCTIONS:
        assert definition()["States"][name]["Parameters"]["results.$"].startswith("States.Format('results/{}', ")
    # Of its own, and no other machine.
    own = MACHINE["StateMachineName"]["Fn::Sub"]
    machines = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}"
    assert allowed("states:StartExecution") == [{"Fn::Sub": f"{machines}:stateMachine:{own}"}]
    assert allowed("states:StopExecution") == [{"Fn::Sub": f"{machines}:execution:{own}{end}"} for end in (":*", "/*")]
    # Only log delivery is allowed everywhere, since it knows no resource.
    assert {name for one in statements() if one["Resource"] == "*" for name in one["Action"]} == {
        name for name in actions if name.startswith("logs:")
    }


def test_recordings_go_below_a_folder_of_their_own() -> None:
    policy = TEMPLATE["Resources"]["RecordingsToBucket"]["Properties"]
    assert policy["Roles"] == [{"Ref": "AudioRole"}]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Action"], statement["Resource"]) == ("s3:PutObject", {"Fn::Sub": "${Corpora.Arn}/audio/*"})


def test_a_run_leaves_calls_for_others() -> None:
    parameters = TEMPLATE["Parameters"]
    assert all(
        parameters["BatchConcurrency"]["Default"] < parameters[f"{name}Concurrency"]["Default"] for name in FUNCTIONS
    )
    timeouts = set(re.findall(r'"TimeoutSeconds": (\d+)', json.dumps(definition())))
    assert all(int(timeout) > parameters["TimeoutSeconds"]["MaxValue"] for timeout in timeouts)


def test_batches_are_as_large_as_the_measured_rates_say() -> None:
    presets = TEMPLATE["Mappings"]["Presets"]
    assert {name: int(preset["Batch"]) for name, preset in presets.items()} == {
        model.preset: batch_size(model) for model in MODELS
    }


def write(folder: Path, key: str, text: str) -> None:
    place = folder / BUCKET / key
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")


def results(folder: Path, execution: Execution, kind: str = "SUCCEEDED") -> list[dict[str, Any]]:
    (file,) = (folder / BUCKET / "results" / execution.name).glob(f"*/{kind}_0.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("do", ["summarize", "extract", "audio"])
@pytest.mark.parametrize("form", ["JSONL", "CSV"])
def test_each_function_and_each_format_has_its_way(do: str, form: str, tmp_path: Path) -> None:
    asked = []

    def invoke(arn: str, payload: Any) -> Any:
        asked.append((arn, payload["BatchInput"], len(payload["Items"])))
        return {"Results": [{"id": item["id"], "answer": {}} for item in payload["Items"]], "NotDone": 0}

    text = '{"id": "1", "text": "a"}\n{"id": "2", "text": "b"}\n' if form == "JSONL" else "id,text\n1,a\n2,b\n"
    write(tmp_path, "input/few", text)
    given = {"do": do, "input": "input/few", "format": form, "fields": {"x": 1}}
    execution = StateMachine(definition(), tmp_path, invoke).start("few", given)
    assert execution.error is None
    assert asked == [(f"{ARN}{do}", {"x": 1}, 2)]
    assert [result["id"] for result in results(tmp_path, execution)] == ["1", "2"]
    # What the costs are computed with.
    assert [child.transitions for child in execution.children] == [BATCH_STATES]
    assert execution.transitions == RUN_STATES


@pytest.mark.parametrize("wrong", [{"do": "paint"}, {"format": "XML"}])
def test_a_wrong_input_fails_at_once(wrong: dict[str, str], tmp_path: Path) -> None:
    given = {"do": "extract", "input": "input/few", "format": "CSV", "fields": {}} | wrong
    execution = StateMachine(definition(), tmp_path, lambda *_: pytest.fail("invoked")).start("wrong", given)
    assert execution.error is not None
    assert execution.error.name == "WrongInput"


def test_a_file_with_a_line_that_is_no_json_fails_before_anything_is_asked(tmp_path: Path) -> None:
    write(tmp_path, "input/torn.jsonl", '{"id": 1, "text": "a"}\n{"id": 2, "te\n')
    given = {"do": "extract", "input": "input/torn.jsonl", "format": "JSONL", "fields": {}}
    execution = StateMachine(definition(), tmp_path, lambda *_: pytest.fail("invoked")).start("torn", given)
    assert execution.error is not None
    assert execution.error.name == "States.ItemReaderFailed"


def test_items_that_are_not_done_are_asked_again_and_no_others(tmp_path: Path) -> None:
    router = APIRouter()
    asked: list[str] = []

    class Wish(BaseModel):
        text: str

    @router.post("/echo")
    async def echo(wish: Wish) -> Response:
        asked.append(wish.text)
        return Response(json.dumps(wish.text), media_type="application/json")

    class TwoSeconds:
        def get_remaining_time_in_millis(self) -> int:
            return 2000

    direct = Direct("/echo", Wish, lambda: 1)
    app = create_app(router)

    def invoke(_: str, payload: Any) -> Any:
        # In two seconds there is time for no second item that takes thirty.
        batch = Batch.of(payload, Invocation(app, direct, TwoSeconds(), 10**6), Pace())
        batch.measured = Pace(30.0, 10**6)
        return asyncio.run(batch.progress())

    items = [{"id": f"n{number}", "text": f"text {number}"} for number in range(20)]
    write(tmp_path, "input/slow.jsonl", "".join(f"{json.dumps(item)}\n" for item in items))
    given = {"do": "audio", "input": "input/slow.jsonl", "format": "JSONL", "fields": {}}
    execution = StateMachine(definition(), tmp_path, invoke).start("slow", given)
    assert execution.error is None
    assert asked == [item["text"] for item in items]
    assert [result["answer"] for result in results(tmp_path, execution)] == asked
    (child,) = execution.children
    # Each time Ask and Done, and the end.
    assert child.transitions == 2 * 20 + 1


@pytest.mark.parametrize(("answers", "is_told"), [(0, False), (1, True)])
def test_what_is_down_for_good_is_told(answers: int, is_told: bool, tmp_path: Path) -> None:
    calls = itertools.count()
    busy = {"id": 2, "problem": {"status": 503, "detail": "busy"}}

    def invoke(_: str, __: Any) -> Any:
        if next(calls) < answers:
            return {"Results": [{"id": 1, "answer": {}}, busy], "NotDone": 1}
        raise StatesError("Unavailable", "busy")

    write(tmp_path, "input/two.csv", "id,text\n1,a\n2,b\n")
    given = {"do": "extract", "input": "input/two.csv", "format": "CSV", "fields": {}}
    execution = StateMachine(definition(), tmp_path, invoke).start("two", given)
    (child,) = execution.children
    # Ten tries, at most five minutes between two of them.
    assert len(child.waits) == 10
    assert child.waits == sorted(child.waits)
    assert (child.waits[0], child.waits[-1]) == (5, 300)
    if is_told:
        assert results(tmp_path, execution) == [{"id": 1, "answer": {}}, busy]
    else:
        # With its items, which are sent again by a redrive, or from this file.
        (failed,) = results(tmp_path, execution, "FAILED")
        assert [item["id"] for item in json.loads(failed["Input"])["Items"]] == ["1", "2"]
        assert execution.error is not None
        assert execution.error.name == "States.ExceedToleratedFailureThreshold"


@dataclass
class Functions:
    """AWS Lambda: so many instances of a handler, each in a process of its own, and what goes wrong with some calls.

    `faults`: by the number of the call, `throttled`, `killed`, or `without` the model.
    """

    folder: Path
    variables: dict[str, str]
    faults: dict[int, str]
    stack: ExitStack
    calls: Iterator[int] = field(default_factory=itertools.count)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    happened: list[str] = field(default_factory=list)
    free: "queue.Queue[Function]" = field(default_factory=queue.Queue)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, handler: str, **variables: str) -> Function:
        with self.lock:
            folder = self.folder / f"instance-{next(self.numbers)}"
            folder.mkdir(parents=True)
            runtime = self.stack.enter_context(LambdaRuntime())
            return self.stack.enter_context(start(handler, runtime, folder, **self.variables | variables))

    def invoke(self, arn: str, payload: Any) -> Any:
        fault = self.faults.get(next(self.calls), "")
        handler = f"functions.{arn.removeprefix(ARN)}.handler.handler"
        if fault == "throttled":
            raise self._error("Lambda.TooManyRequestsException", "Rate Exceeded.")
        if fault == "without":
            return self._outcome(self.add(handler, FACTORY_SUMMARIZE__MODEL="/nowhere/model.gguf"), payload)
        try:
            function = self.free.get_nowait()
        except queue.Empty:
            function = self.add(handler)
        if fault == "killed":
            # While it is at work.
            threading.Timer(0.05, function.process.kill).start()
            return self._outcome(function, payload)
        outcome = self._outcome(function, payload)
        self.free.put(function)
        return outcome

    def _outcome(self, function: Function, payload: Any) -> Any:
        result = function.invoke(payload)
        if result.status == "response":
            return result.json
        raise self._error(result.json["errorType"], result.json["errorMessage"])

    def _error(self, name: str, cause: str) -> StatesError:
        self.happened.append(name)
        return StatesError(name, cause)

    def lines(self) -> list[dict[str, Any]]:
        """Of the log of each instance: those about requests."""
        files = sorted(self.folder.glob("instance-*/lambda.log"))
        lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
        told = [json.loads(line) for line in lines if line.startswith('{"timestamp"')]
        return [line["fields"] for line in told if line.get("logger") == "factory.access"]


@pytest.fixture
def variables(speech_cloud: SpeechCloud) -> dict[str, str]:
    values: dict[str, object] = {f"FACTORY_{name}": value for name, value in lead_model.SETTINGS.items()}
    values |= {"FACTORY_EXTRACT__MODEL": "embedded", "FACTORY_AUDIO__ENDPOINT": speech_cloud.url}
    return {name: str(value) for name, value in values.items()} | {"FACTORY_PROFILE": "lambda"}


def articles(number: int) -> list[dict[str, Any]]:
    with (ROOT / "training/news/news.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in itertools.islice(itertools.cycle(file.readlines()), number)]


def test_two_hundred_articles_whatever_happens_to_the_functions(tmp_path: Path, variables: dict[str, str]) -> None:
    items: list[Any] = articles(200)
    wrong = ["a string", [1, 2], {"id": "no-text"}, {"id": "number", "text": 5}, {"id": "blank", "text": " "}]
    for place, item in zip(range(17, 200, 40), wrong, strict=True):
        items.insert(place, item)
    write(tmp_path, "input/news.jsonl", "".join(f"{json.dumps(item, ensure_ascii=False)}\n" for item in items))
    # Every kind of trouble, at the beginning and later on, twice in a row as well.
    faults = {0: "throttled", 3: "killed", 5: "without", 6: "throttled", 7: "throttled", 20: "without", 30: "killed"}
    with ExitStack() as stack:
        functions = Functions(tmp_path / "lambda", variables, faults, stack)
        machine = StateMachine(definition(Concurrency=str(AT_A_TIME)), tmp_path, functions.invoke)
        given = {"do": "summarize", "input": "input/news.jsonl", "format": "JSONL", "fields": {"max_tokens": 24}}
        execution = machine.start("news", given)
    assert execution.error is None, execution.error
    assert sorted(set(functions.happened)) == ["Lambda.TooManyRequestsException", "Runtime.ExitError", "Unavailable"]
    assert len(functions.happened) == len(faults)

    found = results(tmp_path, execution)
    assert results(tmp_path, execution, "FAILED") == []
    # Nothing is lost, nothing is there twice, and within a batch the order is that of the file.
    named = [item["id"] for item in items if isinstance(item, dict)]
    assert sorted(result["id"] for result in found if result["id"] in named) == sorted(named)
    assert len(found) == len(items)
    for child in execution.children:
        ids = [item.get("id") if isinstance(item, dict) else None for item in child.input["Items"]]
        assert [result["id"] if result["id"] in named else None for result in child.output] == ids
    # Of the file in its order, when the batches are put in theirs.
    assert [item for child in execution.children for item in child.input["Items"]] == items

    bad = {result["id"]: result["problem"]["status"] for result in found if "problem" in result}
    assert set(bad.values()) == {422}
    assert len(bad) == len(wrong)
    assert all(result["answer"]["summary"] for result in found if "answer" in result)

    # What was answered is not asked again: beside the batches that a killed function had, each was summarised once.
    answered = [line for line in functions.lines() if line["status"] == 200]
    size = int(substitutions()["SummarizeBatch"])
    assert 200 <= len(answered) <= 200 + size * functions.happened.count("Runtime.ExitError")
    print(
        f"{len(execution.children)} batches, {execution.transitions} transitions of the parent, "
        f"{sum(child.transitions for child in execution.children)} of its children"
    )


def test_rows_of_csv_are_searched_for_entities(tmp_path: Path, variables: dict[str, str]) -> None:
    rows = [{"id": item["id"], "title": "x", "text": item["text"][:400], "threshold": "0.6"} for item in articles(60)]
    rows[7]["text"], rows[9]["threshold"] = "", "much"
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write(tmp_path, "input/news.csv", text.getvalue())
    given = {"do": "extract", "input": "input/news.csv", "format": "CSV", "fields": {"labels": ["Person", "Location"]}}
    with ExitStack() as stack:
        functions = Functions(tmp_path / "lambda", variables, {1: "throttled"}, stack)
        machine = StateMachine(definition(Concurrency="1"), tmp_path, functions.invoke)
        execution = machine.start("rows", given)
    assert execution.error is None, execution.error
    found = {result["id"]: result for result in results(tmp_path, execution)}
    assert list(sorted(found)) == sorted(row["id"] for row in rows)
    assert [found[rows[number]["id"]]["problem"]["errors"][0]["field"] for number in (7, 9)] == ["text", "threshold"]
    good = [result["answer"]["entities"] for result in found.values() if "answer" in result]
    assert len(good) == 58
    assert {entity["label"] for entities in good for entity in entities} == {"Person", "Location"}


def test_recordings_are_put_where_the_answers_say(tmp_path: Path, variables: dict[str, str]) -> None:
    items = [{"id": f"a/{number}", "text": f"Number {number}."} for number in range(8)]
    write(tmp_path, "input/say.jsonl", "".join(f"{json.dumps(item)}\n" for item in items))
    given = {"do": "audio", "input": "input/say.jsonl", "format": "JSONL", "fields": {}}
    with s3_folder(tmp_path) as store, ExitStack() as stack:
        bucket = {"FACTORY_AUDIO__BUCKET": BUCKET, **store.variables}
        functions = Functions(tmp_path / "lambda", variables | bucket, {}, stack)
        execution = StateMachine(definition(Concurrency="1"), tmp_path, functions.invoke).start("say", given)
    assert execution.error is None, execution.error
    for result in results(tmp_path, execution):
        assert (tmp_path / BUCKET / result["answer"]["key"]).stat().st_size == result["answer"]["bytes"] > 1000
