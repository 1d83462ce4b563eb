"""One SendGrid request, as the JSON document that it carries. Pure.

Source: twilio.com/docs/sendgrid, "Mail Send"; RFC 8058 (one-click unsubscribe).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgxc.model import Email, Outgoing
from msgxc.providers import wire
from msgxc.providers.email_batch import Joined

if TYPE_CHECKING:
    from msgxc.providers.email import EmailSettings

#: Runs of line ends, NUL and other control characters: none stands in a header (RFC 5322 section 2.2).
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def document(
    batch: Sequence[Outgoing], to: Sequence[str], joined: Joined, settings: EmailSettings
) -> dict[str, Any]:
    """One request for deliveries of one campaign; `to`: the mailboxes of the batch.

    Nothing is tracked by the provider; consent is not its business.
    """
    campaign = batch[joined.members[0]].campaign
    parts = (("text/plain", wire.clean(joined.text)), ("text/html", wire.clean(joined.html)))
    people = [
        _personalization(batch[member], to[member], values, settings)
        for member, values in zip(joined.members, joined.values, strict=True)
    ]
    return {
        "personalizations": people,
        "from": {
            "email": settings.sender,
            **({"name": settings.sender_name} if settings.sender_name else {}),
        },
        "subject": people[0]["subject"],
        "content": [{"type": kind, "value": value} for kind, value in parts if value],
        **({"categories": [campaign[:255]]} if campaign else {}),
        "tracking_settings": {
            "click_tracking": {"enable": False},
            "open_tracking": {"enable": False},
            "subscription_tracking": {"enable": False},
        },
    }


def _personalization(
    outgoing: Outgoing, to: str, values: Mapping[str, str], settings: EmailSettings
) -> dict[str, Any]:
    """One recipient. A repeat carries the same Message-ID, so that mail programs show it once."""
    assert isinstance(outgoing.content, Email)  # else it is refused
    headers = {"Message-ID": f"<{outgoing.collapse}@{settings.sender.rpartition('@')[2]}>"}
    if outgoing.unsubscribe:
        headers["List-Unsubscribe"] = f"<{outgoing.unsubscribe}>"
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"  # RFC 8058 section 3.1
    person = {
        "to": [{"email": to}],
        "subject": _line(outgoing.content.subject),
        "headers": headers,
        "custom_args": {"delivery": str(outgoing.delivery), **wire.receipt_of(outgoing)},
    }
    if values:
        person["substitutions"] = values
    return person


def _line(subject: str) -> str:
    """A subject on one line."""
    return subject if subject.isprintable() else _CONTROL.sub(" ", wire.clean(subject))
