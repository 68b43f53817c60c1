"""GET /metrics: what is counted, and what is looked at when somebody asks, in Prometheus' formats.

All of it is read on the event loop, to which it belongs; nothing waits for a model.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, get_args

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from common import lazy
from common.admission import queues
from common.cache import caches
from common.http.headers import qualities
from common.http.keys import make_public
from common.lazy import ModelStatus, State
from common.loop_lag import loop_lag
from common.metrics import registry
from common.settings import get_settings
from common.upstreams import UpstreamState, upstreams
from common.version import VERSION
from runner.connections import Connections

OPENMETRICS, PLAIN = "application/openmetrics-text", "text/plain"
RATE = "_tokens_per_second"

router = APIRouter(tags=["metrics"])
make_public("/metrics", when=lambda: get_settings().metrics_open)


@router.get(
    "/metrics",
    summary="What the service has done and how it is, for Prometheus",
    response_class=Response,
    responses={200: {"content": {PLAIN: {}, OPENMETRICS: {}}}},
)
async def metrics(request: Request) -> Response:
    wanted = qualities(request.headers.getlist("accept"))
    is_openmetrics = 0 < wanted.get(OPENMETRICS, 0.0) >= wanted.get(PLAIN, 0.0)
    # What was sent is not handed on: the library would repeat some of it.
    written, media_type = choose_encoder(OPENMETRICS if is_openmetrics else PLAIN)
    return Response(written(registry), media_type=media_type)


def watch(connections: Connections) -> None:
    """From now on the connections of the server are shown."""
    _house.connections = connections


class _House(Collector):
    """The process: its version, its event loop and its connections."""

    connections: Connections | None = None

    def collect(self) -> Iterable[Metric]:
        build = {"version": VERSION, "profile": get_settings().profile}
        yield InfoMetricFamily("factory_build", "What runs here", build)
        lag = loop_lag.milliseconds
        yield _gauge(
            "factory_event_loop_lag_seconds",
            "The longest that the event loop kept anybody waiting within the last minute",
            (),
            {} if lag is None else {(): lag / 1000},
        )
        yield from self._connections()

    def _connections(self) -> Iterator[Metric]:
        one = self.connections
        if one is None:
            return
        yield _gauge(
            "factory_connections",
            "Connections that are open",
            ("state",),
            {("at_work",): one.at_work, ("waiting",): len(one) - one.at_work},
        )
        yield _gauge(
            "factory_connections_limit",
            "Connections that there may be, by the setting and the descriptors",
            (),
            {(): one.limits.connections},
        )
        yield _gauge(
            "factory_unsent_bytes", "Of answers whose readers are behind, not yet taken", (), {(): one.unsent_bytes}
        )
        yield _counter(
            "factory_connections_closed",
            "Connections that were closed because they had to be",
            ("reason",),
            {(why,): number for why, number in one.closed.items()},
        )


class _Models(Collector):
    """The models that this process wants."""

    def collect(self) -> Iterable[Metric]:
        models = dict(lazy.models())
        known: dict[str, ModelStatus] = {name: model.status for name, model in models.items()}
        yield _gauge(
            "factory_model_state",
            "1 for the state that a model is in",
            ("model", "state"),
            {(name, state): status.state == state for name, status in known.items() for state in get_args(State)},
        )
        yield _gauge(
            "factory_model_progress_ratio",
            "How much of a download or of the loading is done, where that can be told",
            ("model",),
            {(name,): status.progress for name, status in known.items() if status.progress is not None},
        )
        rates = {
            (name, rate.removesuffix(RATE)): value
            for name, model in models.items()
            for rate, value in model.rates.items()
            if rate.endswith(RATE)
        }
        yield _gauge(
            "factory_model_tokens_per_second",
            "What a loaded model was measured to do lately for one request by itself",
            ("model", "work"),
            rates,
        )


class _Queues(Collector):
    """The requests of each function that are here now."""

    def collect(self) -> Iterable[Metric]:
        found = {name: status() for name, status in queues().items()}
        yield _gauge(
            "factory_queue_requests",
            "Requests of a function that are being served, or wait for their turn",
            ("function", "state"),
            {(name, "at_work"): status.at_work for name, status in found.items()}
            | {(name, "waiting"): status.waiting for name, status in found.items()},
        )


class _Caches(Collector):
    """What each function keeps and gives again."""

    def collect(self) -> Iterable[Metric]:
        found = {(name,): status() for name, status in caches().items()}
        function = ("function",)
        yield _counter(
            "factory_cache_hits",
            "Kept answers that were given again",
            function,
            {name: status.hits for name, status in found.items()},
        )
        yield _counter(
            "factory_cache_misses",
            "Requests for which no answer was kept; of several texts each counts",
            function,
            {name: status.misses for name, status in found.items()},
        )
        yield _counter(
            "factory_runs_joined",
            "Of these, requests that joined the run of an equal one",
            function,
            {name: status.joined for name, status in found.items()},
        )
        yield _gauge(
            "factory_cache_answers",
            "Answers that are kept now",
            function,
            {name: status.answers for name, status in found.items()},
        )
        yield _gauge(
            "factory_cache_bytes", "What they take", function, {name: status.bytes for name, status in found.items()}
        )


class _Upstreams(Collector):
    """The services elsewhere, each behind its circuit breaker."""

    def collect(self) -> Iterable[Metric]:
        found = {name: status() for name, status in upstreams().items()}
        yield _gauge(
            "factory_upstream_state",
            "1 for the state that the circuit breaker of a service elsewhere is in",
            ("upstream", "state"),
            {(name, state): one.state == state for name, one in found.items() for state in get_args(UpstreamState)},
        )
        yield _gauge(
            "factory_upstream_failures",
            "Failures of it in a row",
            ("upstream",),
            {(name,): one.failures for name, one in found.items()},
        )


# By the values of the labels, a tuple.
Values = Mapping[Any, float]
Family = TypeVar("Family", GaugeMetricFamily, CounterMetricFamily)


def _gauge(name: str, documentation: str, labels: tuple[str, ...], values: Values) -> GaugeMetricFamily:
    return _filled(GaugeMetricFamily(name, documentation, labels=labels), values)


def _counter(name: str, documentation: str, labels: tuple[str, ...], values: Values) -> CounterMetricFamily:
    return _filled(CounterMetricFamily(name, documentation, labels=labels), values)


def _filled(family: Family, values: Values) -> Family:
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


_house = _House()
for collector in (_house, _Models(), _Queues(), _Caches(), _Upstreams(), ProcessCollector(registry=None)):
    registry.register(collector)
