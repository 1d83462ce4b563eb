"""Threads by the API: what a call leaves out stays, what it empties is empty."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from gateway_world import World

from msgxc.model import Channel, Thread, Urgency


async def full(world: World) -> Thread:
    """A thread with something in every field."""
    return await world.thread(
        owner=uuid4(),
        admins=frozenset({uuid4()}),
        publishers=frozenset({uuid4()}),
        open=True,
        open_to_publish=True,
        channels=frozenset({Channel.EMAIL}),
        fallback=(Channel.SMS,),
        child_channels=frozenset(),
        urgency=Urgency.LOW,
        archived=True,
        system=True,
        ephemeral=True,
        template="welcome",
    )


@pytest.mark.parametrize(
    ("said", "changed"),
    [
        ({}, {}),
        ({"admins": []}, {"admins": frozenset()}),
        ({"publishers": []}, {"publishers": frozenset()}),
        ({"pubs": []}, {"publishers": frozenset()}),
        ({"owner": None}, {"owner": None}),
        ({"name": ""}, {"name": ""}),
        ({"channels": None}, {"channels": None}),
        ({"channels": []}, {"channels": frozenset()}),
        ({"mtypes": ["~"]}, {"channels": frozenset()}),
        ({"channels": ["apns", "sms"]}, {"channels": frozenset({Channel.APNS, Channel.SMS})}),
        ({"open": False}, {"open": False}),
        ({"openp": False}, {"open_to_publish": False}),
        ({"archived": False, "urgency": 4}, {"archived": False, "urgency": Urgency.HIGH}),
        ({"ephemeral": False}, {"ephemeral": False}),
    ],
    ids=",".join,  # not the values: a set has no order
)
async def test_absent_keeps_and_empty_empties(
    world: World, said: dict[str, Any], changed: dict[str, Any]
) -> None:
    """Every field, by each of its names, by itself: it alone changes."""
    before = await full(world)
    answer = await world.post("threads", {"tid": str(before.tid), **said}, world.admin)
    assert answer.status_code == 200, answer.text
    assert await world.exchange.store.threads.get(before.tid) == replace(before, **changed)


@pytest.mark.parametrize(
    "said",
    [
        {"admins": None},
        {"open": None},
        {"name": None},
        {"urgency": 9},
        {"channels": "pigeon"},
        {"name": "a\nb"},
    ],
)
async def test_what_a_field_cannot_be_is_refused(world: World, said: dict[str, Any]) -> None:
    """422, and nothing changes."""
    before = await full(world)
    answer = await world.post("threads", {"tid": str(before.tid), **said}, world.admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong_input")
    assert await world.exchange.store.threads.get(before.tid) == before


async def test_a_right_that_was_taken_is_gone(world: World) -> None:
    """The last publisher, by `publishers: []`: the next publish is refused."""
    person = await world.person()
    thread = await world.thread()
    said = {"tid": str(thread.tid), "msg": "x"}
    await world.post("threads", {"tid": str(thread.tid), "publishers": [str(person.uid)]}, world.admin)
    assert (await world.post("publish", said, world.login(person.uid))).status_code == 200
    await world.post("threads", {"tid": str(thread.tid), "publishers": []}, world.admin)
    assert (await world.post("publish", said, world.login(person.uid))).status_code == 403


async def test_preferences_are_emptied_and_filled(world: World) -> None:
    """`channels` of a subscriber: null is every one, [] and ["~"] none; without it the call is refused."""
    person, thread = await world.person(), await world.thread(open=True)
    login, tid = world.login(person.uid), str(thread.tid)
    await world.post("subscribe", {"tid": tid}, login)
    for channels, kept in (
        ([], frozenset()),
        (None, None),
        (["~"], frozenset()),
        (["sms"], frozenset({Channel.SMS})),
    ):
        assert (await world.post("prefer", {"tid": tid, "channels": channels}, login)).status_code == 200
        found = await world.exchange.store.threads.subscriptions(thread.tid, [person.uid])
        assert found[person.uid].channels == kept
    assert (await world.post("prefer", {"tid": tid}, login)).status_code == 422
