"""From the inbox into the ledger and the suppression list. May be done by many at once, and again.

Marks are written once and merge in any order, so a receipt that is repeated, late, or merged by two
processes changes nothing. It leaves the inbox only after all that follows from it is durable.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from uuid import UUID

from msgxc import ids
from msgxc.failpoints import failpoint
from msgxc.ledger import Campaign, Mark, Result
from msgxc.store.gateway import WISHES, News, Received
from msgxc.store.ports import Suppression, Wish
from msgxc.tracking import CONSENT
from msgxc.wiring import Exchange

#: News that tell of a person's behaviour, not of the message's fate: only with consent. That somebody has
#: read is one too, whether a device or Twilio says so: how far they have read a thread is kept for what it
#: does (`reads`: not pushed again, counts of unread), not in the ledger.
TRACKED = frozenset({News.OPENED, News.CLICKED, News.READ})
BROKEN = frozenset({News.BOUNCED, News.COMPLAINED})
#: Seconds that ids of merged receipts are remembered: providers come again for a day or three; a wish may be
#: replayed by whoever saw it pass, so its id is kept for longer than its request is worth anything.
REMEMBERED, WISHES_REMEMBERED = 3 * 86_400.0, 400 * 86_400.0
KNOWN = 10_000  # campaigns whose shards are remembered


class Merger:
    """Merges for one exchange; remembers where campaigns have their shards."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._campaigns: OrderedDict[UUID, tuple[UUID, int]] = OrderedDict()

    async def merge_all(self) -> int:
        """Until the inbox is empty; answers how many receipts were merged."""
        done = 0
        while some := await self.merge_some():
            done += some
        return done

    async def merge_some(self) -> int:
        """One page of the inbox; 0 when there is none."""
        gateway = self._exchange.store.gateway
        some = await gateway.inbox()
        if not some:
            return 0
        await self._addresses(some)
        for (campaign, shard), results in (await self._by_shard(some)).items():
            await self._exchange.store.ledger.note(campaign, shard, results)
        failpoint("receipts_noted")
        now = self._exchange.clock()
        await gateway.merged([r for r in some if r.news not in WISHES], now + REMEMBERED)
        await gateway.merged([r for r in some if r.news in WISHES], now + WISHES_REMEMBERED)
        return len(some)

    # -- addresses

    async def _addresses(self, some: Sequence[Received]) -> None:
        """Suppress what bounced or complained, for good; note STOP and START, of which the newest counts."""
        directory, about = self._exchange.store.directory, [r for r in some if r.address]
        broken = [r for r in about if r.news in BROKEN]
        wishes = [r for r in about if r.news in WISHES]
        await directory.suppress(
            [Suppression(r.address, r.channel, r.reason or r.news, r.at) for r in broken]
        )
        await directory.wish([Wish(r.address, r.channel, r.news is News.STOPPED, r.at) for r in wishes])

    # -- deliveries

    async def _by_shard(self, some: Sequence[Received]) -> dict[tuple[UUID, int], list[Result]]:
        found: dict[tuple[UUID, int], list[Result]] = {}
        trackable = await self._trackable(some)
        for receipt in some:
            mark = receipt.news.mark
            if mark is None or receipt.campaign is None or receipt.uid is None or receipt.delivery is None:
                continue
            if receipt.news in TRACKED and receipt.uid not in trackable:
                continue
            shard = await self._shard(receipt.campaign, receipt.uid)
            if shard is not None:
                found.setdefault((receipt.campaign, shard), []).append(_result(receipt, mark))
        return found

    async def _trackable(self, some: Collection[Received]) -> set[UUID]:
        """Who, of those whose opens, clicks and reading came in, agrees to that now."""
        uids = {r.uid for r in some if r.news in TRACKED and r.uid}
        people = await self._exchange.store.directory.get(uids) if uids else {}
        return {uid for uid, person in people.items() if CONSENT in person.consents}

    async def _shard(self, campaign: UUID, uid: UUID) -> int | None:
        """Where the person's rows are; None when the campaign is forgotten."""
        if campaign not in self._campaigns:
            stored = await self._exchange.store.ledger.campaign(campaign)
            if stored is None:
                return None
            self._campaigns[campaign] = self._root(stored), stored.shards
            if len(self._campaigns) > KNOWN:
                self._campaigns.popitem(last=False)
        root, shards = self._campaigns[campaign]
        return ids.shard_of(self._exchange.key, root, uid, shards)

    def _root(self, campaign: Campaign) -> UUID:
        return ids.campaign_id(self._exchange.key, campaign.spec.parent or campaign.spec.name)


def _result(receipt: Received, mark: Mark) -> Result:
    assert receipt.uid is not None
    assert receipt.delivery is not None
    return Result(
        uid=receipt.uid,
        delivery=receipt.delivery,
        channel=receipt.channel,
        mark=mark,
        at=receipt.at,
        reason=receipt.reason,
        code=receipt.code,
    )
