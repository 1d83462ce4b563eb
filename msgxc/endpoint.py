"""Which web push endpoints we send to. Pure; asked when a device is enlisted, when a person is looked at, and
again at every send.

The endpoint is a URL that somebody gave us: without this, an exchange would POST wherever it is told to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import unquote

#: What is visible in ASCII, but for `\`, `#` and `@`.
_ENDPOINT = re.compile(r"https://([a-z0-9.-]+)(?::443)?(/[!\"$-?A-\[\]-~]*)", re.IGNORECASE | re.ASCII)
#: How the endpoint of a subscription begins that is over: Chrome writes it in the place of the real one.
REMOVED = "https://permanently-removed.invalid/"
#: How the path of a subscription begins where the host answers to more than that: to send anywhere else there
#: is to call another API, whose answers would be taken for a push service's.
_PATHS: Mapping[str, tuple[str, ...]] = {
    "fcm.googleapis.com": ("/fcm/send/", "/wp/", "/preprod/wp/"),
    "updates.push.services.mozilla.com": ("/wpush/", "/push/"),
}


def is_allowed(endpoint: str, hosts: Iterable[str]) -> bool:
    """Whether we would send to this URL: https, port 443, no user-info, no fragment, a host on the list, and
    a path that is a subscription's there, and leads nowhere else (`..`)."""
    found = _possible(endpoint)
    return bool(found) and _is_known(found, tuple(hosts))


def is_dead(endpoint: str, hosts: Iterable[str]) -> bool:
    """Whether nobody would ever send to this URL, whatever hosts are listed: it is no subscription, or of a
    host that cannot be (RFC 6761), as Chrome's REMOVED."""
    host = _possible(endpoint)
    return not host or (host.endswith(".invalid") and not _is_known(host, tuple(hosts)))


def _possible(endpoint: str) -> str:
    """The host of what may be a subscription; "" for what is none."""
    return _host(endpoint) if len(endpoint) <= 4096 else ""


@lru_cache(4096)  # within one window each is asked about three times
def _host(endpoint: str) -> str:
    if not (found := _ENDPOINT.fullmatch(endpoint)):
        return ""
    host, asked = found[1].lower(), found[2]
    begins = next((path for path in _PATHS.get(host, ("/",)) if asked.startswith(path)), asked)
    segments = re.split(r"[/\\]", unquote(asked.partition("?")[0]))
    return "" if asked == begins or not {".", ".."}.isdisjoint(segments) else host


@lru_cache(1024)
def _is_known(host: str, hosts: tuple[str, ...]) -> bool:
    return any(host == known or (known[:2] == "*." and host.endswith(known[1:])) for known in hosts)


def origin(endpoint: str) -> str:
    """Scheme and host of an endpoint that is_allowed: the audience of its VAPID token."""
    return endpoint.split("/", 3)[0] + "//" + endpoint.split("/", 3)[2].lower().removesuffix(":443")
