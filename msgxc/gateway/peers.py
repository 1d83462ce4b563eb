"""Where a request comes from, for whoever has no login to be counted by. Pure, but for the counts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from msgxc.errors import WrongSettings
from msgxc.settings import Settings

#: Of an IPv6 address: one customer has at least so many bits to choose from (RFC 6177).
V6_PREFIX = 64
#: A list of addresses is read from its end, at most so far.
HOPS = 20


@lru_cache(maxsize=16)
def networks(text: str) -> tuple[Any, ...]:
    """The networks of MSGXC_TRUSTED_PROXIES. Raises WrongSettings."""
    try:
        return tuple(ip_network(one.strip()) for one in text.split(",") if one.strip())
    except ValueError:
        raise WrongSettings("MSGXC_TRUSTED_PROXIES: addresses or networks, separated by commas") from None


def peer_of(scope: Mapping[str, Any], settings: Settings) -> str:
    """The address that a request comes from; of an IPv6 address its /64. "" where there is none.

    Behind a proxy that the settings trust it is the last address of MSGXC_REAL_IP_HEADER that is no such
    proxy: what stands before that one, the client may have made up.
    """
    client, trusted = scope.get("client"), networks(settings.trusted_proxies)
    if not client:
        return ""
    if not trusted:
        return _direct(client[0])
    found = _address(client[0])
    if found is not None and _within(found, trusted):
        header = settings.real_ip_header.lower().encode("latin-1", "replace")
        said = b",".join(value for name, value in scope["headers"] if name == header)
        for one in reversed(said.decode("latin-1").rsplit(",", HOPS)[-HOPS:]):
            named = _address(one.strip())
            if named is None:
                break
            found = named
            if not _within(found, trusted):
                break
    return _spelled(found)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Some proxies write the port as well."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    host = host.partition(":")[0] if host.count(":") == 1 else host
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


def _within(address: IPv4Address | IPv6Address, trusted: tuple[Any, ...]) -> bool:
    return any(address in network for network in trusted)


@lru_cache(maxsize=4096)
def _direct(client: str) -> str:
    return _spelled(_address(client))


def _spelled(address: IPv4Address | IPv6Address | None) -> str:
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, V6_PREFIX), strict=False))
    return str(address or "")
