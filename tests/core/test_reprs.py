"""What a record's repr tells: it finds its way into logs, errors and the reports of tests."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import pytest

import msgxc
from msgxc.messages.records import Draft, Message
from msgxc.model import Channel, Device, Outgoing, Push, Recipient, Sms, Target, Urgency
from msgxc.settings import Settings, read_settings

#: Names of fields that hold what is personal, what somebody says, or a key.
_PRIVATE = """
email cell address token auth p256dh text body payload password auth_token api_key secret plaintext endpoint
raw cells headers html unsubscribe preferences receipt scalars attributes msg opts login service_account
key_pem vapid_key title data content request
"""
PRIVATE = frozenset(_PRIVATE.split())
#: Of those, what is neither, and why.
HARMLESS = {
    "Suppression.address": "ids.address_hash",
    "Received.address": "ids.address_hash",
    "Wish.address": "ids.address_hash",
    "_Import.scalars": "how columns are read",
    "_Partial.token": "the number of a request",
    "Preparer.unsubscribe": "a function",
}
#: Where nobody is a person: made-up people, and templates before anybody's name is in them.
ELSEWHERE = ("msgxc.sandbox.", "msgxc.render.parts", "msgxc.render.example", "msgxc.render.folder")


def records() -> Iterator[tuple[type, tuple[str, ...]]]:
    """(class, fields that its repr shows) of every record in the library."""
    seen = set[type]()
    for module in pkgutil.walk_packages(msgxc.__path__, "msgxc."):
        if module.name.endswith("__main__"):
            continue
        for found in vars(importlib.import_module(module.name)).values():
            if not isinstance(found, type) or not found.__module__.startswith("msgxc") or found in seen:
                continue
            seen.add(found)
            if found.__module__.startswith(ELSEWHERE):
                continue
            if dataclasses.is_dataclass(found) and "__repr__" in vars(found):
                generated = getattr(found.__repr__, "__wrapped__", None) is not None
                if generated:
                    yield found, tuple(field.name for field in dataclasses.fields(found) if field.repr)
            elif issubclass(found, msgspec.Struct) and "__repr__" not in vars(found):
                yield found, found.__struct_fields__


def test_no_record_shows_what_is_private() -> None:
    """Whoever adds such a field leaves it out of the repr, or says here why it is harmless."""
    shown = {f"{kind.__name__}.{name}" for kind, names in records() for name in names if name in PRIVATE}
    assert shown - set(HARMLESS) == set()
    assert set(HARMLESS) <= shown


@pytest.mark.parametrize(
    "record",
    [
        Recipient(uuid4(), "canary", "canary@example.com", "+15005550010", attributes={"canary": "canary"}),
        Device(Channel.APNS, "canary", datetime.now(UTC), "canary", "canary"),
        Target(Channel.EMAIL, "canary@example.com"),
        Outgoing(
            uuid4(),
            uuid4(),
            Target(Channel.SMS, "canary"),
            Push("canary", "canary", data={"canary": "canary"}),
            urgency=Urgency.NORMAL,
            ttl=1,
            collapse="c",
            unsubscribe="https://x/u/canary",
            receipt="canary",
        ),
        Push("canary", "canary"),
        Sms("canary"),
        Draft("canary", subject="canary", data={"canary": "canary"}, url="canary"),
        Message(uuid4(), uuid4(), "canary", subject="canary", data={"canary": "canary"}, url="canary"),
    ],
)
def test_records_of_people_say_which_and_no_more(record: object) -> None:
    """Ids and kinds are there; no name, address, token, text or link."""
    assert type(record).__name__ in repr(record)
    assert "canary" not in f"{record!r}{record}{[record]}"


def test_settings_show_no_secret() -> None:
    """Logins stand in secrets, and in the URL of the bus."""
    names = [name for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)]
    given = dict.fromkeys(names, "canary" * 6)
    settings = read_settings(_env_file=None, nats_url="nats://canary:canary@127.0.0.1:1", **given)
    assert len(names) > 5
    assert "canary" not in repr(settings)
