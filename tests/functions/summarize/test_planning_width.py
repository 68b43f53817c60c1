"""Beside how many others a request is worked on: where it would make them late, it waits until fewer are left."""

from dataclasses import replace

from functions.summarize.planning import Demand, Job, Plan, Simulation
from tests.functions.summarize.test_planning import PLAIN, finish_times


def test_who_would_make_others_late_by_working_beside_them_waits_until_they_are_done() -> None:
    # It has 3 s more than it needs; with a newcomer beside it it would need twice as long.
    job = Job(0, 40, 43.0)
    demand = Demand(20, 10, 0, 90.0)
    simulation = Simulation([job], PLAIN, 2)
    assert not simulation.fits_at(1, demand)
    assert simulation.plan(demand) == Plan(20, 10, None, 1)
    # With time enough for all it begins at once.
    assert Simulation([replace(job, deadline=200.0)], PLAIN, 2).plan(demand) == Plan(20, 10)


def test_a_job_of_a_width_is_begun_when_so_few_are_left() -> None:
    jobs = [Job(0, 10), Job(0, 20), Job(5, 5, width=1)]
    assert finish_times(jobs, PLAIN, 3) == [*finish_times(jobs[:2], PLAIN, 3), 25.0 + 5 + 5]
