"""Ask /health every 50 ms, whether the one before is answered or not, and print what was seen at the end of the input.

    python -m benchmarks.siege.prober PORT [SECONDS]

An answer that took longer than SECONDS is told at once, with when it was asked for (`time.monotonic`). It comes from an
address of its own and opens a connection for each question, as a monitor does.
"""

import asyncio
import json
import math
import sys
import time

from benchmarks.harness.wire import ask, request

INTERVAL_SECONDS, GIVE_UP_SECONDS = 0.05, 10.0
ADDRESS = "127.0.255.1"
OPEN = (b'"state":"open"', b'"state":"half-open"')


async def probe(port: int, slow_seconds: float) -> None:
    seconds: list[float] = []
    lost, opened = 0, False
    question = request("/health")

    async def once() -> None:
        nonlocal lost, opened
        asked_at = time.monotonic()
        reply = await ask(port, ADDRESS, question, GIVE_UP_SECONDS)
        seconds.append(min(reply.seconds, GIVE_UP_SECONDS) if reply.status == 200 else GIVE_UP_SECONDS)
        if seconds[-1] > slow_seconds:
            print(json.dumps({"asked_at": asked_at, "seconds": seconds[-1]}), flush=True)
        lost += reply.status != 200
        opened = opened or any(state in reply.body for state in OPEN)

    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    asked: set[asyncio.Task[None]] = set()
    while not ended.done():
        task = asyncio.create_task(once())
        asked.add(task)
        task.add_done_callback(asked.discard)
        await asyncio.wait([ended], timeout=INTERVAL_SECONDS)
    if asked:
        await asyncio.wait(asked)
    print(json.dumps({"seconds": seconds, "lost": lost, "breaker_opened": opened}))


if __name__ == "__main__":
    asyncio.run(probe(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else math.inf))
