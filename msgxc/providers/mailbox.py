"""Email addresses as providers take them. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

_LOCAL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_DOMAIN = re.compile(r"(?=.{1,253}$)([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,63}")


def mailbox(address: str) -> str:
    """The address as SendGrid takes it (domain in ASCII, RFC 5891); "" when it is none."""
    local, _, domain = address.rpartition("@")
    if local.startswith(".") or local.endswith(".") or ".." in local or not _LOCAL.fullmatch(local):
        return ""
    domain = _ascii(domain)
    return domain and f"{local}@{domain}"


@lru_cache(4096)  # few domains have most mailboxes
def _ascii(domain: str) -> str:
    """The domain as DNS knows it; "" when it cannot be one."""
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode()
        except UnicodeError:
            return ""
    return domain if _DOMAIN.fullmatch(domain) else ""
