"""What is counted for Prometheus: the registry of this process, and what every request is counted by.

A function declares its own metrics in its module `metrics`, with this registry. Whoever serves the registry can add
collectors of what is only looked at when it is asked for.

No label holds what a caller made up: a route is a template, a method one that is known, a phase one that was declared.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from common import keys
from common.logs import Trace

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
OTHER_METHOD = "other"
# From the least that a request takes to the longest answers.
REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
# A turn is had at once, or after others whose requests take as long as this one.
QUEUE_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
LEAST_ERROR_STATUS = 400

# When a series was begun is of no use, and doubles what is sent.
disable_created_metrics()  # type: ignore[no-untyped-call]

registry = CollectorRegistry()

requests = Counter(
    "factory_requests",
    "Requests that have ended; status 499: the client had left",
    ("route", "method", "status", "caller"),
    registry=registry,
)
in_progress = Gauge("factory_requests_in_progress", "Requests that are at work, this one included", registry=registry)
duration = Histogram(
    "factory_request_duration_seconds",
    "From the first byte of a request to the end of its answer, of those with a status below 400",
    ("route",),
    buckets=REQUEST_SECONDS,
    registry=registry,
)
problems = Counter(
    "factory_problems",
    "Requests that ended with an error, by the last part of its type; 499 is client-disconnected",
    ("route", "problem"),
    registry=registry,
)

_phases: dict[str, Histogram] = {}


def declare_phase(name: str, documentation: str, buckets: tuple[float, ...]) -> None:
    """Have the phase `name` of `Trace.phases` measured by route, with `buckets` in seconds."""
    _phases[name] = Histogram(
        f"factory_request_{name}_seconds", documentation, ("route",), buckets=buckets, registry=registry
    )


declare_phase("queue", "Waiting for a turn", QUEUE_SECONDS)


def request_ended(trace: Trace, *, method: str, route: str, status: int, seconds: float) -> None:
    """Count a request whose answer has been sent, or whose client has left."""
    known = method if method in METHODS else OTHER_METHOD
    requests.labels(route, known, str(status), keys.name_of(trace.caller)).inc()
    if status < LEAST_ERROR_STATUS:
        duration.labels(route).observe(seconds)
    if problem := "client-disconnected" if trace.left else trace.problem:
        problems.labels(route, problem).inc()
    for phase, milliseconds in trace.phases.items():
        if (histogram := _phases.get(phase)) is not None:
            histogram.labels(route).observe(milliseconds / 1000)
