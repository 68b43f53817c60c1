import asyncio
import logging
import time

import pytest

from common.loop_lag import STALL_SECONDS, LoopLag
from tests.conftest import wait_until


def hold_up(seconds: float) -> None:
    time.sleep(seconds)


def test_what_holds_up_the_loop_is_measured_and_named(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> float | None:
        lag = LoopLag()
        lag.watch(asyncio.get_running_loop())
        await asyncio.to_thread(wait_until, lambda: lag.milliseconds is not None, "the first sample")
        hold_up(2 * STALL_SECONDS)
        await asyncio.to_thread(wait_until, lambda: (lag.milliseconds or 0) > 1000 * STALL_SECONDS, "the lag is noted")
        return lag.milliseconds

    with caplog.at_level(logging.WARNING):
        measured = asyncio.run(scenario())
    assert measured is not None
    assert 1000 * STALL_SECONDS < measured < 60_000
    (line,) = [record.getMessage() for record in caplog.records if "event loop" in record.getMessage()]
    assert "hold_up (test_loop_lag.py" in line


def test_where_nothing_is_measured_nothing_is_told() -> None:
    assert LoopLag().milliseconds is None
