"""Who may say what to whom, through the library: one may not speak to everybody, nor before everybody."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID, uuid4

import pytest
from conftest_engine import Ground
from message_world import OPERATOR, SERVICE, Ears, drain, open_room, user

from msgxc.errors import Conflict, Forbidden, NotFound, WrongInput
from msgxc.messages import publishing
from msgxc.messages.dispatching import queue
from msgxc.messages.records import Draft, Principal, Role
from msgxc.messages.rights import may_say
from msgxc.model import Thread, Urgency
from msgxc.wiring import Exchange


def _code(principal: Principal, thread: Thread, draft: Draft) -> str:
    try:
        may_say(principal, thread, draft)
    except Forbidden as error:
        return error.code
    return ""


def test_what_a_draft_asks_for_needs_rights_of_its_own() -> None:
    """Every kind of caller × broadcast × system × urgency, in an open thread: as in this table, by hand."""
    owner, admin, publisher = (uuid4() for _ in range(3))
    callers = {
        "owner": user(owner),
        "admin": user(admin),
        "publisher": user(publisher),
        "stranger": user(uuid4()),
        "nobody": Principal(None),
        "service": SERVICE,
        "operator": OPERATOR,
    }
    of_thread, by_role = {"owner", "admin", "publisher"}, {"service", "operator"}
    for system, urgency in product((False, True), Urgency):
        thread = Thread(
            uuid4(),
            owner=owner,
            admins=frozenset({admin}),
            publishers=frozenset({publisher}),
            open_to_publish=True,
            urgency=urgency,
            system=system,
        )
        for name, caller in callers.items():
            said = "" if not system or name in of_thread | by_role else "not_a_publisher"
            assert _code(caller, thread, Draft("Hi")) == said
            everybody = said or ("" if name in by_role else "not_an_operator")
            assert _code(caller, thread, Draft("Hi", broadcast=True)) == everybody
            speaks = name in by_role or (system and name in of_thread)
            expected = said or ("" if speaks else "not_of_the_system")
            assert _code(caller, thread, Draft("Hi", system=True)) == expected
            for asked in Urgency:
                hurries = name in of_thread | by_role or asked <= urgency
                expected = said or ("" if hurries else "too_urgent")
                assert _code(caller, thread, Draft("Hi", urgency=asked)) == expected


@pytest.mark.parametrize("asked", [{}, {"ephemeral": True}, {"later": True}])
@pytest.mark.parametrize("what", ["broadcast", "system"])
async def test_nobody_speaks_to_all_or_for_the_exchange(
    exchange: Exchange, ground: Ground, what: str, asked: dict[str, bool]
) -> None:
    """Published, told to open connections alone, or scheduled: refused before anything is stored or told."""
    room = await open_room(exchange, ground, 1)
    at = datetime.fromtimestamp(exchange.clock() + 60, UTC) if asked.get("later") else None
    ephemeral = asked.get("ephemeral", False)
    draft = Draft("Hi", room.tid, scheduled=at, ephemeral=ephemeral, **{what: True})  # type: ignore[arg-type]
    async with Ears(exchange, "*.>") as ears:
        with pytest.raises(Forbidden):
            await publishing.publish(exchange, user(room.people[0].uid), draft)
    assert ears.heard == []
    assert await exchange.store.messages.history(room.tid) == []


async def test_an_older_version_s_broadcast_comes_out_for_its_thread_alone(
    exchange: Exchange, ground: Ground
) -> None:
    """What was stored before rights were looked at says nothing of whose right it was: it is not for all."""
    room = await open_room(exchange, ground, 1)
    at = datetime.fromtimestamp(exchange.clock() + 60, UTC)
    service = Principal(room.people[0].uid, frozenset({Role.SERVICE}))
    draft = Draft("Hi", room.tid, scheduled=at, broadcast=True)
    planned = await publishing.publish(exchange, service, draft)
    older = replace(planned, mid=await _fresh(exchange, room.tid), by_role=None)
    await exchange.store.messages.put(older, None)
    async with Ears(exchange, "*.>") as ears:
        for one in (planned, older):
            await publishing.execute(exchange, OPERATOR, room.tid, one.mid, "q")
    told = [subject for subject, _ in ears.heard if not subject.startswith("triage")]
    assert told == [f"thread.{room.tid}", "broadcast.system", f"thread.{room.tid}"]


async def _fresh(exchange: Exchange, tid: UUID) -> UUID:
    return (await publishing.publish(exchange, SERVICE, Draft("x", tid, ephemeral=True))).mid


async def test_a_broadcast_of_a_thread_is_withdrawn_where_it_was_shown(
    exchange: Exchange, ground: Ground
) -> None:
    """Every connection that was shown it is told that it was taken back."""
    room = await open_room(exchange, ground, 1)
    said = await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, broadcast=True))
    async with Ears(exchange, "broadcast.system") as ears:
        await publishing.recall(exchange, SERVICE, room.tid, said.mid)
    assert [(told["slug"], told["opts"]["mid"]) for _, told in ears.heard] == [("/withdraw", str(said.mid))]


@pytest.mark.parametrize("end", ["put out", "archived", "gone"])
async def test_a_right_that_is_gone_at_its_time_is_gone(exchange: Exchange, ground: Ground, end: str) -> None:
    """Scheduled by a publisher who is none any more, or into a thread that was closed: canceled, not said."""
    room = await open_room(exchange, ground, 2)
    publisher = room.people[0].uid
    await room.change(open_to_publish=False, publishers=frozenset({publisher}))
    at = datetime.fromtimestamp(exchange.clock() + 60, UTC)
    mine = await publishing.publish(exchange, user(publisher), Draft("Mine", room.tid, scheduled=at))
    theirs = await publishing.publish(exchange, SERVICE, Draft("Theirs", room.tid, scheduled=at))
    await room.change(archived=end == "archived", publishers=frozenset())
    if end == "gone":
        await room.change(open_to_publish=True)  # Whose right it was matters, not who they are.
    async with Ears(exchange, "thread.>") as ears:
        await drain(exchange, seconds=61)
        await drain(exchange, seconds=5)
    texts = {"put out": ["Theirs"], "archived": [], "gone": ["Mine", "Theirs"]}[end]
    assert sorted(told["msg"] for _, told in ears.heard) == texts
    for one, text in ((mine, "Mine"), (theirs, "Theirs")):
        stored = await exchange.store.messages.get(room.tid, one.mid)
        assert stored
        assert bool(stored.canceled) == (text not in texts)
        if stored.canceled:
            with pytest.raises(Conflict):
                await publishing.execute(exchange, OPERATOR, room.tid, one.mid, "q")


@pytest.mark.parametrize(
    "name",
    [
        "from",
        "message_type",
        "collapse_key",
        "aps",
        "withdrawn",
        "google.x",
        "gcm",
        "gcm.n.e",
        "msgxc_delivery",
    ],
)
async def test_reserved_names_of_data_are_refused(exchange: Exchange, ground: Ground, name: str) -> None:
    """What a provider refuses, or what only the exchange says to the app: by every way in."""
    room = await open_room(exchange, ground, 1)
    draft = Draft("Hi", room.tid, data={"fine": "x", name: "x"})
    for call in (
        publishing.publish(exchange, user(room.people[0].uid), draft),
        publishing.send(exchange, SERVICE, draft, room.people[0].uid),
        publishing.multicast(exchange, SERVICE, draft, [room.people[0].uid]),
        publishing.broadcast(exchange, SERVICE, draft),
    ):
        with pytest.raises(WrongInput, match="reserved"):
            await call
    near = {"From": "x", "sender_from": "x", "googly"[:4]: "x", "my.gcm": "x", "url": "/there"}
    await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, data=near))


async def test_a_link_in_data_is_a_link(exchange: Exchange, ground: Ground) -> None:
    """`data.url` is opened by apps: no other scheme than the message's own url may have."""
    room = await open_room(exchange, ground, 1)
    for url in ("javascript:alert(1)", "data:text/html,x", "ftp://x.example"):
        with pytest.raises(WrongInput):
            await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, data={"url": url}))


