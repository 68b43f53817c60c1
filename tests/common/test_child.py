"""A child process ends when its parent does."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, wait_until

CHILD = "import time; from common.child import end_with_parent; end_with_parent(); time.sleep(60)"
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdin=subprocess.PIPE)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_child_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    with parent.stdout:
        child = int(parent.stdout.readline())
        assert runs(child)
        parent.kill()
        parent.wait(10)
        wait_until(lambda: not runs(child), "the child has ended")


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # Ended, but nobody has asked for how.
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (ProcessLookupError, FileNotFoundError):
        return False
