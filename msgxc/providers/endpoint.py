"""Which web push endpoints we send to. Pure; asked when a device is enlisted and again at every send.

The endpoint is a URL that somebody gave us: without this, an exchange would POST wherever it is told to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_ENDPOINT = re.compile(r"https://[a-z0-9.-]+(:443)?/[!-~]*", re.IGNORECASE)


def is_allowed(endpoint: str, hosts: Iterable[str]) -> bool:
    """Whether we would send to this URL: https, port 443, no user-info, no fragment, a host on the list."""
    if len(endpoint) > 4096 or not _ENDPOINT.fullmatch(endpoint) or any(c in endpoint for c in "\\#@"):
        return False
    host = endpoint.split("/", 3)[2].removesuffix(":443").lower()
    return any(host == known or (known[:2] == "*." and host.endswith(known[1:])) for known in hosts)


def origin(endpoint: str) -> str:
    """Scheme and host of an endpoint that is_allowed: the audience of its VAPID token."""
    return endpoint.split("/", 3)[0] + "//" + endpoint.split("/", 3)[2].lower().removesuffix(":443")
