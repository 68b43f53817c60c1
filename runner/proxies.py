"""Who the caller is behind a proxy: X-Forwarded-For and X-Forwarded-Proto of those that are trusted."""

import ipaddress
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from common.settings import get_settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
EVERYBODY = "*"
LONGEST_ADDRESS = 64


class TrustedProxies:
    """Puts the real caller into the scope of what comes from a trusted proxy (setting `trusted_proxies`).

    Each proxy writes whom it has the request from at the end of X-Forwarded-For. So the list is read from its end, for
    as long as those who wrote are trusted; what is before that anybody may have made up. With `*` only the connection's
    other end is trusted.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (trusted := get_settings().trusted_proxies):
            scope = _seen_by(scope, trusted)
        await self.app(scope, receive, send)


def _seen_by(scope: Scope, trusted: str) -> Scope:
    peer, _ = scope.get("client") or ("", 0)
    if trusted != EVERYBODY and not _is_trusted(peer, trusted):
        return scope
    hops = _values(scope, b"x-forwarded-for")
    found = None
    while hops and (address := _address(hops.pop())) is not None:
        found = str(address)
        if trusted == EVERYBODY or not _is_trusted(found, trusted):
            break
    schemes = _values(scope, b"x-forwarded-proto")[-1:]
    seen = dict(scope)
    if found is not None:
        seen["client"] = (found, 0)
    if schemes and schemes[0].lower() in ("http", "https"):
        seen["scheme"] = schemes[0].lower()
    return seen


def _values(scope: Scope, header: bytes) -> list[str]:
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == header]
    return [value.strip() for value in ",".join(lines).split(",")] if lines else []


def _address(hop: str) -> Address | None:
    """The address in an entry of the list, which may name a port: `192.0.2.1:80`, `[2001:db8::1]:80`."""
    if len(hop) > LONGEST_ADDRESS:
        return None
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        address = ipaddress.ip_address(hop)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=4096)
def _is_trusted(host: str, trusted: str) -> bool:
    address = _address(host)
    return address is not None and any(address in network for network in _networks(trusted))


@lru_cache(maxsize=8)
def _networks(trusted: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(name.strip()) for name in trusted.split(",")]
