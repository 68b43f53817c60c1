"""The caller of a request, and who of its clients it is. Callers share the service fairly, and so do their clients.

A caller is the name of the key that the request brings, else its address.
"""

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
    """The work for one request. `request` is its number among those of `caller`.

    `holder` is the client that a later request is known to be from again. By default the caller is one client.
    `weight` is the caller's share while it waits beside others.
    """

    caller: str
    request: int
    holder: str = ""
    weight: float = 1.0


# Work that no request has asked for, and every test that does not care.
NOBODY = Flow("", 0)

_current: ContextVar[Flow] = ContextVar("flow", default=NOBODY)
_numbers = itertools.count(1)
_open: set[str] = set()


# A client: its caller, and what it is known by among those of the caller.
Client = tuple[str, str]


def client(flow: Flow) -> Client:
    """Who the request of `flow` is from."""
    return flow.caller, flow.holder or flow.caller


def flow() -> Flow:
    """The flow of the request that this task serves, or NOBODY."""
    return _current.get()


def begin_flow(caller: str, holder: str = "", weight: float = 1.0) -> Flow:
    """Name the request that this task serves from here on; tasks that it creates inherit the name."""
    begun = Flow(caller, next(_numbers), holder, weight)
    _current.set(begun)
    return begun


def caller_of(scope: Scope) -> str:
    """The caller of a request: its address, of IPv6 the network. A unix socket or an odd test has the caller ""."""
    return _network((scope.get("client") or ("", 0))[0] or "")


def holder_of(scope: Scope, *, has_key: bool = False) -> str:
    """The client that a request is from: its connection while that is open, else its address.

    An address that a trusted proxy or AWS Lambda tells has no port, and is the client. Behind one that connects itself
    may be many strangers. With a key it is the client as well: who has the key and the address is one program, which
    takes any connection of its pool when it comes back. The key alone is not, as programs on many machines may have
    the same one: they would have one claim among them, and who of them comes back first would take it from the others.
    """
    client = scope.get("client") or ("", 0)
    connection = _connection(client)
    return connection if connection in _open and not has_key else client[0] or ""


def connection_begins(client: tuple[str, int] | None) -> None:
    """The server has this connection, until `connection_ends`. Of one whose end nobody would tell, nothing is known."""
    if client and client[1]:
        _open.add(_connection(client))


def connection_ends(client: tuple[str, int] | None) -> None:
    _open.discard(_connection(client or ("", 0)))


def may_come_back(holder: str) -> bool:
    """Whether there can be another request of this client: not if it was a connection that is closed."""
    return " " not in holder or holder in _open


def _connection(client: tuple[str, int]) -> str:
    # No address has a space in it.
    return f"{client[0]} {client[1]}"


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
