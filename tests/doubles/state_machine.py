"""A double of AWS Step Functions, for exactly the states and fields that template.yaml uses; others are refused.

    machine = StateMachine(definition, bucket=folder, invoke=function)
    execution = machine.start("tuesday", {"do": "summarize", ..})
    execution.output, execution.error, execution.waits, execution.transitions

Nothing is waited for: what retries would wait at most is noted in `waits`. Sources: the Amazon States Language
(https://states-language.net/spec.html) and the developer guide's pages on ItemReader, ItemBatcher and ResultWriter.
"""

import csv
import io
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_DATA_BYTES = 262_144
MAX_EVENTS = 25_000
MAX_CHILDREN = 10_000
LAMBDA = "arn:aws:states:::lambda:invoke"
READ, WRITE = "arn:aws:states:::s3:getObject", "arn:aws:states:::s3:putObject"
COMMON = {"Type", "Comment"}
FIELDS: dict[str, set[str]] = {
    "Pass": {"InputPath", "Parameters", "ResultPath", "Next", "End"},
    "Choice": {"Choices", "Default"},
    "Fail": {"Error", "Cause", "ErrorPath", "CausePath"},
    "Task": {"Resource", "Parameters", "ResultSelector", "ResultPath", "TimeoutSeconds", "Retry", "Catch", "Next"},
    "Map": {
        "Label",
        "ItemReader",
        "ItemBatcher",
        "ItemProcessor",
        "MaxConcurrencyPath",
        "ToleratedFailurePercentage",
        "ResultWriter",
        "End",
    },
}
State = dict[str, Any]
Invoke = Callable[[str, Any], Any]


