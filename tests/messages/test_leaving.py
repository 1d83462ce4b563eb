"""Whoever leaves a thread by themselves stays out of it, whatever files say; until they come again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import pytest
from conftest_engine import Ground
from message_world import OPERATOR, SERVICE, Room, open_room, user

from msgxc.messages import joining
from msgxc.people import import_threads
from msgxc.wiring import Exchange


async def imported(exchange: Exchange, room: Room, folder: Path) -> int:
    """A file that names all people of a room as subscribers."""
    named = ", ".join(f'"{p.uid}"' for p in room.people)
    file = folder / "threads.jsonl"
    file.write_text(f'{{"tid": "{room.tid}", "open": true, "subscribers": [{named}]}}\n')
    return (await import_threads(file, exchange.store, exchange.key)).subscriptions


async def subscribed(exchange: Exchange, room: Room) -> set[UUID]:
    """Who is in it."""
    return set(await exchange.store.threads.subscriptions(room.tid, [p.uid for p in room.people]))


async def test_a_file_brings_nobody_back(exchange: Exchange, ground: Ground, tmp_path: Path) -> None:
    """Who left by themselves stays out; who was put out by an admin comes back; who comes again by themselves
    is in, and stays."""
    room = await open_room(exchange, ground, 3)
    left, put_out, stays = (p.uid for p in room.people)
    await joining.unsubscribe(exchange, user(left), room.tid)
    await joining.unsubscribe(exchange, OPERATOR, room.tid, put_out)
    for _ in range(2):
        assert await imported(exchange, room, tmp_path) == 2
        assert await subscribed(exchange, room) == {put_out, stays}
    await joining.subscribe(exchange, user(left), room.tid)
    assert await imported(exchange, room, tmp_path) == 3
    assert await subscribed(exchange, room) == {left, put_out, stays}


async def test_an_admin_may_bring_somebody_back(exchange: Exchange, ground: Ground, tmp_path: Path) -> None:
    """By their own act, for one person: that is no file. A file still does not count as the person's word."""
    room = await open_room(exchange, ground, 1)
    (person,) = room.people
    await joining.unsubscribe(exchange, user(person.uid), room.tid)
    await joining.subscribe(exchange, SERVICE, room.tid, person.uid)
    assert await subscribed(exchange, room) == {person.uid}
    assert await imported(exchange, room, tmp_path) == 0
    assert await subscribed(exchange, room) == {person.uid}


@pytest.mark.parametrize("rounds", [1, 3])
async def test_leaving_during_an_import_is_leaving(
    exchange: Exchange, ground: Ground, tmp_path: Path, rounds: int
) -> None:
    """20 people leave while files that name them are read: nobody of them is in it afterwards."""
    room = await open_room(exchange, ground, 30)
    leaving = [p.uid for p in room.people[:20]]
    files = [imported(exchange, room, tmp_path) for _ in range(rounds)]
    await asyncio.gather(*files, *(joining.unsubscribe(exchange, user(uid), room.tid) for uid in leaving))
    assert await subscribed(exchange, room) == {p.uid for p in room.people[20:]}
