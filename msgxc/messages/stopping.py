"""Stop a message, and take back what has left: with the delivery engine's own cancel, and a second message
that replaces the first one on the screens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from threading import Event
from uuid import UUID

from msgxc import ids
from msgxc.campaign import CampaignSpec
from msgxc.errors import ProviderBlocked
from msgxc.ledger import Campaign, Control, Row, anybodys, if_over
from msgxc.messages import telling
from msgxc.messages.as_campaign import sealed, spec_of, withdrawal_of
from msgxc.messages.recalling import Fate, counted, fate, to_withdraw
from msgxc.messages.records import Item, Kind, Message, Recalled, To
from msgxc.messages.triage import whole_milliseconds
from msgxc.model import Urgency
from msgxc.reports.funnel import rows_by_person
from msgxc.sending import send_slice
from msgxc.store.ports import BATCH
from msgxc.store.records import batches
from msgxc.wiring import Exchange

#: How long a recall waits for windows under way, and for the replacement, in seconds.
SETTLE_SECONDS, WITHDRAW_SECONDS = 3.0, 5.0


async def stop(exchange: Exchange, message: Message) -> Campaign:
    """Nothing of it leaves from now on, whoever has it in hand; answers the campaign that delivers it.

    Where there is none yet, one that is canceled takes its place: whoever comes too late finds that one.
    """
    ledger = exchange.store.ledger
    identity = message.joined or message.mid
    campaign = await ledger.campaign(identity)
    if campaign is None:
        spec = spec_of(message, None).model_copy(update={"name": ids.message_name(identity)})
        campaign = await ledger.create_sealed(
            sealed(exchange.key, spec, (), whole_milliseconds(message.created), Control.CANCEL), ()
        )
    now = datetime.fromtimestamp(exchange.clock(), UTC)
    if campaign.control is not Control.CANCEL:
        await ledger.set_control(identity, Control.CANCEL, now)
    await ledger.set_control(UUID(int=identity.int ^ 1), Control.CANCEL, now)  # its fallback, if there is one
    return campaign


async def take_back(exchange: Exchange, message: Message) -> Recalled:
    """Stop it, take it off open screens, replace it on the others, and count. May be made again."""
    campaign = await stop(exchange, message)
    await telling.tell_withdrawn(exchange, message.out)
    await _settled(exchange, campaign)
    if campaign.seal is None or not campaign.seal.count:
        return Recalled(await _audience_size(exchange, message), 0, 0, 0)
    await _replace(exchange, campaign)
    fates: list[Fate] = []
    async for rows, replaced, read in _shards(exchange, campaign):
        fates += [fate(rows[uid], replaced.get(uid, ()), read=uid in read) for uid in rows]
    return counted(fates)


async def _settled(exchange: Exchange, campaign: Campaign) -> None:
    """Wait for those who have it in hand: they look at the cancel before every window."""
    for _ in range(int(SETTLE_SECONDS / 0.1)):
        held = await exchange.store.ledger.unfinished(campaign.id, 0, campaign.shards)
        if not any(until > exchange.clock() for until in held.values()):
            return
        await asyncio.sleep(0.1)


async def _shards(
    exchange: Exchange, campaign: Campaign
) -> AsyncIterator[tuple[dict[UUID, list[Row]], Mapping[UUID, Sequence[Row]], set[UUID]]]:
    """Shard by shard: everybody's rows, what is in doubt among them; the replacement's; who has read it."""
    ledger = exchange.store.ledger
    withdrawal = await ledger.campaign(UUID(int=campaign.id.int ^ 2))
    replaced: dict[UUID, list[Row]] = {}
    for shard in range(withdrawal.shards if withdrawal else 0):
        replaced |= rows_by_person(await ledger.rows(UUID(int=campaign.id.int ^ 2), shard))
    now = datetime.fromtimestamp(exchange.clock(), UTC)
    for shard in range(campaign.shards):
        state = await ledger.load(anybodys(campaign.id, shard))
        rows: dict[UUID, list[Row]] = {uid: [] for uid in state.recipients}
        fallback = await ledger.load(anybodys(UUID(int=campaign.id.int ^ 1), shard))
        for row in [*if_over(state, now), *if_over(fallback, now)]:
            rows.setdefault(row.uid, []).append(row)
        yield rows, replaced, await _readers(exchange, campaign.spec, list(rows))


async def _readers(exchange: Exchange, spec: CampaignSpec, uids: Sequence[UUID]) -> set[UUID]:
    message = spec.message
    if message is None:
        return set()
    found: set[UUID] = set()
    for some in batches(uids, BATCH):
        read = await exchange.store.reads.last([(message.seen_in(exchange.key, uid), uid) for uid in some])
        found |= {uid for uid, mid in read.items() if mid >= message.newest}
    return found


async def _replace(exchange: Exchange, campaign: Campaign) -> None:
    """Send what replaces it, by the same engine: owed in triage, so that it is sent even if we die here."""
    store, owed = exchange.store, list[UUID]()
    async for rows, _, read in _shards(exchange, campaign):
        owed += to_withdraw(rows, read)
    message = campaign.spec.message
    if not owed or message is None:
        return
    now = exchange.clock()
    item = Item(Urgency.HIGH, now, campaign.id, message.tid, Kind.REALTIME, now, step="withdraw")
    await store.triage.add([item])
    shards = -(-len(owed) // exchange.settings.shard_size)
    spec = withdrawal_of(campaign.spec, owed)
    made = sealed(exchange.key, spec, owed, campaign.created, shards=shards)
    members = [(ids.shard_of(exchange.key, made.id, uid, shards), uid) for uid in owed]
    await _send_soon(exchange, await store.ledger.create_sealed(made, members))


async def _send_soon(exchange: Exchange, withdrawal: Campaign) -> None:
    """Send it here and now, as far as that goes; what has to wait is left to dispatch."""
    ended = Event()
    end = asyncio.get_running_loop().call_later(WITHDRAW_SECONDS, ended.set)
    try:
        await send_slice(exchange, withdrawal.id, 0, withdrawal.shards, stop=ended)
    except ProviderBlocked:
        return
    finally:
        end.cancel()


async def _audience_size(exchange: Exchange, message: Message) -> int:
    """How many it would have been for."""
    if message.to is To.EVERYONE:
        return await exchange.store.directory.count()
    if message.to is not To.THREAD:
        return len(message.uids)
    return sum([len(page) async for page in exchange.store.threads.subscribers(message.tid)])
