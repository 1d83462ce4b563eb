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


async def test_reserved_names_are_refused_at_the_door(world: World) -> None:
    """`opts.data` with a name that a provider keeps for itself: 422 by every way in; a bulk form's other
    items go on."""
    person = await world.person()
    tid = str((await world.thread(open=True, open_to_publish=True)).tid)
    said = {"msg": "x", "opts": {"data": {"from": "shop"}}}
    for path, body in (
        ("send", {**said, "uid": str(person.uid)}),
        ("multicast", {**said, "uids": [str(person.uid)]}),
        ("broadcast", said),
        ("publish", {**said, "tid": tid}),
    ):
        answer = await world.post(path, body, world.admin)
        assert (answer.status_code, answer.json()["code"]) == (422, "wrong_input"), path
    bulk = {"items": [{**said, "tid": tid}, {"msg": "y", "tid": tid}]}
    results = (await world.post("publish/bulk", bulk, world.login(person.uid))).json()["results"]
    assert [one["ok"] for one in results] == [False, True]


@pytest.mark.parametrize(
    "when",
    [
        "9999-12-31T23:59:59-12:00",
        "9999-01-01T00:00:00Z",
        "2099-01-01T00:00:00Z",
        "tomorrow",
        "2026-12-24T00:00:00",
    ],
)
async def test_a_time_that_cannot_be_waited_for_is_refused(world: World, when: str) -> None:
    """Beyond what UTC can show, beyond a year, no time, or without a zone: 422."""
    person = await world.person()
    answer = await world.post("send", {"uid": str(person.uid), "msg": "x", "scheduled": when}, world.admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong_input")


@pytest.mark.parametrize(
    ("name", "status"),
    [("The exchange", 422), (" THE  Exchange! ", 422), ("ｔｈｅ ｅｘｃｈａｎｇｅ", 422), ("Theo", 200)],
)
async def test_no_guest_is_the_exchange(world: World, name: str, status: int) -> None:
    """A guest of the demo comes in under a name of their own."""
    world.exchange.settings = world.exchange.settings.model_copy(update={"demo": True})
    answer = await world.client.post("/demo/guest", json={"name": name})
    assert answer.status_code == status


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


async def test_data_without_words_is_a_silent_message(world: World) -> None:
    """An empty text with data is taken as it is; without data it is refused, and so is a text that
    is left out."""
    person = await world.person()
    silent = {"uid": str(person.uid), "msg": "", "opts": {"data": {"sync": "1"}}}
    assert (await world.post("send", silent, world.admin)).content == b"true"
    for wrong in ({**silent, "opts": {}}, {"uid": str(person.uid), "opts": {"data": {"sync": "1"}}}):
        assert (await world.post("send", wrong, world.admin)).status_code == 422


@pytest.mark.parametrize(("letter", "status"), [("a", 200), ("é", 422)])
async def test_a_url_is_measured_in_bytes(world: World, letter: str, status: int) -> None:
    """What every push service takes is a matter of bytes."""
    body = {"uid": str((await world.person()).uid), "msg": "x", "url": "https://x.example/" + letter * 900}
    assert (await world.post("send", body, world.admin)).status_code == status


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
