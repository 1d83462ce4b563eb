"""Threads and their subscribers from JSON Lines, also with the old system's names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from uuid import UUID

from msgxc import ids
from msgxc.errors import NotFound, WrongInput
from msgxc.model import Channel, Subscription, Thread, Urgency
from msgxc.people import fields
from msgxc.people.tombstones import erased
from msgxc.store import choices
from msgxc.store.ports import BATCH, Store
from msgxc.store.records import batches

#: What the old table `mthreads` calls it.
OLD_NAMES: Mapping[str, str] = {
    "openp": "open_to_publish",
    "mtypes": "channels",
    "fmtypes": "fallback",
    "cmtypes": "child_channels",
    "subs": "subscribers",
    "pubs": "publishers",
    "sys": "system",
}
KEYS = frozenset(
    {"tid", "name", "owner", "open", "open_to_publish", "channels", "fallback", "child_channels"}
    | {
        "urgency",
        "archived",
        "subscribers",
        "prefs",
        "admins",
        "publishers",
        "system",
        "ephemeral",
        "template",
    }
)


@dataclass(frozen=True, slots=True)
class ThreadsSummary:
    """What a file of threads held."""

    threads: int
    subscriptions: int


async def import_threads(file: Path, store: Store, key: bytes) -> ThreadsSummary:
    """Write the threads of a file and add their subscribers; repeating it changes nothing.

    The whole file is checked first: WrongInput names the first line that cannot be used, and nothing is
    written. A line sets what it names, and what it does not name stays. Several lines of one thread add up
    their subscribers; the last one's settings hold. Whoever was erased, and whoever has left the thread by
    themselves, is left out.
    """
    for _ in _read(file, key):
        pass
    threads, subscriptions = set(), 0
    for thread, named, subscribers in _read(file, key):
        await store.threads.change(thread.tid, {name: getattr(thread, name) for name in named})
        threads.add(thread.tid)
        subscriptions += await take_in(store, key, thread.tid, subscribers)
    return ThreadsSummary(len(threads), subscriptions)


async def take_in(store: Store, key: bytes, tid: UUID, subscribers: Iterable[Subscription]) -> int:
    """Add these to the thread, but for whoever was erased or has left it by themselves; answers how many."""
    added = 0
    for some in batches(subscribers, BATCH):
        gone = await _gone(store, key, tid, some)
        here = [one for one in some if one.uid not in gone]
        await store.threads.enter(here)
        gone = await _gone(store, key, tid, here)  # who left meanwhile, perhaps before it was written
        await store.threads.unsubscribe(tid, gone)
        added += len(here) - len(gone)
    return added


async def _gone(store: Store, key: bytes, tid: UUID, some: list[Subscription]) -> set[UUID]:
    """Who of these was erased, or has left the thread by themselves."""
    uids = [one.uid for one in some]
    own = await store.directory.choices(uids)
    left = {uid for uid, chosen in own.items() if chosen.holds(choices.thread(tid)) is False}
    return left | await erased(store, key, uids)


def _read(file: Path, key: bytes) -> Iterator[tuple[Thread, set[str], list[Subscription]]]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _line(number, line, key)
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"{file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None


def _line(number: int, line: str, key: bytes) -> tuple[Thread, set[str], list[Subscription]]:
    """The thread as the line has it, which of its fields the line names, and its subscribers."""
    try:
        found = json.loads(line, parse_constant=fields.no_constant, object_pairs_hook=fields.once)
        if not isinstance(found, dict):
            raise ValueError("not a JSON object")
        record = {OLD_NAMES.get(name, name): value for name, value in found.items() if value is not None}
        _known(record)
        tid = ids.uid_of(key, fields.identity(record["tid"]))
        named = set(record) - {"tid", "subscribers", "prefs"}
        return _thread(tid, record, key), named, list(_subscriptions(tid, record, key))
    except KeyError as error:
        raise WrongInput(f"line {number}: {error.args[0]} is missing") from None
    except json.JSONDecodeError:
        raise WrongInput(f"line {number}: not JSON") from None
    except (ValueError, RecursionError) as error:
        raise WrongInput(f"line {number}: {error}") from None


def _known(names: Iterable[str]) -> None:
    for name in names:
        if name not in KEYS:
            near = get_close_matches(name, sorted(KEYS), n=1)
            raise ValueError("a key that is not known" + (f": did you mean {near[0]}?" if near else ""))


def _thread(tid: UUID, record: dict[str, Any], key: bytes) -> Thread:
    owner = record.get("owner")
    return Thread(
        tid=tid,
        name=fields.plain(record.get("name", "")),
        owner=ids.uid_of(key, fields.identity(owner)) if owner else None,
        open=_flag(record, "open"),
        open_to_publish=_flag(record, "open_to_publish"),
        channels=_channels(record.get("channels")),
        fallback=_in_order(record.get("fallback")),
        child_channels=_channels(record.get("child_channels")),
        urgency=Urgency(record.get("urgency", Urgency.NORMAL)),
        archived=_flag(record, "archived"),
        admins=_people(record, "admins", key),
        publishers=_people(record, "publishers", key),
        system=_flag(record, "system"),
        ephemeral=_flag(record, "ephemeral"),
        template=fields.plain(record.get("template", "")),
    )


def _people(record: dict[str, Any], name: str, key: bytes) -> frozenset[UUID]:
    named = record.get(name, [])
    if not isinstance(named, list):
        raise ValueError(f"{name} is a list")
    return frozenset(ids.uid_of(key, fields.identity(one)) for one in named)


def _channels(value: Any) -> frozenset[Channel] | None:
    return None if value in (None, "", []) else fields.channels(value)


def _in_order(value: Any) -> tuple[Channel, ...] | None:
    """The channels in the order of the list; the first one is tried first."""
    if _channels(value) in (None, frozenset()):
        return () if _channels(value) is not None else None
    named = [channel for word in fields.items(value) for channel in fields.channels(word) or ()]
    return tuple(dict.fromkeys(named))


def _flag(record: dict[str, Any], name: str) -> bool:
    value = record.get(name, False)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is true or false")
    return value


def _subscriptions(tid: UUID, record: dict[str, Any], key: bytes) -> Iterator[Subscription]:
    """`subscribers`: uids, or {uid, channels}; `prefs` of the old system: uid -> channels."""
    subscribers, preferences = record.get("subscribers", []), record.get("prefs", {})
    if not isinstance(subscribers, list) or not isinstance(preferences, dict):
        raise ValueError("subscribers is a list, prefs is an object")
    for one in subscribers:
        name = one["uid"] if isinstance(one, dict) else one
        chosen = one.get("channels") if isinstance(one, dict) else preferences.get(str(name))
        yield Subscription(tid, ids.uid_of(key, fields.identity(name)), _channels(chosen))
