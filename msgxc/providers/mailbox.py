"""Email addresses as providers take them. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

import idna

_LOCAL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_DOMAIN = re.compile(
    r"(?=.{1,253}$)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])"
)
_LONGEST = 254  # characters of an address: a path of 256 has < and > (RFC 5321, section 4.5.3.1.3)


def mailbox(address: str) -> str:
    """The address as SendGrid takes it (domain in ASCII, RFC 5891: IDNA 2008); "" when it is none."""
    local, _, domain = address.rpartition("@")
    if local.startswith(".") or local.endswith(".") or ".." in local or not _LOCAL.fullmatch(local):
        return ""
    domain = ascii_domain(domain)
    return f"{local}@{domain}" if domain and len(local) + 1 + len(domain) <= _LONGEST else ""


@lru_cache(4096)  # few domains have most mailboxes
def ascii_domain(domain: str) -> str:
    """The domain as DNS knows it; "" when it cannot be one."""
    if not domain.isascii() or "xn--" in domain.lower():
        try:
            domain = idna.encode(domain, uts46=True, transitional=False, std3_rules=True).decode()
        except UnicodeError:  # and idna's own, which is one
            return ""
    return domain if _DOMAIN.fullmatch(domain) else ""
