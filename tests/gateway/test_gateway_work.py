"""Quotas in units of work: one for all that a caller does, and what is more work costs more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from gateway_world import World, gateway_settings

from msgxc.gateway.rates import Rates
from msgxc.messages.records import Role
from msgxc.model import Subscription
from msgxc.rate_limit import Minutes


@pytest.fixture
def settings(tmp_path):
    """A quota that a test can use up, and small limits of a thread."""
    return gateway_settings(tmp_path, rate_per_minute=600, thread_per_minute=40, open_fanout=150)


def left(answer: Any) -> int:
    """Units that the caller has left, as the answer tells."""
    return int(answer.headers["ratelimit"].split("r=")[1].split(";")[0])


def test_a_minute_is_spent_and_begins_anew() -> None:
    """Units are used while they are there, what is not there is not used, and nobody spends another's."""
    minutes = Minutes()
    assert minutes.spend("a", 0.0, 4, 10) == (True, 6, 60)
    assert minutes.spend("a", 1.0, 7, 10) == (False, 6, 59)
    assert minutes.spend("a", 59.0, 6, 10) == (True, 0, 1)
    assert minutes.spend("a", 59.9, 1, 10) == (False, 0, 1)
    assert minutes.spend("b", 59.9, 1, 10)[0]
    assert minutes.spend("a", 60.0, 1, 10) == (True, 9, 60)


def test_what_costs_more_than_a_minute_takes_a_whole_one() -> None:
    """Somebody with a small quota can still make a large request, once a minute, and nothing besides."""
    rates = Rates(10)
    assert [quota.over for quota in (rates.count("a", 0.0), rates.count("a", 0.0, 99)) if quota] == [
        False,
        False,
    ]
    assert [quota.over for quota in (rates.count("a", 1.0), rates.count("a", 1.0, 99)) if quota] == [
        True,
        True,
    ]
    assert [quota.over for quota in (rates.count("b", 0.0, 2), rates.count("b", 0.0, 99)) if quota] == [
        False,
        True,
    ]


async def test_a_bulk_form_costs_its_items(world: World) -> None:
    """Six forms of a hundred are a minute's quota, under whichever tokens; the next request of any kind is
    one too many, and nothing of a form that does not fit is done."""
    uid = (await world.person()).uid
    threads = [await world.thread(open=True, open_to_publish=True) for _ in range(100)]
    items = [{"tid": str(thread.tid), "msg": "x"} for thread in threads]
    assert left(await world.post("publish/bulk", {"items": items}, world.login(uid))) == 500
    assert (
        left(
            await world.post(
                "subscribe/bulk", {"items": [{"tid": i["tid"]} for i in items]}, world.login(uid)
            )
        )
        == 400
    )
    for _ in range(3):
        assert (await world.post("publish/bulk", {"items": items}, world.login(uid))).status_code == 200
    assert left(await world.get(f"threads/{threads[0].tid}/messages", world.login(uid))) == 99
    answer = await world.post("publish/bulk", {"items": items}, world.login(uid))
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert len(await world.exchange.store.messages.history(threads[0].tid)) == 4
    assert (await world.post("publish/bulk", {"items": items[:90]}, world.login(uid))).status_code == 200
    while (
        answer := await world.get(f"threads/{threads[0].tid}/messages", world.login(uid))
    ).status_code == 200:
        pass
    assert answer.status_code == 429
    assert (await world.get("unread", world.login((await world.person()).uid))).status_code == 200


async def test_a_message_costs_its_people(world: World) -> None:
    """A hundred people are a unit: of a multicast, of a thread's subscribers, also in a bulk form; everybody
    is a hundred units."""
    service = world.login(uuid4(), Role.SERVICE)
    before = left(await world.get("unread", service))
    uids = [str(uuid4()) for _ in range(1_000)]
    after = left(await world.post("multicast", {"uids": uids, "msg": "x"}, service))
    assert before - after == 1 + 10
    assert after - left(await world.post("broadcast", {"msg": "x"}, service)) == 1 + 100
    thread = await world.thread(open=True)
    await world.exchange.store.threads.subscribe([Subscription(thread.tid, uuid4()) for _ in range(730)])
    said, before = {"tid": str(thread.tid), "msg": "x"}, left(await world.get("unread", service))
    answer = await world.post("publish", said, service)
    assert before - left(answer) == 1 + 7
    mid = answer.headers["msgxc-message"]
    assert before - left(await world.post("recall", {"tid": str(thread.tid), "mid": mid}, service)) == 2 * (
        1 + 7
    )
    assert before - left(await world.post("publish/bulk", {"items": [said] * 3}, service)) == 16 + 3 + 21


async def test_a_stranger_speaks_to_no_large_thread(world: World) -> None:
    """Open for publishing: up to a number of subscribers anybody may, beyond it staff and services."""
    owner, stranger = (await world.person()).uid, (await world.person()).uid
    thread = await world.thread(open=True, open_to_publish=True, owner=owner)
    crowd = [Subscription(thread.tid, uuid4()) for _ in range(151)]
    said = {"tid": str(thread.tid), "msg": "x"}
    await world.exchange.store.threads.subscribe(crowd[:150])
    assert (await world.post("publish", said, world.login(stranger))).status_code == 200
    await world.exchange.store.threads.subscribe(crowd)
    world.exchange.sizes.clear()  # A size is looked at once a minute.
    answer = await world.post("publish", said, world.login(stranger))
    assert (answer.status_code, answer.json()["code"]) == (403, "too_many_subscribers")
    results = await world.post("publish/bulk", {"items": [said]}, world.login(stranger))
    assert results.json()["results"][0]["code"] == "too_many_subscribers"
    for login in (world.login(owner), world.login(None, Role.SERVICE), world.admin):
        assert (await world.post("publish", said, login)).status_code == 200


@pytest.mark.parametrize("more", [{}, {"ephemeral": True}, {"scheduled": True}])
async def test_one_person_does_not_flood_a_thread(world: World, more: dict[str, Any]) -> None:
    """So many messages a minute in one thread, however they are sent; elsewhere, others, and staff go on."""
    stranger, other = (await world.person()).uid, (await world.person()).uid
    thread = await world.thread(open=True, open_to_publish=True, owner=other)
    elsewhere = await world.thread(open=True, open_to_publish=True)
    if more.get("scheduled"):
        more = {"scheduled": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    said = {"tid": str(thread.tid), "msg": "x", **more}
    results = (await world.post("publish/bulk", {"items": [said] * 50}, world.login(stranger))).json()[
        "results"
    ]
    assert [one["ok"] for one in results] == [True] * 40 + [False] * 10
    assert {one["code"] for one in results[40:]} == {"too_many_requests"}
    again = await world.post("publish", said, world.login(stranger))
    assert (again.status_code, "retry-after" in again.headers) == (429, True)
    assert (
        await world.post("publish", {**said, "tid": str(elsewhere.tid)}, world.login(stranger))
    ).status_code == 200
    many = (await world.post("publish/bulk", {"items": [said] * 50}, world.login(other))).json()["results"]
    assert all(one["ok"] for one in many)
