"""The services elsewhere that this process uses, and the status of each, for the health report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

UpstreamState = Literal["closed", "open", "half-open"]


@dataclass(frozen=True)
class UpstreamStatus:
    """The state of the circuit breaker in front of one. `failures` are in a row.

    `retry_in_seconds`: until the next trial, 0 unless the breaker is open.
    """

    state: UpstreamState
    failures: int
    retry_in_seconds: float


_registry: dict[str, Callable[[], UpstreamStatus]] = {}


def register(name: str, status: Callable[[], UpstreamStatus]) -> None:
    """From now on health reports the service `name`; `status` is asked each time."""
    _registry[name] = status


def upstreams() -> Mapping[str, Callable[[], UpstreamStatus]]:
    """By the name of each service: a function that returns its status."""
    return MappingProxyType(_registry)
