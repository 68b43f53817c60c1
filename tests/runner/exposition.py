"""What the service exposes at /metrics: read from its text, and known beforehand from the registry."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
from fastapi import APIRouter
from fastapi.routing import APIRoute
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

import local_runner
from common.errors import FactoryError
from common.metrics import METHODS, OTHER_METHOD, registry
from common.settings import get_settings
from runner.connections import Connections, limits
from runner.metrics import watch

Labels = frozenset[tuple[str, str]]
# What the parts of a histogram end with.
PART = re.compile("_(bucket|sum|count)$")
# What a label may hold, whoever asks for whatever.
VALUES = {
    "method": METHODS | {OTHER_METHOD},
    "caller": {""},
    "writer": {"main", "stand-in"},
    "why": {"", "not-loaded", "no-time", "busy", "handed-over"},
    "finish_reason": {"stop", "length", "deadline"},
    "engine": {"edge-tts", "piper", "espeak-ng"},
    "outcome": {"whole", "failed", "left", "refused", "silent", "impatient", "timeout", "unavailable"},
    "function": {"summarize", "extract", "audio"},
    "work": {"reading", "writing"},
    "upstream": {"speech cloud"},
    "reason": {
        *("said nothing", "slow headers", "slow body", "took nothing", "too much not taken", "made room for another"),
        *("no room", "no descriptor left", "malformed request", "headers too large"),
    },
}
STATES = {
    "factory_model_state": {"unloaded", "downloading", "loading", "ready", "failed"},
    "factory_upstream_state": {"closed", "open", "half-open"},
    "factory_queue_requests": {"at_work", "waiting"},
    "factory_connections": {"at_work", "waiting"},
}
# The framework's own errors; those of keys and limits.
OTHER_PROBLEMS = {"not-found", "method-not-allowed", "unauthorized", "too-many-requests"}


@dataclass(frozen=True)
class Known:
    """A metric by the name that queries use; a histogram is known by its own name too."""

    kind: str
    labels: frozenset[str]


def known() -> dict[str, Known]:
    """Every metric of the whole service, whether there is a sample of it or not."""
    assert local_runner.app, "it brings the metrics of all functions along"
    watch(Connections(limits(get_settings())))
    found: dict[str, Known] = {}
    for collector in list(registry._collector_to_names):
        for family in collector.collect():
            wrapped = isinstance(collector, MetricWrapperBase)
            labels = frozenset(getattr(collector if wrapped else family, "_labelnames", ()))
            if family.type == "info":
                labels = frozenset(name for sample in family.samples for name in sample.labels)
            name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
            found[name] = Known(family.type, labels)
            if family.type == "histogram":
                found |= {f"{name}_sum": found[name], f"{name}_count": found[name]}
                found[f"{name}_bucket"] = Known(family.type, labels | {"le"})
    return found


def is_possible(metric: str, label: str, value: str) -> bool:
    """Whether a label of a metric may have the value; of a `model`, whether that is no name that a caller made up."""
    if label == "state":
        return value in STATES[metric]
    if label == "route":
        return value in {"unmatched", "/openapi.json", *templates()}
    if label == "problem":
        return value in slugs() | OTHER_PROBLEMS
    if label == "status":
        return re.fullmatch(r"[1-5]\d\d|[1-5]\.\.", value) is not None
    return value in VALUES[label] if label in VALUES else True


def templates() -> Iterator[str]:
    """The paths of all routes as they are declared."""
    left = list(local_runner.app.routes)
    while left:
        route = left.pop()
        if isinstance(route, APIRoute):
            yield route.path
        elif isinstance(included := getattr(route, "original_router", None), APIRouter):
            left += included.routes


def slugs(kind: type[FactoryError] = FactoryError) -> set[str]:
    return {kind.slug}.union(*(slugs(other) for other in kind.__subclasses__()))


class Samples:
    """One scrape: by name and labels the values."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family.type for family in text_string_to_metric_families(text)}
        self._values: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._values.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value

    def series(self) -> dict[str, set[Labels]]:
        """By the name of each sample: with which labels it is there."""
        return {name: set(values) for name, values in self._values.items()}

    def sum(self, name: str, **labels: str) -> float:
        """Of all samples that have these labels; 0 where there is none."""
        wanted = set(labels.items())
        return sum(value for found, value in self._values.get(name, {}).items() if wanted <= found)


def scrape(url: str) -> Samples:
    response = httpx.get(f"{url}/metrics", trust_env=False)
    assert response.status_code == 200, response.text
    return Samples(response.text)
