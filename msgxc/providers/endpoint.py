"""Which web push endpoints we send to. Pure; asked when a device is enlisted and again at every send.

The endpoint is a URL that somebody gave us: without this, an exchange would POST wherever it is told to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

#: What is visible in ASCII, but for `\`, `#` and `@`.
_ENDPOINT = re.compile(r"https://([a-z0-9.-]+)(?::443)?/[!\"$-?A-\[\]-~]*", re.IGNORECASE | re.ASCII)


def is_allowed(endpoint: str, hosts: Iterable[str]) -> bool:
    """Whether we would send to this URL: https, port 443, no user-info, no fragment, a host on the list."""
    if len(endpoint) > 4096 or not (found := _ENDPOINT.fullmatch(endpoint)):
        return False
    return _is_known(found[1].lower(), tuple(hosts))


@lru_cache(1024)
def _is_known(host: str, hosts: tuple[str, ...]) -> bool:
    return any(host == known or (known[:2] == "*." and host.endswith(known[1:])) for known in hosts)


def origin(endpoint: str) -> str:
    """Scheme and host of an endpoint that is_allowed: the audience of its VAPID token."""
    return endpoint.split("/", 3)[0] + "//" + endpoint.split("/", 3)[2].lower().removesuffix(":443")
