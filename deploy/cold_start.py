"""Cold starts of the Lambda functions in awslambdaric, offline: importing the handler, the start, the first answers.

    python -m deploy.cold_start [--rounds 5]

With small models of this repository; `/summarize` and `/extract` also with models of the true shapes, as far as
`make bench-summarize` and `make bench-extract` have written them (GLiNER as it was exported, and with the rebuilt graph
that an image holds). The files are in memory already, and the CPUs are those of this machine.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.folders import MODELS, ROOT
from benchmarks.harness.table import table
from common.settings import ExtractSettings
from functions.extract.graph.prepare import MODEL, prepared
from tests.conftest import lambda_event
from tests.doubles import lead_model
from tests.doubles.edge_server import SpeechCloud
from tests.doubles.lambda_runtime import LambdaRuntime, start

LLAMA, GLINER = MODELS / "llama-1b.gguf", MODELS / "gliner-small"
ARTICLE = "The harbour reopened on Monday. Ships came back within hours. Nobody was hurt. " * 10
IMPORT = "import time; begun = time.perf_counter(); import {0}; print(time.perf_counter() - begun)"
# Import, start to first `next`, first answer, second answer; seconds.
Times = tuple[float, float, float, float]


@dataclass(frozen=True)
class Case:
    function: str
    model: str
    settings: dict[str, object]
    body: dict[str, object] | None


def cases(cloud: SpeechCloud, scratch: Path) -> Iterator[Case]:
    article: dict[str, object] = {"text": ARTICLE, "max_tokens": 20, "temperature": 0}
    yield Case("summarize", "2 M, of the tests", lead_model.SETTINGS, article)
    if LLAMA.is_file():
        yield Case("summarize", "1B, true shape", {"summarize__model": LLAMA}, article)
    yield Case("extract", "embedded", {"extract__model": "embedded"}, {"text": ARTICLE})
    if (GLINER / MODEL).is_file():
        plain = scratch / "exported"
        plain.mkdir()
        for path in GLINER.iterdir():
            if path.is_file():
                (plain / path.name).symlink_to(path)
        yield Case("extract", "small, true shape, as exported", {"extract__model": plain}, {"text": ARTICLE})
        prepared(GLINER / MODEL, ExtractSettings().precision, scratch, make=True)
        yield Case("extract", "small, true shape, rebuilt", {"extract__model": GLINER}, {"text": ARTICLE})
    yield Case("audio", "-", {"audio__endpoint": cloud.url}, {"text": "Hello world"})
    yield Case("health", "-", {}, None)


def cold_start(case: Case) -> Times:
    module = f"functions.{case.function}.handler"
    command = [sys.executable, "-c", IMPORT.format(module)]
    imported = float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    method = "POST" if case.body else "GET"
    variables = {f"FACTORY_{name.upper()}": str(value) for name, value in case.settings.items()}
    with (
        tempfile.TemporaryDirectory() as folder,
        LambdaRuntime() as runtime,
        start(f"{module}.handler", runtime, Path(folder), FACTORY_PROFILE="lambda", **variables) as function,
    ):
        if not runtime.wait_until_ready():
            sys.exit(function.log_text())
        seconds = []
        for number in (1, 2):
            # Another text, since answers are kept.
            body = {**case.body, "text": f"{case.body['text']} {number}."} if case.body else None
            result = function.invoke(lambda_event("function_url", method, f"/{case.function}", body), 120)
            if result.status != "response" or result.json["statusCode"] != 200:
                sys.exit(f"{case}: {result}\n{function.log_text()}")
            seconds.append(result.seconds)
        return imported, function.init_seconds, seconds[0], seconds[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Cold starts of the Lambda functions.")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with SpeechCloud() as cloud, tempfile.TemporaryDirectory() as scratch:
        found = list(cases(cloud, Path(scratch)))
        begun = time.monotonic()
        times: dict[int, list[Times]] = {number: [] for number in range(len(found))}
        for _ in range(options.rounds):
            for number, case in enumerate(found):
                times[number].append(cold_start(case))
    rows = []
    for number, case in enumerate(found):
        cells = [f"{statistics.median(column):.2f}" for column in zip(*times[number], strict=True)]
        rows.append([case.function, case.model, *cells])
    titles = ["import, s", "start to first `next`, s", "first answer, s", "second answer, s"]
    print(table(["function", "model", *titles], rows, texts=2))
    print(f"\nMedians of {options.rounds} rounds, {time.monotonic() - begun:.0f} s in all.")


if __name__ == "__main__":
    main()