class StatesError(Exception):
    """What a state ends with: the name of the error, and its cause. `invoke` raises it for Lambda's errors."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"{name}: {cause}")
        self.name, self.cause = name, cause


@dataclass
class Execution:
    """`output` of one that succeeded, `error` of one that did not. `children` are those of its distributed map."""

    name: str
    input: Any
    output: Any = None
    error: StatesError | None = None
    transitions: int = 0
    events: int = 0
    waits: list[float] = field(default_factory=list)
    children: list["Execution"] = field(default_factory=list)


class StateMachine:
    """`bucket` is a folder in the place of S3, with a folder for each bucket. `invoke` takes an ARN and a payload."""

    def __init__(self, definition: State, bucket: Path, invoke: Invoke) -> None:
        check(definition)
        self._definition, self._bucket, self._invoke = definition, bucket, invoke
        self._lock = threading.Lock()

    def start(self, name: str, given: Any) -> Execution:
        execution = Execution(name, given)
        self._run(self._definition, execution)
        return execution

    def _run(self, machine: State, execution: Execution) -> None:
        data, name = execution.input, machine["StartAt"]
        try:
            while name:
                execution.transitions += 1
                # Entered, exited, and at least one between them.
                execution.events += 3
                if execution.events > MAX_EVENTS:
                    raise StatesError("States.Runtime", "the history has too many events")
                state = machine["States"][name]
                data, name = self._step(state, _small(data), execution)
            execution.output = _small(data)
        except StatesError as error:
            execution.error = error

    def _step(self, state: State, data: Any, execution: Execution) -> tuple[Any, str | None]:
        context = {"Execution": {"Name": execution.name}}
        kind = state["Type"]
        if kind == "Pass":
            if "InputPath" in state:
                return get(data, state["InputPath"]), state.get("Next")
            return put(data, state["ResultPath"], filled(state["Parameters"], data, context)), state.get("Next")
        if kind == "Choice":
            return data, next((rule["Next"] for rule in state["Choices"] if _holds(rule, data)), state["Default"])
        if kind == "Fail":
            if "ErrorPath" in state:
                raise StatesError(get(data, state["ErrorPath"]), get(data, state["CausePath"]))
            raise StatesError(state["Error"], state["Cause"])
        if kind == "Task":
            return self._task(state, data, execution)
        return self._map(state, data, execution), None

    def _task(self, state: State, data: Any, execution: Execution) -> tuple[Any, str]:
        asked = filled(state["Parameters"], data, {})
        tries = [0] * len(state["Retry"])
        while True:
            try:
                answered = self._invoke(asked["FunctionName"], _small(asked["Payload"]))
                chosen = filled(state["ResultSelector"], {"Payload": _small(answered)}, {})
                return _small(put(data, state["ResultPath"], chosen)), state["Next"]
            except StatesError as error:
                number = next((at for at, retry in enumerate(state["Retry"]) if _matches(retry, error)), None)
                if number is not None and tries[number] < state["Retry"][number]["MaxAttempts"]:
                    retry = state["Retry"][number]
                    seconds = retry["IntervalSeconds"] * retry["BackoffRate"] ** tries[number]
                    execution.waits.append(min(seconds, retry.get("MaxDelaySeconds", seconds)))
                    # A retry is paid as a transition.
                    execution.transitions += 1
                    execution.events += 3
                    tries[number] += 1
                    continue
                caught = next((catch for catch in state.get("Catch", []) if _matches(catch, error)), None)
                if caught is None:
                    raise
                told = {"Error": error.name, "Cause": error.cause}
                return put(data, caught["ResultPath"], told), caught["Next"]

    def _map(self, state: State, data: Any, execution: Execution) -> Any:
        batches = list(_batches(state["ItemBatcher"], data, self._items(state["ItemReader"], data)))
        execution.children = [Execution(f"{state['Label']}:{uuid.uuid4()}", batch) for batch in batches]
        most = get(data, state["MaxConcurrencyPath"])
        if not isinstance(most, int) or not 0 < most <= MAX_CHILDREN:
            raise StatesError("States.Runtime", f"MaxConcurrencyPath: {most!r}")
        processor = state["ItemProcessor"]
        with ThreadPoolExecutor(most) as pool:
            list(pool.map(lambda child: self._run(processor, child), execution.children))
        return self._write(state, data, execution)

    def _items(self, reader: State, data: Any) -> list[Any]:
        place = filled(reader["Parameters"], data, {})
        try:
            text = (self._bucket / place["Bucket"] / place["Key"]).read_text(encoding="utf-8")
        except OSError as error:
            raise StatesError("States.ItemReaderFailed", str(error)) from None
        if reader["ReaderConfig"]["InputType"] == "CSV":
            return list(csv.DictReader(io.StringIO(text)))
        try:
            return [json.loads(line) for line in text.splitlines() if line]
        except ValueError as error:
            # The documentation does not say what becomes of such a file: the worst is taken for true.
            raise StatesError("States.ItemReaderFailed", str(error)) from None

    def _write(self, state: State, data: Any, execution: Execution) -> Any:
        """Results as the ResultWriter exports them, FLATTEN and JSONL: a line an item; failures with their input."""
        place = filled(state["ResultWriter"]["Parameters"], data, {})
        prefix = f"{place['Prefix']}/{uuid.uuid4()}"
        folder = self._bucket / place["Bucket"] / prefix
        folder.mkdir(parents=True)
        # In no order that anybody may count on.
        done = [child for child in reversed(execution.children) if child.error is None]
        failed = [child for child in execution.children if child.error is not None]
        lines = [item for child in done for item in child.output]
        (folder / "SUCCEEDED_0.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        told = [{"Input": json.dumps(one.input), "Error": one.error.name} for one in failed if one.error]
        (folder / "FAILED_0.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in told), encoding="utf-8")
        lost = sum(len(child.input["Items"]) for child in failed)
        items = sum(len(child.input["Items"]) for child in execution.children)
        if lost * 100 > state["ToleratedFailurePercentage"] * items:
            raise StatesError("States.ExceedToleratedFailureThreshold", f"{lost} of {items} items failed")
        return {"ResultWriterDetails": {"Bucket": place["Bucket"], "Key": f"{prefix}/manifest.json"}}


def check(machine: State, seen: set[str] | None = None) -> None:
    """Raises AssertionError for a definition that Step Functions, or this double, would not take."""
    seen = set() if seen is None else seen
    assert machine["StartAt"] in machine["States"]
    reached = {machine["StartAt"]}
    for name, state in machine["States"].items():
        assert name not in seen, f"{name}: names are unique in the whole machine"
        assert len(name) <= 80
        seen.add(name)
        unknown = state.keys() - FIELDS[state["Type"]] - COMMON
        assert not unknown, f"{name}: {unknown} is not known here"
        reached |= set(targets(state))
        # A state that changes its whole input keeps nothing else of it.
        assert "InputPath" not in state or not state.keys() & {"Parameters", "ResultPath"}
        if state["Type"] == "Map":
            assert state["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
            assert state["ItemReader"]["Resource"] == READ
            assert state["ResultWriter"]["Resource"] == WRITE
            assert state["ResultWriter"]["WriterConfig"] == {"OutputType": "JSONL", "Transformation": "FLATTEN"}
            assert state["ItemBatcher"]["MaxInputBytesPerBatch"] <= MAX_DATA_BYTES
            check(state["ItemProcessor"], seen)
        if state["Type"] == "Task":
            assert state["Resource"] == LAMBDA
    assert reached == set(machine["States"]), "a state is not there, or is never reached"


def targets(state: State) -> Iterator[str]:
    """The states that may follow."""
    rules = [*state.get("Choices", []), *state.get("Catch", []), {"Next": state.get("Default")}, state]
    return (rule["Next"] for rule in rules if rule.get("Next"))


def get(data: Any, path: str) -> Any:
    """The value at a reference path. Raises StatesError where there is none."""
    assert re.fullmatch(r"\$(\.\w+)*", path), f"{path}: not known here"
    for name in path.split(".")[1:]:
        if not isinstance(data, dict) or name not in data:
            raise StatesError("States.ParameterPathFailure", f"{path} is not in the input")
        data = data[name]
    return data


def put(data: Any, path: str, value: Any) -> Any:
    """`data` with `value` at a reference path."""
    names = path.split(".")[1:]
    whole = at = dict(data)
    for name in names[:-1]:
        at[name] = dict(at[name])
        at = at[name]
    at[names[-1]] = value
    return whole


def filled(template: Any, data: Any, context: Any) -> Any:
    """A payload template with the values of its paths."""
    if not isinstance(template, dict):
        return template
    return {
        name.removesuffix(".$"): _value(value, data, context) if name.endswith(".$") else filled(value, data, context)
        for name, value in template.items()
    }


def _value(text: str, data: Any, context: Any) -> Any:
    if match := re.fullmatch(r"States\.StringToJson\('([^']*)'\)", text):
        return json.loads(match[1])
    if match := re.fullmatch(r"States\.Format\('([^']*)', (\S+)\)", text):
        return match[1].replace("{}", str(_value(match[2], data, context)), 1)
    return get(context, text[1:]) if text.startswith("$$") else get(data, text)


def _holds(rule: State, data: Any) -> bool:
    (comparison,) = rule.keys() - {"Variable", "Next"}
    try:
        value = get(data, rule["Variable"])
    except StatesError:
        if comparison != "IsPresent":
            raise
        return rule["IsPresent"] is False
    if comparison == "IsPresent":
        return rule["IsPresent"] is True
    assert comparison in ("StringEquals", "NumericEquals"), f"{comparison}: not known here"
    return bool(type(value) is type(rule[comparison]) and value == rule[comparison])


def _matches(rule: State, error: StatesError) -> bool:
    names = rule["ErrorEquals"]
    # The wildcard is any error but a timeout.
    is_any = "States.TaskFailed" in names and error.name != "States.Timeout"
    return error.name in names or "States.ALL" in names or is_any


def _batches(batcher: State, data: Any, items: list[Any]) -> Iterator[Any]:
    shared = filled(batcher["BatchInput"], data, {})
    most, most_bytes = get(data, batcher["MaxItemsPerBatchPath"]), batcher["MaxInputBytesPerBatch"]
    batch: list[Any] = []
    for item in items:
        if batch and (len(batch) == most or _bytes({"Items": [*batch, item], "BatchInput": shared}) > most_bytes):
            yield {"Items": batch, "BatchInput": shared}
            batch = []
        batch = [*batch, item]
    if batch:
        yield {"Items": batch, "BatchInput": shared}


def _bytes(data: Any) -> int:
    return len(json.dumps(data, ensure_ascii=False).encode())


def _small(data: Any) -> Any:
    if _bytes(data) > MAX_DATA_BYTES:
        raise StatesError("States.DataLimitExceeded", f"{_bytes(data)} bytes")
    return data
