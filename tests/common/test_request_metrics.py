"""What every request is counted by, whatever it looks like."""

import subprocess
import sys

from fastapi import APIRouter
from prometheus_client import Histogram

from common import metrics
from common.errors import QueueFull
from common.http.app import create_app
from common.logs import Trace
from tests.conftest import ROOT, call


def value(name: str, **labels: str) -> float:
    """0 where there is no such sample."""
    return metrics.registry.get_sample_value(name, labels) or 0.0


def ended(trace: Trace, method: str = "GET", route: str = "/here", status: int = 200) -> None:
    metrics.request_ended(trace, method=method, route=route, status=status, seconds=0.5)


def test_a_request_is_counted_once_by_route_method_status_and_caller() -> None:
    labels = {"route": "/here", "method": "GET", "status": "200", "caller": ""}
    before = value("factory_requests_total", **labels)
    ended(Trace("id", caller="192.0.2.7"))
    assert value("factory_requests_total", **labels) == before + 1


def test_a_method_that_somebody_made_up_is_another_one() -> None:
    before = value("factory_requests_total", route="/here", method="other", status="405", caller="")
    for method in ("BREW", "get", "X" * 32):
        ended(Trace("id"), method=method, status=405)
    assert value("factory_requests_total", route="/here", method="other", status="405", caller="") == before + 3


def test_an_address_is_no_label() -> None:
    ended(Trace("id", caller="192.0.2.7"))
    assert b"192.0.2.7" not in b"".join(str(family.samples).encode() for family in metrics.registry.collect())


def test_the_time_of_a_refusal_says_nothing_about_answers() -> None:
    before = value("factory_request_duration_seconds_count", route="/here")
    for status in (200, 206, 304, 400, 499, 503):
        ended(Trace("id"), status=status)
    assert value("factory_request_duration_seconds_count", route="/here") == before + 3


def test_a_phase_is_measured_in_seconds_and_an_undeclared_one_by_nobody() -> None:
    trace = Trace("id", phases={"queue": 250.0, "nap": 7000.0})
    before = value("factory_request_queue_seconds_sum", route="/here")
    ended(trace)
    assert value("factory_request_queue_seconds_sum", route="/here") == before + 0.25
    assert not any("nap" in family.name for family in metrics.registry.collect())


def test_a_client_that_left_counts_as_that_whatever_else_went_wrong() -> None:
    before = value("factory_problems_total", route="/here", problem="client-disconnected")
    ended(Trace("id", left=True, problem="internal-error"), status=499)
    assert value("factory_problems_total", route="/here", problem="client-disconnected") == before + 1
    assert value("factory_problems_total", route="/here", problem="internal-error") == 0


def test_an_app_that_is_built_several_times_counts_in_one_place() -> None:
    router = APIRouter()

    @router.get("/full/{name}")
    async def full(name: str) -> None:
        raise QueueFull(f"{name} is full", 1)

    before = value("factory_problems_total", route="/full/{name}", problem="queue-full")
    at_work = value("factory_requests_in_progress")
    assert [call(create_app(router), "GET", f"/full/{number}").status_code for number in range(3)] == [503] * 3
    assert value("factory_problems_total", route="/full/{name}", problem="queue-full") == before + 3
    assert value("factory_requests_in_progress") == at_work


def test_an_unexpected_exception_is_counted_as_one() -> None:
    router = APIRouter()

    @router.get("/breaks-here-alone")
    async def broken() -> None:
        raise RuntimeError("a fault")

    assert call(create_app(router), "GET", "/breaks-here-alone").status_code == 500
    assert value("factory_problems_total", route="/breaks-here-alone", problem="internal-error") == 1
    assert value("factory_requests_total", route="/breaks-here-alone", method="GET", status="500", caller="") == 1


def test_buckets_are_in_order_and_no_more_than_a_dashboard_can_bear() -> None:
    histograms = [one for one in metrics.registry._collector_to_names if isinstance(one, Histogram)]
    for histogram in histograms:
        bounds = histogram._upper_bounds
        assert bounds == sorted(set(bounds))
        assert 6 <= len(bounds) <= 20


def test_importing_it_starts_nothing() -> None:
    code = "import common.metrics, threading; print(len(threading.enumerate()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout == b"1\n"
