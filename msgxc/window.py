"""One window, from uids to deliveries that are ready to leave: look, route, render. Pure.

What was read from the store comes in; what is to be sent, and what is already decided, goes out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from msgxc import ids, links
from msgxc.errors import WrongTemplate
from msgxc.ledger import (
    NO_DELIVERY,
    Campaign,
    Intent,
    Mark,
    Result,
    Row,
    may_have_left,
    to_be_sent,
)
from msgxc.model import Channel, Content, Outgoing, Reason, Recipient, Skip, Subscription, Target
from msgxc.routing import Offer, Route, Suppressed, none_suppressed, route
from msgxc.tracking import CONSENT

Render = Callable[[Channel, Recipient], Content]
#: The first deliveries of a sender, by which a template is judged; fewer misfits than several are theirs.
FIRST, SEVERAL = 50, 5


@dataclass(frozen=True, slots=True)
class Look:
    """What the store said about a window's recipients, at one moment.

    `suppressed` answers by ids.address_hash. `rows` are the rows that are already there. `read`: how far
    each has read the message's thread; an acknowledgement of a person, never an open socket.
    """

    uids: Sequence[UUID]
    people: Mapping[UUID, Recipient]
    subscriptions: Mapping[UUID, Subscription]
    suppressed: Mapping[bytes, str]
    rows: Mapping[UUID, Sequence[Row]]
    at: datetime
    read: Mapping[UUID, UUID] = field(default_factory=dict)


@dataclass(slots=True)
class Prepared:
    """A window that is ready: `outgoing` to send, `results` to record as they are; `attempts` and `doubts`
    by delivery, of those that were tried before; `unfit`: what kept the template from being a message."""

    at: datetime
    outgoing: list[Outgoing] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    attempts: dict[UUID, int] = field(default_factory=dict)
    doubts: dict[UUID, int] = field(default_factory=dict)
    unfit: list[str] = field(default_factory=list)

    def intents(self) -> tuple[Intent, ...]:
        """What the window is about to send."""
        attempt = self.attempt
        return tuple(
            [
                Intent(out.uid, out.target.channel, out.delivery, attempt(out.delivery))
                for out in self.outgoing
            ]
        )

    def attempt(self, delivery: UUID) -> int:
        """Which attempt this is, from 1."""
        return self.attempts.get(delivery, 1) if self.attempts else 1


@dataclass(slots=True)
class Fit:
    """How well a template fits the first to whom it is to be sent: one that fits few is sent no further."""

    made: int = 0
    unfit: Counter[str] = field(default_factory=Counter)

    def trouble(self, prepared: Prepared) -> str:
        """Hear of a further window; what a person has to mend, "" while nothing is wrong."""
        if self.made + self.unfit.total() >= FIRST:
            return ""
        self.made += len(prepared.outgoing)
        self.unfit.update(prepared.unfit)
        failed = self.unfit.total()
        if failed < SEVERAL or failed <= self.made:
            return ""
        return f"{self.unfit.most_common(1)[0][0]}: {failed:,} of the first {failed + self.made:,} messages"


@dataclass(frozen=True, slots=True)
class Preparer:
    """Makes windows of one campaign. `unsubscribe` makes a recipient's one-click link, "" for none; `track`
    makes a message tell of opens and clicks, for those who consented to that."""

    key: bytes
    campaign: Campaign
    offer: Offer
    render: Render
    unsubscribe: Callable[[UUID], str]
    ttl: int
    track: Callable[[Content, links.Handle], Content] = lambda content, _: content

    def prepare(self, look: Look) -> Prepared:
        """Decide about everybody in the window."""
        prepared, suppressed = Prepared(look.at), self._suppressed(look)
        for uid in look.uids:
            self._decide(uid, look, suppressed, prepared)
        return prepared

    def _decide(self, uid: UUID, look: Look, suppressed: Suppressed, prepared: Prepared) -> None:
        person = look.people.get(uid)
        rows = {row.delivery: row for row in look.rows.get(uid, ())} if look.rows else {}
        decision = self._route(uid, person, look, suppressed, rows)
        wanted = self._deliveries(uid, decision)
        if rows:
            still = {delivery for delivery, _ in wanted}
            for row in rows.values():
                if row.state is Mark.LATER and row.delivery not in still:
                    prepared.results.append(_superseded(row, decision, look.at))
        if person is None or decision.skip:
            if not rows:
                prepared.results.append(_skipped(uid, decision, look.at))
            return
        self._add(person, wanted, rows, prepared)

    def _route(
        self,
        uid: UUID,
        person: Recipient | None,
        look: Look,
        suppressed: Suppressed,
        rows: Mapping[UUID, Row],
    ) -> Route:
        subscription = look.subscriptions.get(uid) if look.subscriptions else None
        what = self._offer_to(rows) if rows else self.offer
        decision = route(person, what, subscription, suppressed)
        message = self.campaign.spec.message
        if message is None or decision.skip:
            return decision
        if message.into:
            return Route(skip=Skip.JOINED)
        read = look.read.get(uid)
        return Route(skip=Skip.READ) if read and read >= message.newest else decision

    def _offer_to(self, rows: Mapping[UUID, Row]) -> Offer:
        """What is offered: to somebody with no open session, what comes after the websocket."""
        if not any(row.reason == Reason.NOT_ACKNOWLEDGED for row in rows.values()):
            return self.offer
        return replace(
            self.offer, channels=tuple(c for c in self.offer.channels if c is not Channel.WEBSOCKET)
        )

    def _suppressed(self, look: Look) -> Suppressed:
        if not look.suppressed:
            return none_suppressed
        return lambda target: look.suppressed.get(ids.address_hash(self.key, target.channel, target.address))

    def _deliveries(self, uid: UUID, decision: Route) -> list[tuple[UUID, Target]]:
        key, campaign = self.key, self.campaign.id
        return [
            (ids.delivery_id(key, campaign, uid, target.channel, target.address), target)
            for target in decision.targets
        ]

    def _add(
        self,
        person: Recipient,
        wanted: Sequence[tuple[UUID, Target]],
        rows: Mapping[UUID, Row],
        prepared: Prepared,
    ) -> None:
        contents: dict[Channel, Content] = {}
        for delivery, target in wanted:
            row = rows.get(delivery) if rows else None
            if row is not None and not to_be_sent(row, prepared.at):
                continue
            try:
                content = contents.get(target.channel) or self.render(target.channel, person)
            except WrongTemplate as error:
                prepared.results.append(_unrendered(person.uid, delivery, target, error, prepared.at))
                prepared.unfit.append(str(error))
                continue
            contents[target.channel] = content
            if row:
                prepared.attempts[delivery] = row.attempt + 1
                prepared.doubts[delivery] = row.doubts
            prepared.outgoing.append(self._outgoing(person, delivery, target, content))

    def _outgoing(self, person: Recipient, delivery: UUID, target: Target, content: Content) -> Outgoing:
        spec, uid = self.campaign.spec, person.uid
        handle = links.Handle(self.campaign.id, uid, delivery, target.channel)
        return Outgoing(
            delivery=delivery,
            uid=uid,
            target=target,
            content=self.track(content, handle) if CONSENT in person.consents else content,
            urgency=spec.sending.urgency,
            ttl=self.ttl,
            collapse=ids.collapse_id(self.key, spec.message.mid if spec.message else self.campaign.id, uid),
            campaign=spec.name,
            unsubscribe=self.unsubscribe(uid) if target.channel is Channel.EMAIL else "",
            receipt=links.receipt(self.key, handle),
        )


def _skipped(uid: UUID, decision: Route, at: datetime) -> Result:
    return Result(uid, NO_DELIVERY, None, Mark.SKIPPED, at, reason=decision.skip or "")


def _superseded(row: Row, decision: Route, at: datetime) -> Result:
    """A delivery that was put off, and whose address or permission is gone meanwhile.

    One that was in doubt is unknown: it may have been accepted, and nobody will ask again.
    """
    if row.reason == Reason.NOT_ACKNOWLEDGED:
        return Result(row.uid, row.delivery, row.channel, Mark.FAILED, at, reason=row.reason)
    reason = decision.skip or "superseded"
    mark = Mark.UNKNOWN if may_have_left(row) else Mark.SKIPPED
    return Result(row.uid, row.delivery, row.channel, mark, at, reason=reason)


def _unrendered(uid: UUID, delivery: UUID, target: Target, error: WrongTemplate, at: datetime) -> Result:
    return Result(
        uid, delivery, target.channel, Mark.FAILED, at, reason=Reason.TEMPLATE, code=type(error).__name__
    )
