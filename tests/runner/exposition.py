"""What the service exposes at /metrics: read from its text, and known beforehand from the registry."""

from dataclasses import dataclass

import httpx
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

import local_runner
from common.metrics import registry
from common.settings import get_settings
from runner.connections import Connections, limits
from runner.metrics import watch

Labels = frozenset[tuple[str, str]]


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
