"""Email addresses as providers take them. Pure."""

from __future__ import annotations

import re

_LOCAL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_DOMAIN = re.compile(r"(?=.{1,253}$)([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,63}")


def mailbox(address: str) -> str:
    """The address as SendGrid takes it (domain in ASCII, RFC 5891); "" when it is none."""
    local, _, domain = address.rpartition("@")
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode()
        except UnicodeError:
            return ""
    dots = local.startswith(".") or local.endswith(".") or ".." in local
    return f"{local}@{domain}" if _LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain) and not dots else ""