async def test_who_was_staff_is_no_more_urgent_at_its_time(exchange: Exchange, ground: Ground) -> None:
    """Scheduled at urgency 4 by a publisher, who is none any more: it comes out as urgent as the thread; that
    of one who still is, and a service's, stays urgent."""
    room = await open_room(exchange, ground, 1)
    was, still = uuid4(), uuid4()
    await room.change(publishers=frozenset({was, still}))
    at = datetime.fromtimestamp(exchange.clock() + 60, UTC)
    draft = Draft("Hi", room.tid, scheduled=at, urgency=Urgency.HIGH)
    callers = {"was": user(was), "still": user(still), "service": SERVICE}
    planned = {
        name: await publishing.publish(exchange, caller, replace(draft, text=name))
        for name, caller in callers.items()
    }
    await room.change(publishers=frozenset({still}))
    out = {
        name: await publishing.execute(exchange, OPERATOR, room.tid, one.mid, "q")
        for name, one in planned.items()
    }
    assert {name: one.urgency for name, one in out.items()} == {
        "was": Urgency.NORMAL,
        "still": Urgency.HIGH,
        "service": Urgency.HIGH,
    }
    assert {item.urgency for item in await queue(exchange) if item.mid == out["was"].mid} == {Urgency.NORMAL}


