"""How threads share the CPUs: the event loop first, then the models, then work for which more time is left.

All of it is on the same few CPUs, and the event loop needs one only for a moment at a time: while the models compute,
nobody's answer, and no look at /health, shall wait for them.
"""

import os
import sys
from contextlib import suppress

# Niceness, as Linux has it. Beside a thread that has 5 less, one gets about a quarter of a CPU.
MODEL, SPARE = 5, 10


def give_way(niceness: int) -> None:
    """This thread, and those that it begins from now on, leave the CPU to threads of this process with less of it."""
    # Only Linux has this for a thread. A container may forbid it.
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, niceness)
