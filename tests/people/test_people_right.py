"""What real files hold that is not what it seems: two people never become one, and nothing is stored in
silence that will never be used."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import structs
from people_files import KEY, everybody, one, refusals, run

from msgxc import ids, routing
from msgxc.model import Channel, Device, Recipient
from msgxc.store.sqlite import SqliteStore

TOKEN = "ad62ea6ea23d6974871cf59a06cbdb2783b85adbafe3355c0007362249d3e75c"
LONG = "1234567890123450000"


@pytest.mark.parametrize("written", ["1.23457E+11", LONG, "123457000000.0"])
async def test_ids_that_a_spreadsheet_rounded_are_refused(
    store: SqliteStore, tmp_path: Path, written: str
) -> None:
    """Two rows with one number are two people: neither is stored, and the reason says what to do."""
    text = f"uid,name,email\r\n{written},Ada,ada@example.com\r\n{written},Bob,bob@example.com\r\n"
    summary = await run(store, tmp_path / "in.csv", text)
    assert (summary.imported, summary.refused) == (0, 2)
    assert "format its column as text" in refusals(tmp_path / "in.csv")[0][2]
    assert await store.directory.count() == 0


async def test_long_ids_are_ids_where_one_of_them_is_whole(store: SqliteStore, tmp_path: Path) -> None:
    """A spreadsheet rounds them all: one that was not rounded says that the file comes from elsewhere, and
    then also those are right that happen to end in zeros."""
    text = f"uid\n{LONG}\n1234567890123456789\n2234567890123450\n"
    assert (await run(store, tmp_path / "in.csv", text)).imported == 3
    text = "xid\n" + "".join(f"{10**17 + n}\n" for n in range(1, 1200)) + f"{LONG}\n"
    assert (await run(store, tmp_path / "in.csv", text)).refused == 0


async def test_an_invisible_character_makes_no_second_person(store: SqliteStore, tmp_path: Path) -> None:
    """It is refused; what only looks different is the same person."""
    text = "uid,name\np6,Fay\n\u200bp6,Fay\n\u00a0p6 ,Fay\nZo\u00eb,Zo\nZoe\u0308,Zo\n"
    summary = await run(store, tmp_path / "in.csv", text)
    assert (summary.imported, summary.unchanged, summary.refused) == (2, 2, 1)
    assert refusals(tmp_path / "in.csv")[0][:2] == ["3", "uid"]


async def test_consents_that_nobody_asks_for_are_refused(store: SqliteStore, tmp_path: Path) -> None:
    """With the nearest purpose."""
    rows = ("p1,a1@example.com,marketting", "p2,a2@example.com,newsletter", "p3,a3@example.com,marketing")
    text = "\n".join(("uid,email,consents", *rows))
    summary = await run(store, tmp_path / "in.csv", text)
    assert (summary.imported, summary.refused) == (1, 2)
    assert [row[1] for row in refusals(tmp_path / "in.csv")] == ["consents", "consents"]
    assert "did you mean marketing?" in refusals(tmp_path / "in.csv")[0][2]


async def test_addresses_that_could_not_be_sent_to_are_refused(store: SqliteStore, tmp_path: Path) -> None:
    """At the door, by the rule of the way out; what only looks odd is taken."""
    text = f"uid,email,cell\np1,{'a' * 65}@example.com,\np2,ada@example.c,\np3,用户@example.com,\n"
    text += "p4,,+1 415 555 0100 ext. 5\np5,ada@straße.de,+1 924 555 0123\n"
    summary = await run(store, tmp_path / "in.csv", text)
    assert (summary.imported, summary.refused) == (1, 4)
    taken = await one(store, ids.uid_of(KEY, "p5"))
    assert (taken.email, taken.cell) == ("ada@straße.de", "+19245550123")
    assert len(await everybody(store)) == 1


async def test_one_token_in_two_spellings_is_one_device(store: SqliteStore, tmp_path: Path) -> None:
    """In a row, in two rows, and beside one that was stored before there was one spelling."""
    upper, uid = TOKEN.upper(), ids.uid_of(KEY, "i1")
    old = Device(Channel.APNS, upper, datetime(1970, 1, 1, tzinfo=UTC))
    await store.directory.put([Recipient(uid, devices=(old,))])
    devices = [{"channel": "apns", "token": token} for token in (TOKEN, upper)]
    text = json.dumps({"uid": "i1", "devices": devices}) + "\n" + json.dumps({"uid": "i1", "apns": upper})
    await run(store, tmp_path / "in.jsonl", text)
    assert [device.token for device in (await one(store, uid)).devices] == [TOKEN]
    both = Recipient(uid, devices=(old, structs.replace(old, token=TOKEN)))
    assert len(routing.addresses(both, Channel.APNS)) == 1


async def test_a_subscription_that_is_over_is_no_address(store: SqliteStore, tmp_path: Path) -> None:
    """Chrome's word for one that was removed: its person comes in, with what else they have."""
    push = {
        "endpoint": "https://permanently-removed.invalid/fcm/send/abc",
        "keys": {"p256dh": "x", "auth": "y"},
    }
    row = {"uid": "w1", "apns": "ok-0123456789abcdef", "webpush": push}
    assert (await run(store, tmp_path / "in.jsonl", json.dumps(row))).imported == 1
    found = await one(store, ids.uid_of(KEY, "w1"))
    assert [device.channel for device in found.devices] == [Channel.APNS]
