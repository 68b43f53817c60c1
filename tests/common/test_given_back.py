import subprocess
import sys

from common.settings import ROOT

# In a process of its own: in this one malloc may have what earlier tests gave back.
FREED = """
from common import memory

before = memory.resident_bytes()
# Small pieces with others between them: malloc keeps such memory by itself.
pieces = [bytes(2000) for _ in range(60_000)]
kept = pieces[::500]
assert memory.resident_bytes() > before + 80_000_000
del pieces
assert memory.give_back()
assert memory.resident_bytes() < before + 40_000_000
assert len(kept) == 120
"""


def test_what_was_freed_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", FREED], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
