"""Why did, or didn't, somebody get a campaign? The whole decision, for everybody, also those left out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from msgxc import audience, campaigns, ids
from msgxc.campaign import Unreached
from msgxc.errors import NotFound
from msgxc.ledger import Campaign, Row, is_canceled
from msgxc.model import Recipient, Target
from msgxc.people.enlisting import push_hosts
from msgxc.reports.funnel import Standing, standing
from msgxc.routing import Route, offer, route, suppressible
from msgxc.sending import parts_of
from msgxc.wiring import Exchange


@dataclass(frozen=True, slots=True)
class Why:
    """The answer. `left_out`: why somebody is not in the audience. `today`: what routing would say now."""

    campaign: str
    uid: UUID
    standing: Standing | None
    left_out: str
    rows: tuple[Row, ...]
    today: Route
    fallback: Why | None = None

    def lines(self) -> list[str]:
        """The answer in sentences; no address in them."""
        told = [f"{self.campaign}: {self._end()}"]
        for row in sorted(
            self.rows, key=lambda r: min(r.marks.values(), default=datetime.max.replace(tzinfo=UTC))
        ):
            told.append(f"  {row.channel or 'no channel'}: {_history(row)}")
        told += [f"  today {channel} would be turned down: {why}" for channel, why in self.today.turned_down]
        if self.today.targets:
            taken = ", ".join(dict.fromkeys(t.channel for t in self.today.targets))
            told.append(f"  today it would go to: {taken}")
        elif self.today.skip:
            told.append(f"  today it would be skipped: {self.today.skip}")
        if self.fallback:
            told += self.fallback.lines()
        return told

    def fields(self) -> dict[str, object]:
        """The answer for programs: these names stay; no address in it."""
        first = self.standing
        return {
            "campaign": self.campaign,
            "uid": str(self.uid),
            "end": first.end.value if first else None,
            "channel": first.channel.value if first and first.channel else None,
            "reason": (first.reason if first else self.left_out) or None,
            "deliveries": [
                {
                    "channel": row.channel.value if row.channel else None,
                    "marks": {mark.value: at for mark, at in row.marks.items()},
                }
                for row in self.rows
            ],
            "today": list(dict.fromkeys(target.channel.value for target in self.today.targets)),
            "fallback": self.fallback.fields() if self.fallback else None,
        }

    def _end(self) -> str:
        if self.standing is None:
            return f"not in the audience: {self.left_out}"
        where = f" by {self.standing.channel}" if self.standing.channel else ""
        because = f" ({self.standing.reason})" if self.standing.reason else ""
        return f"{self.standing.end}{where}{because}"


def _history(row: Row) -> str:
    marks = ", ".join(f"{mark} {at:%Y-%m-%d %H:%M:%S}" for mark, at in row.marks.items())
    detail = " ".join(filter(None, (row.reason, row.code)))
    return f"{marks}{f' ({detail})' if detail else ''}{f', attempt {row.attempt}' if row.attempt > 1 else ''}"


async def why(exchange: Exchange, name: str, uid: UUID) -> Why:
    """Everything about one person and one campaign. Raises NotFound when there is no such campaign."""
    campaign = await campaigns.campaign_named(exchange, name)
    return await _why(exchange, campaign, uid)


async def _why(exchange: Exchange, campaign: Campaign, uid: UUID) -> Why:
    person = (await exchange.store.directory.get([uid])).get(uid)
    rows = await campaigns.rows_of(exchange, campaign, uid)
    canceled = is_canceled(campaign)
    return Why(
        campaign=campaign.spec.name,
        uid=uid,
        standing=None if rows is None else standing(rows, canceled=canceled),
        left_out="" if rows is not None else await _left_out(exchange, campaign, person, uid),
        rows=tuple(rows or ()),
        today=await _today(exchange, campaign, person, uid),
        fallback=await _fallback(exchange, campaign, uid),
    )


async def _fallback(exchange: Exchange, campaign: Campaign, uid: UUID) -> Why | None:
    try:
        second = await campaigns.campaign_named(exchange, campaign.spec.name + campaigns.FALLBACK)
    except NotFound:
        return None
    return await _why(exchange, second, uid)


async def _left_out(exchange: Exchange, campaign: Campaign, person: Recipient | None, uid: UUID) -> str:
    if person is None:
        return "there is no such person"
    who, now = campaign.spec.audience, datetime.fromtimestamp(exchange.clock(), UTC)
    if isinstance(who.to, Unreached):
        return f"no fallback was owed after {who.to.campaign}"
    for selection in who.exclude:
        if await audience.members(exchange.store, selection, [uid], now):
            return f"excluded ({audience.describe(selection)})"
    if not await audience.members(exchange.store, who.to, [uid], now):
        return f"the campaign is for {audience.describe(who.to)}"
    return "came into the audience's terms after it was sealed" if campaign.seal else "not sealed yet"


async def _today(exchange: Exchange, campaign: Campaign, person: Recipient | None, uid: UUID) -> Route:
    spec, store = campaign.spec, exchange.store
    thread = await store.threads.get(spec.thread) if spec.thread else None
    child = bool(spec.message and spec.message.child)
    message = await store.messages.get(spec.message.tid, spec.message.newest) if spec.message else None
    parts = parts_of(exchange, spec, message)
    what = offer(spec, parts, thread, child=child, push_hosts=push_hosts(exchange))
    targets = suppressible(person, what.channels) if person else []
    keyed = {target: ids.address_hash(exchange.key, target.channel, target.address) for target in targets}
    found = await store.directory.suppressed(list(keyed.values()))
    subscriptions = await store.threads.subscriptions(spec.thread, [uid]) if spec.thread else {}

    def suppressed(target: Target) -> str | None:
        return found.get(keyed[target]) if target in keyed else None

    return route(person, what, subscriptions.get(uid), suppressed)
