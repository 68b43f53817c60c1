"""A child process ends when its parent does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.child import waiting_for_child
from tests.conftest import ROOT, wait_until

CHILD = "import time; from common.child import end_with_parent; end_with_parent(); time.sleep(60)"
PARENT = f"""
import subprocess, sys, time
from common.child import waiting_for_child
with {{pipe}} as pipe:
    child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdin=pipe)
    print(child.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("pipe", ["waiting_for_child()", "contextlib.nullcontext(subprocess.PIPE)"])
def test_a_child_ends_when_its_parent_is_killed(pipe: str) -> None:
    program = "import contextlib" + PARENT.format(pipe=pipe)
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    with parent.stdout:
        child = int(parent.stdout.readline())
        assert runs(child)
        parent.kill()
        parent.wait(10)
        wait_until(lambda: not runs(child), "the child has ended")


def test_a_child_ends_when_nobody_waits_for_it_any_more() -> None:
    with waiting_for_child() as pipe:
        child = subprocess.Popen([sys.executable, "-c", CHILD], cwd=ROOT, stdin=pipe)
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(1)
    assert child.wait(10) == 1


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # Ended, but nobody has asked for how.
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (ProcessLookupError, FileNotFoundError):
        return False
