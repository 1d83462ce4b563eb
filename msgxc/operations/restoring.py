"""A store that was brought back is behind the world: what was sent since its backup, it does not know.

So nothing that was under way goes on by itself. Campaigns stand still until a person resumes or cancels them;
messages that were owed are not sent, for the people they were for may have had them long ago; what is to
come later stays as it is. And whoever is known to be erased is erased again, for the backup holds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from msgxc import campaigns, ids
from msgxc.errors import NotFound
from msgxc.fallback import FALLBACK, fallback_spec
from msgxc.ledger import SETTLED, Campaign, Control
from msgxc.messages.records import Item, Kind
from msgxc.people.tombstones import erased
from msgxc.privacy.erasure import erase
from msgxc.wiring import Exchange


@dataclass(frozen=True, slots=True)
class Held:
    """A campaign that stands still now. `left`: of `people`, who had not been sent to when the backup was
    made; None: nobody was chosen yet."""

    name: str
    people: int | None
    left: int | None


@dataclass(slots=True)
class Restored:
    """What was done. `owed`: messages that are not sent, by what they were waiting for."""

    held: list[Held] = field(default_factory=list)
    owed: Counter[str] = field(default_factory=Counter)
    kept: int = 0  # messages whose time is still to come
    erased: int = 0  # people who had been erased, and were in it again


async def restored(exchange: Exchange, *, send_owed: bool = False) -> Restored:
    """Have nothing of the past go on by itself, then accept the store as it is. May be repeated.

    `send_owed`: messages that were owed are sent all the same.
    """
    now, ledger, done = datetime.fromtimestamp(exchange.clock(), UTC), exchange.store.ledger, Restored()
    done.erased = await _erase_again(exchange)
    everything = [one async for page in ledger.campaigns() for one in page]
    for campaign in everything:
        if _is_under_way(campaign, now):
            await ledger.set_control(campaign.id, Control.RESTORED)
            done.held.append(await _held(exchange, campaign))
        elif await _owes_fallback(exchange, campaign, now):
            done.held.append(await _with_fallback(exchange, campaign, now))
    if not send_owed:
        items = [item async for page in exchange.store.triage.scan() for item in page]
        past = [item for item in items if _is_past(item, now)]
        for item in past:
            await _let_be(exchange, item, now)
        await exchange.store.triage.remove(past)
        done.owed.update(item.step for item in past)
        done.kept = len(items) - len(past)
    await exchange.store.accept()
    return done


async def _erase_again(exchange: Exchange) -> int:
    """Of how many people something was there, though they have a tombstone; nothing is now."""
    back: set[UUID] = set()
    async for some in _everybody(exchange):
        back |= await erased(exchange.store, exchange.key, some)
    for uid in back:
        await erase(exchange, uid)
    return len(back)


async def _everybody(exchange: Exchange) -> AsyncIterator[set[UUID]]:
    """All people of whom there is anything that an erasure removes; somebody may come several times."""
    store = exchange.store
    async for uids in store.directory.scan_uids():
        yield set(uids)
    async for named in store.messages.people():
        yield named
    async for threads in store.threads.scan():
        for thread in threads:
            yield {*thread.admins, *thread.publishers} | ({thread.owner} if thread.owner else set())
            async for uids in store.threads.subscribers(thread.tid):
                yield set(uids)


async def may_repeat(exchange: Exchange, name: str) -> str:
    """What going on with a restored campaign may cost, in one sentence; "" where it is not restored."""
    campaign = await campaigns.campaign_named(exchange, name)
    if campaign.control is not Control.RESTORED:
        return ""
    held = await _held(exchange, campaign)
    if held.left is None:
        return "Its audience was not chosen when the backup was made: whoever had it since gets it again."
    return (
        f"{held.left:,} of {held.people:,} people had not been sent to when the backup was made: whoever of "
        "them had it since gets it again."
    )


def _is_under_way(campaign: Campaign, now: datetime) -> bool:
    """Whether somebody may have been sent to that this store does not know of."""
    later = campaign.spec.sending.not_before
    going = campaign.control not in (Control.CANCEL, Control.RESTORED)
    return going and campaign.finished is None and not (later and later > now)


async def _held(exchange: Exchange, campaign: Campaign) -> Held:
    """How many of its people have no result that settles them."""
    if campaign.seal is None:
        return Held(campaign.spec.name, None, None)
    ledger, left = exchange.store.ledger, 0
    for shard in range(campaign.shards):
        rows = await ledger.rows(campaign.id, shard)
        settled = {row.uid for row in rows if not SETTLED.isdisjoint(row.marks)}
        left += len(set(await ledger.members(campaign.id, shard)) - settled)
    return Held(campaign.spec.name, campaign.seal.count, left)


async def _owes_fallback(exchange: Exchange, campaign: Campaign, now: datetime) -> bool:
    """Whether it is over, and its fallback was due by now and is not there."""
    finished, name = campaign.finished, campaign.spec.name
    if finished is None or campaign.spec.parent or finished + campaign.spec.fallback.after > now:
        return False
    try:
        if await fallback_spec(exchange, name) is None:
            return False
    except NotFound:
        return False  # what it needs is gone, or it is another exchange's
    return await exchange.store.ledger.campaign(_fallback_id(exchange, name)) is None


async def _with_fallback(exchange: Exchange, campaign: Campaign, now: datetime) -> Held:
    """The fallback, there but standing still: else it would be started as one that is late."""
    spec = await fallback_spec(exchange, campaign.spec.name)
    assert spec is not None
    identity = _fallback_id(exchange, campaign.spec.name)
    await exchange.store.ledger.create(Campaign(identity, spec, campaign.shards, now, Control.RESTORED))
    return Held(spec.name, None, None)


def _fallback_id(exchange: Exchange, name: str) -> UUID:
    return ids.campaign_id(exchange.key, name + FALLBACK)


def _is_past(item: Item, now: datetime) -> bool:
    """Whether it may have left since. What is taken back is taken back again: nobody is told anything new."""
    to_come = item.due > now.timestamp() and item.kind is not Kind.FAILED
    return item.step != "withdraw" and not to_come


async def _let_be(exchange: Exchange, item: Item, now: datetime) -> None:
    """Nothing more leaves for the message: one that had not come out never does, others stay as they are."""
    if item.step != "send":
        return
    messages, scheduled = exchange.store.messages, item.kind is Kind.SCHEDULED
    await messages.note(
        item.tid, item.mid, canceled=now if scheduled else None, completed=None if scheduled else now
    )
