"""Idempotency-Key: a send that is repeated is made once."""

from __future__ import annotations

import asyncio
from struct import pack
from typing import Any

import pytest
from gateway_world import World

from msgxc.errors import StoreUnavailable
from msgxc.gateway.idempotency import KEEP_SECONDS, UNDER_WAY
from msgxc.messages.records import Message
from msgxc.model import Thread


async def said(world: World, thread: Thread) -> list[Message]:
    """What stands in a thread."""
    return await world.exchange.store.messages.history(thread.tid)


@pytest.fixture
async def thread(world: World) -> Thread:
    """An open thread."""
    return await world.thread(open=True, open_to_publish=True)


def body(thread: Thread, text: str = "hello") -> dict[str, Any]:
    """A publication."""
    return {"tid": str(thread.tid), "msg": text}


async def test_a_repeated_send_gets_the_first_answer(world: World, thread: Thread) -> None:
    """The same body and id, a header that says so, and one message."""
    login = world.admin
    first, second = [
        await world.post("publish", body(thread), login, **{"Idempotency-Key": "k"}) for _ in range(2)
    ]
    assert (first.content, second.content) == (b"true", b"true")
    assert second.headers["Idempotency-Replayed"] == "true"
    assert first.headers["Msgxc-Message"] == second.headers["Msgxc-Message"]
    assert len(await said(world, thread)) == 1


async def test_the_same_key_with_another_body_is_refused(world: World, thread: Thread) -> None:
    """422, and nothing is said."""
    login = world.admin
    await world.post("publish", body(thread), login, **{"Idempotency-Key": "k"})
    answer = await world.post("publish", body(thread, "other"), login, **{"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len(await said(world, thread)) == 1


async def test_a_key_is_its_callers_and_its_routes(world: World, thread: Thread) -> None:
    """Somebody else's key of the same name, and the same key on another route, are other keys."""
    key = {"Idempotency-Key": "k"}
    for login in (world.login((await world.person()).uid), world.login((await world.person()).uid)):
        assert (await world.post("publish", body(thread), login, **key)).status_code == 200
    bulk = {"items": [body(thread), body(thread)]}
    answer = await world.post("publish/bulk", bulk, login, **key)
    assert [one["ok"] for one in answer.json()["results"]] == [True, True]
    assert len(await said(world, thread)) == 4
    again = await world.post("publish/bulk", bulk, login, **key)
    assert again.json() == answer.json()
    assert len(await said(world, thread)) == 4


async def test_while_the_first_is_under_way_a_second_is_refused(world: World, thread: Thread) -> None:
    """Twenty at once: one is done; the others get 409, or its answer once it is there."""
    login = world.admin
    answers = await asyncio.gather(
        *(world.post("publish", body(thread), login, **{"Idempotency-Key": "k"}) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert {a.json()["code"] for a in answers if a.status_code == 409} <= {"in_flight"}
    assert len(await said(world, thread)) == 1


async def test_a_refused_request_leaves_its_key_free(world: World, thread: Thread) -> None:
    """What was refused was not done, so the corrected request may take the same key."""
    login, key = world.admin, {"Idempotency-Key": "k"}
    for wrong in ({"msg": "no thread"}, {**body(thread), "urgency": 9}, {"tid": "nowhere", "msg": "x"}):
        assert (await world.post("publish", wrong, login, **key)).status_code in (404, 422)
    assert (await world.post("publish", body(thread), login, **key)).status_code == 200


@pytest.mark.parametrize("later", [UNDER_WAY + 1, 3600.0])
async def test_after_a_crash_the_repetition_says_it_once(world: World, thread: Thread, later: float) -> None:
    """The process died between the message and its answer: after a while the repetition finds the message."""
    login, key = world.admin, {"Idempotency-Key": "k"}
    gateway = world.exchange.store.gateway
    kept = gateway.answered

    async def dies(*_: object) -> None:
        raise StoreUnavailable("killed here")

    gateway.answered = dies
    assert (await world.post("publish", body(thread), login, **key)).status_code == 503
    gateway.answered = kept
    (first,) = await said(world, thread)
    assert (await world.post("publish", body(thread), login, **key)).json()["code"] == "in_flight"
    clock = world.exchange.clock
    world.exchange.clock = lambda: clock() + later
    answer = await world.post("publish", body(thread), world.login(None, *login_roles()), **key)
    assert answer.status_code == 200
    again = await world.post("publish", body(thread), login, **key)
    assert again.headers["Msgxc-Message"] == str(first.mid)
    assert first.mid in {message.mid for message in await said(world, thread)}
    assert len(await said(world, thread)) == 2  # the other caller's own, and this one


def login_roles() -> tuple[Any, ...]:
    """Of a service that names nobody."""
    from msgxc.messages.records import Role

    return (Role.SERVICE,)


async def test_a_key_is_forgotten_after_a_day(world: World, thread: Thread) -> None:
    """Then it may be used again."""
    gateway = world.exchange.store.gateway
    blob = pack(">d", 0.0) + b"d" * 16
    assert (await gateway.reserve(b"k", blob, 0.0, KEEP_SECONDS)).mine
    assert not (await gateway.reserve(b"k", blob, KEEP_SECONDS - 1, 2 * KEEP_SECONDS)).mine
    assert (await gateway.reserve(b"k", blob, KEEP_SECONDS, 2 * KEEP_SECONDS)).mine


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "é"])
async def test_a_key_that_is_none_is_refused(world: World, thread: Thread, key: str) -> None:
    """400 with its own code."""
    headers = {**world.admin, "Idempotency-Key": key.encode("latin-1")}
    answer = await world.client.post("/api/v2/publish", json=body(thread), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key")
