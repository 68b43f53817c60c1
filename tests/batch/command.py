"""`python -m batch` as a process of its own, and what it has written."""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.service import environment
from tests.conftest import ROOT

SECONDS = 60.0


@dataclass(frozen=True)
class Ended:
    status: int
    lines: list[str]  # of standard error, without the bar
    shown: str
    told: str  # standard output

    @property
    def summary(self) -> str:
        return self.lines[-1]


def started(*arguments: object, settings: dict[str, object] | None = None, **others: Any) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "batch", *map(str, arguments)]
    variables = environment(**(settings or {}))
    return subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **others)


def ended(process: "subprocess.Popen[bytes]", stdin: bytes | None = None) -> Ended:
    try:
        told, raw = process.communicate(stdin, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    shown = raw.decode().replace("\r", "\n")
    lines = [line.strip() for line in shown.splitlines() if line.strip().startswith("batch: ")]
    assert "Traceback" not in shown, shown
    return Ended(process.returncode, lines, shown, told.decode())


def run(*arguments: object, **others: Any) -> Ended:
    return ended(started(*arguments, **others))


def articles(path: Path, number: int, prefix: str = "a") -> list[str]:
    """JSON lines with so many short articles; returns their ids."""
    names = [f"{prefix}{index}" for index in range(number)]
    texts = [f"Article {name} is about a council. It voted on {index} plans." for index, name in enumerate(names)]
    write(path, ({"id": name, "text": text} for name, text in zip(names, texts, strict=True)))
    return names


def write(path: Path, records: Iterable[object]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def lines_of(out: Path) -> dict[Any, dict[str, Any]]:
    """The lines of OUT by id: each is whole, and no id is there twice."""
    raw = out.read_bytes()
    assert raw.endswith(b"\n") or not raw
    lines = [json.loads(line) for line in raw.splitlines()]
    found = {line["id"]: line for line in lines}
    assert len(found) == len(lines)
    return found
