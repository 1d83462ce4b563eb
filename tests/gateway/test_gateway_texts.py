"""What people write: emoji with joiners, right-to-left, long names, too much of it (faults 23, 24)."""

from __future__ import annotations

import pytest
from gateway_world import World

from msgxc.messages.records import DATA, SUBJECT, TEXT

WRITTEN = [
    "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈",
    "\u202eevil\u202c שלום مرحبا",
    "é" * 300,
    "e\u0301" * 300,
    "日本語" * 100,
    "a\nb\tc",
    "\u200b\ufeff",
]


@pytest.mark.parametrize("text", WRITTEN)
async def test_what_is_written_is_what_is_read(world: World, text: str) -> None:
    """Letter for letter, through the store and back."""
    thread = await world.thread(open=True, open_to_publish=True)
    login = world.login((await world.person()).uid)
    body = {"tid": str(thread.tid), "msg": text, "opts": {"data": {text[:20]: text[:100]}}}
    answer = await world.post("publish", body, login)
    if answer.status_code == 422:  # nothing but what cannot be seen is no message
        assert not text.strip("\u200b\ufeff"), answer.text
        return
    assert answer.content == b"true"
    (message,) = (await world.get(f"threads/{thread.tid}/messages", login)).json()["messages"]
    assert message["msg"] == text
    assert message["opts"][text[:20]] == text[:100]


@pytest.mark.parametrize(
    "more",
    [
        {"msg": ""},
        {"msg": "x" * (TEXT + 1)},
        {"msg": "x", "subject": "y" * (SUBJECT + 1)},
        {"msg": "x", "opts": {"data": {"k": "v" * DATA}}},
        {"msg": "x", "url": "javascript:alert(1)"},
        {"msg": "x", "urgency": 5},
        {"msg": "x", "scheduled": "2026-12-01T09:00:00"},
        {"msg": "x", "pmid": "nonsense"},
        {"msg": "x", "nonsense": 1},
        {"msg": 7},
    ],
)
async def test_what_cannot_be_sent_is_refused_at_the_door(world: World, more: dict) -> None:
    """Too long, no time zone, a script for a link: one problem that names the field; nothing is stored."""
    thread = await world.thread(open=True, open_to_publish=True)
    answer = await world.post("publish", {"tid": str(thread.tid), **more}, world.admin)
    assert answer.status_code == 422
    assert (await world.get(f"threads/{thread.tid}/messages", world.admin)).json()["messages"] == []


async def test_old_names_mean_the_same(world: World) -> None:
    """`opts`, `pmid`, `sys`, `openp`, `pubs`, `mtypes`: as the old system's clients write them."""
    person = await world.person()
    tid, login = "old-thread-7", world.login(person.uid)
    made = {"tid": tid, "name": "tea", "open": True, "openp": True, "pubs": [str(person.uid)]}
    assert (await world.post("threads", made, world.admin)).json() is True
    assert (await world.post("subscribe", {"tid": tid}, login)).json() is True
    first = await world.post(
        "publish", {"tid": tid, "msg": "one", "opts": {"data": {"n": 1}, "else": 2}}, login
    )
    body = {"tid": tid, "msg": "two", "pmid": first.headers["Msgxc-Message"], "sys": False}
    assert (await world.post("publish", body, login)).json() is True
    assert (await world.post("prefer", {"tid": tid, "mtypes": ["apn", "em"]}, login)).json() is True
    found = (await world.get(f"threads/{tid}/messages", login)).json()["messages"]
    assert [one["opts"]["pmid"] for one in found] == [first.headers["Msgxc-Message"], None]
    assert found[1]["opts"]["n"] == "1"
