"""A run that is killed at any moment and started again: every id once, all lines whole, nothing lost."""

from pathlib import Path

import pytest

from batch.pipeline import MOST_PENDING
from tests.batch.kills import killed_and_started_again
from tests.doubles.factory_double import FactoryDouble, places

KILLS = 3


@pytest.mark.parametrize("seed", [8])
def test_a_run_that_is_killed_goes_on_where_it_was(seed: int, tmp_path: Path) -> None:
    with FactoryDouble(0, places(64, 0.01)) as double:
        outcome = killed_and_started_again(tmp_path, double, KILLS, 500, seed)
    assert outcome.kills == KILLS
    assert outcome.problems == []
    # What was under way when it was killed was done for nothing, and nothing else was.
    assert outcome.done_twice <= KILLS * MOST_PENDING * 4
