"""The caller of a request. Callers share the service fairly."""

import ipaddress
import itertools
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

from starlette.types import Scope

# A provider gives each customer at least this much of IPv6: addresses within it are one caller.
IPV6_PREFIX_BITS = 64


@dataclass(frozen=True, slots=True)
class Flow:
    """The work for one request. `request` is its number among those of `caller`."""

    caller: str
    request: int


# Work that no request has asked for, and every test that does not care.
NOBODY = Flow("", 0)

_current: ContextVar[Flow] = ContextVar("flow", default=NOBODY)
_numbers = itertools.count(1)


def flow() -> Flow:
    """The flow of the request that this task serves, or NOBODY."""
    return _current.get()


def begin_flow(caller: str) -> Flow:
    """Name the request that this task serves from here on; tasks that it creates inherit the name."""
    begun = Flow(caller, next(_numbers))
    _current.set(begun)
    return begun


def caller_of(scope: Scope) -> str:
    """The caller of a request: its address, of IPv6 the network. A unix socket or an odd test has the caller ""."""
    return _network((scope.get("client") or ("", 0))[0] or "")


@lru_cache(maxsize=4096)
def _network(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_PREFIX_BITS), strict=False))