async def test_a_thread_that_has_grown_is_not_spoken_to(exchange: Exchange, ground: Ground) -> None:
    """Scheduled by a stranger into a small thread that has many subscribers at its time: canceled; a
    service's comes out."""
    room = await open_room(exchange, ground, 2)
    at = datetime.fromtimestamp(exchange.clock() + 60, UTC)
    stranger = await publishing.publish(exchange, user(uuid4()), Draft("Mine", room.tid, scheduled=at))
    await publishing.publish(exchange, SERVICE, Draft("Theirs", room.tid, scheduled=at))
    exchange.settings = exchange.settings.model_copy(update={"open_fanout": 1})
    async with Ears(exchange, "thread.>") as ears:
        await drain(exchange, seconds=61)
    assert [told["msg"] for _, told in ears.heard] == ["Theirs"]
    stored = await exchange.store.messages.get(room.tid, stranger.mid)
    assert stored
    assert stored.canceled


async def test_an_answer_is_to_a_message_of_the_same_thread(exchange: Exchange, ground: Ground) -> None:
    """A parent elsewhere, one that never was, was taken back, or may not be read, is refused; a service's
    answer and one to a message that was scheduled and came out are taken."""
    room, other = await open_room(exchange, ground, 1), await open_room(exchange, ground, 1)
    me = user(room.people[0].uid)
    parent = await publishing.publish(exchange, SERVICE, Draft("P", room.tid))
    strange = await publishing.publish(exchange, SERVICE, Draft("P", other.tid))
    at = datetime.fromtimestamp(exchange.clock(), UTC) + timedelta(hours=1)
    planned = await publishing.publish(exchange, SERVICE, Draft("P", room.tid, scheduled=at))
    for mid in (strange.mid, uuid4(), planned.mid):
        for who in (me, SERVICE):
            with pytest.raises(NotFound):
                await publishing.publish(exchange, who, Draft("C", room.tid, parent=mid))
    await publishing.execute(exchange, OPERATOR, room.tid, planned.mid, "q")
    for mid in (parent.mid, planned.mid):
        assert (await publishing.publish(exchange, me, Draft("C", room.tid, parent=mid))).parent == mid
    await room.change(open=False)
    with pytest.raises(Forbidden):
        await publishing.publish(exchange, user(uuid4()), Draft("C", room.tid, parent=parent.mid))
    await publishing.recall(exchange, SERVICE, room.tid, parent.mid)
    with pytest.raises(NotFound):
        await publishing.publish(exchange, me, Draft("C", room.tid, parent=parent.mid))
