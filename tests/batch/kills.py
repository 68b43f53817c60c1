"""Kills a run at random moments and starts it again: python -m tests.batch.kills [--kills 20] [--articles 20000]."""

import argparse
import json
import random
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from batch.articles import digest
from tests.batch.command import articles, ended, started
from tests.conftest import wait_until
from tests.doubles.factory_double import FactoryDouble, places

FUNCTIONS = ("summarize", "extract", "audio")
START_SECONDS = 30.0


@dataclass
class Outcome:
    """`torn`: how many kills left a part of a line. `done_twice`: answers of the service beside one for each call."""

    kills: int = 0
    torn: int = 0
    runs: int = 0
    done_twice: int = 0
    lines_at_kills: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def killed_and_started_again(folder: Path, double: FactoryDouble, kills: int, number: int, seed: int) -> Outcome:
    """Each kill is at a random moment between two numbers of lines, which part the work evenly."""
    chance, outcome, out = random.Random(seed), Outcome(), folder / "out.jsonl"
    ids = articles(folder / "in.jsonl", number)
    arguments = (folder / "in.jsonl", out, "--do", ",".join(FUNCTIONS), "--url", double.url)
    for kill in range(kills):
        process = started(*arguments)
        wanted = round((kill + chance.random()) * number / (kills + 1))

        has_come_so_far = partial(_has_come_so_far, process, out, wanted)
        wait_until(has_come_so_far, "it is at work", START_SECONDS)
        # Not only between two lines.
        chance_seconds = chance.uniform(0, 0.05)
        try:
            process.wait(chance_seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            outcome.kills += 1
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        raw = out.read_bytes() if out.exists() else b""
        outcome.torn += bool(raw) and not raw.endswith(b"\n")
        outcome.lines_at_kills.append(raw.count(b"\n"))
    last = ended(started(*arguments))
    outcome.runs = kills + 1
    if last.status:
        outcome.problems.append(f"the last run ended with {last.status}: {last.summary}")
    outcome.problems += _problems(out, ids)
    outcome.done_twice = double.texts.total() - len(ids) * 4
    return outcome


def _has_come_so_far(process: "subprocess.Popen[bytes]", out: Path, lines: int) -> bool:
    return process.poll() is not None or _lines(out) >= lines


def _lines(out: Path) -> int:
    return out.read_bytes().count(b"\n") if out.exists() else 0


def _problems(out: Path, ids: list[str]) -> list[str]:
    """What is wrong with the lines, and with the files that they name."""
    found, seen = [], set()
    for number, raw in enumerate(out.read_bytes().splitlines(keepends=True), 1):
        try:
            line = json.loads(raw)
        except ValueError:
            found.append(f"line {number} is no JSON")
            continue
        if not raw.endswith(b"\n") or set(line) != {"id", *FUNCTIONS}:
            found.append(f"line {number} is not whole")
        if line["id"] in seen:
            found.append(f"line {number}: {line['id']} is there twice")
        seen.add(line["id"])
        sound = out.parent / line["audio"]["file"]
        if not sound.exists() or sound.stat().st_size != 6000 or f"{digest(line['id']):016x}" not in sound.name:
            found.append(f"line {number}: its recording is not whole")
    if seen != set(ids):
        found.append(f"{len(set(ids) - seen)} are missing")
    if parts := list((out.parent / "out-audio").glob("*.part")):
        found.append(f"{len(parts)} parts of files are left")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill a run at random moments and start it again.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--articles", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, FactoryDouble(0, places(64, 0.01)) as double:
        outcome = killed_and_started_again(Path(folder), double, given.kills, given.articles, given.seed)
    print(f"articles {given.articles:,}, functions {len(FUNCTIONS)}, kills {outcome.kills}, runs {outcome.runs}")
    print(f"lines at the kills: {', '.join(map(str, outcome.lines_at_kills))}")
    print(f"kills that left a part of a line: {outcome.torn}")
    print(f"answers that were lost with a kill: {outcome.done_twice}")
    print(f"problems: {'; '.join(outcome.problems[:10]) or 'none: every id once, all lines valid, all files whole'}")


if __name__ == "__main__":
    main()
