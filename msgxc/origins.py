"""Is it them, or is it us? What the answers of one origin say of our own settings. Pure.

One answer is about one recipient: a browser that subscribed with another key answers 401, a token of another
app "not for this topic". Only when an origin says so of several different recipients, and accepts nobody in
between, it is about us: then nothing is removed, and the origin is left alone for a while. Others go on.
"Not now" is the same question: said of one device among others it is about that device, and costs it a try.
Said of several, and of half of all, it is the origin that throttles: the pace is taken down (`pacing.Flow`),
and nobody is given up by count: then it is time that counts.

The words: RFC 8292 section 4.2; Apple, "Handling notification responses"; Firebase, "ErrorCode".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from uuid import UUID

from msgxc.model import DEVICE_CHANNELS, Channel, Outcome, Outgoing, Reason, Receipt, Target
from msgxc.pacing import Flow

#: So many different recipients refused since the last acceptance: the origin refuses us, not them.
SEVERAL = 5
#: So many of whom it says that they are gone or not ours, and none accepted: that is no news about them.
MANY = 20
#: Seconds for which an origin that refuses us is left alone, doubled each time, and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0
#: Seconds: since somebody throttled everybody, nobody is given up for so long; but for one who accepts nobody
#: all day. And for so long a pause is waited for, with the window in hand.
AFTERWARDS, ALL_DAY, AWAITED = 3600.0, 86_400.0, 60.0
#: What makes no sense of all recipients alike: then our topic, key or project is another one than theirs.
_NOT_OURS = frozenset({Reason.MISMATCH, Reason.INVALID_ADDRESS})
#: Under these reasons a delivery waits until it is known whether it is about its recipient or about us.
OF_US_OR_THEM = frozenset({Reason.CREDENTIALS, Reason.UNREGISTERED, *_NOT_OURS})
#: What to look at, by channel: when our credentials are refused, and when everybody is somebody else's.
_SETTINGS: Mapping[Channel, tuple[str, str]] = {
    Channel.APNS: (
        "MSGXC_APNS_KEY, MSGXC_APNS_KEY_ID and MSGXC_APNS_TEAM_ID",
        "MSGXC_APNS_TOPIC and MSGXC_APNS_DEVELOPMENT",
    ),
    Channel.FCM: ("MSGXC_FCM_SERVICE_ACCOUNT", "MSGXC_FCM_SERVICE_ACCOUNT"),
    Channel.WEBPUSH: ("MSGXC_VAPID_PRIVATE_KEY and MSGXC_VAPID_CONTACT", "MSGXC_VAPID_PRIVATE_KEY"),
    Channel.SMS: (
        "MSGXC_TWILIO_ACCOUNT_SID, MSGXC_TWILIO_AUTH_TOKEN and MSGXC_TWILIO_FROM",
        "MSGXC_TWILIO_FROM",
    ),
    Channel.EMAIL: ("MSGXC_SENDGRID_API_KEY and MSGXC_EMAIL_FROM", "MSGXC_EMAIL_FROM"),
}


def may_be_ours(receipt: Receipt, channel: Channel) -> bool:
    """Whether an answer, if all recipients got it, would be about our settings. What we refuse ourselves has
    no code, and is about the recipient."""
    if receipt.outcome is Outcome.BLOCKED:
        return True
    if receipt.outcome is Outcome.DEAD:
        return channel in DEVICE_CHANNELS and bool(receipt.code)
    return receipt.outcome is Outcome.REFUSED and receipt.reason is Reason.MISMATCH and bool(receipt.code)


@dataclass(slots=True)
class Origin:
    """One push service or provider, as its answers show it. Times are seconds of a clock that only grows."""

    channel: Channel
    place: str = ""  # the push service's, "" where a channel has one provider
    proven: bool = False  # it has accepted something: topic, key and project are right
    refused: set[UUID] = field(default_factory=set)  # recipients, since the last acceptance
    strange: set[UUID] = field(default_factory=set)  # gone, or not ours, since the last acceptance
    until: float = 0.0  # left alone until then
    code: str = ""  # by which it refuses us; "" when it does not
    _pauses: int = 0
    flow: Flow = field(default_factory=Flow)
    throttled: set[UUID] = field(default_factory=set)  # recipients, since it last took nearly all
    late: int = 0  # deliveries that it throttled meanwhile, and
    taken: int = 0  # those that it accepted
    _throttles: float | None = None  # when it last throttled everybody
    _starves: float | None = None  # since when it has done so, and accepted nobody

    def hear(self, said: Iterable[tuple[UUID, Receipt]], now: float) -> None:
        """What it has answered about these recipients, together."""
        said = list(said)
        accepted = sum(receipt.outcome is Outcome.ACCEPTED for _, receipt in said)
        self._hear_of_pace(said, accepted, now)
        if accepted:
            self.accept()
            return
        for uid, receipt in said:
            if may_be_ours(receipt, self.channel):
                known = self.refused if receipt.outcome is Outcome.BLOCKED else self.strange
                if len(known) < MANY:
                    known.add(uid)
                if self.is_ours:
                    self._close(receipt.code or str(receipt.reason), now)

    def _hear_of_pace(self, said: Sequence[tuple[UUID, Receipt]], accepted: int, now: float) -> None:
        late = [(uid, receipt) for uid, receipt in said if receipt.reason is Reason.THROTTLED]
        if 10 * len(late) <= accepted:
            if accepted:
                self.keep_pace(accepted, now)
            return
        if self.late + self.taken > 10 * MANY:
            self.late, self.taken = self.late // 2, self.taken // 2
        self.late, self.taken = self.late + len(late), self.taken + accepted
        if len(self.throttled) < MANY:
            self.throttled.update(uid for uid, _ in late)
        if len(self.throttled) >= SEVERAL and self.late >= self.taken:
            self._throttles = now
            self._starves = None if accepted else now if self._starves is None else self._starves
            self.flow.throttled(now, max(receipt.retry_after or 0.0 for _, receipt in late), accepted)

    def keep_pace(self, accepted: int, now: float) -> None:
        """It has taken so many, and throttled nobody, or hardly anybody."""
        self.flow.accepted(accepted, now)
        self._starves = None
        if self.throttled:
            self.throttled.clear()
            self.late = self.taken = 0

    def spares(self, now: float) -> bool:
        """Whether nobody is given up now, however often they were tried: it throttles everybody, or has done
        so shortly before, and it is not for a whole day that it has accepted nobody."""
        if self._throttles is None or now - self._throttles > AFTERWARDS:
            return False
        return self._starves is None or now - self._starves < ALL_DAY

    def accept(self) -> None:
        """It has accepted something: what it said of others was about them."""
        self.proven = True
        if self.code or self.refused or self.strange:
            self.code, self.until, self._pauses = "", 0.0, 0
            self.refused.clear()
            self.strange.clear()

    @property
    def is_ours(self) -> bool:
        """Whether what it says is about us. Settings that were right once in this process stay right."""
        return len(self.refused) >= SEVERAL or (not self.proven and len(self.strange) >= MANY)

    def weighed(self, receipt: Receipt, attempt: int) -> Receipt:
        """The receipt as far as it can be believed of its recipient: put off while it may be about us.

        Where nothing has been accepted, "gone" has to be said twice; "not ours" is not believed at all while
        it is said of everybody.
        """
        if self.proven or receipt.outcome is Outcome.BLOCKED or not may_be_ours(receipt, self.channel):
            return receipt
        if attempt >= 2 and (not self.is_ours or receipt.reason not in _NOT_OURS):
            return receipt
        return Receipt(Outcome.LATER, receipt.reason, receipt.code)

    def may_prune(self, receipt: Receipt) -> bool:
        """Whether a dead device is to be removed: not on what an origin says of everybody alike."""
        if len(self.strange) >= MANY:
            return False
        return self.proven or not receipt.code or receipt.reason not in _NOT_OURS

    @property
    def suspect(self) -> bool:
        """Nobody was ever accepted, and somebody refused: with few recipients one will not know more."""
        return bool(self.refused) and not self.proven

    @property
    def trouble(self) -> str:
        """What a person has to look at; "" while nothing is wrong."""
        if not self.code and not self.suspect:
            return ""
        refuses = len(self.refused) >= SEVERAL or not self.code
        where = f" of {self.place}" if self.place else ""
        credentials, topic = _SETTINGS.get(self.channel, ("", ""))
        if refuses:
            return (
                f"{self.channel}: the provider refuses our credentials{where} ({self.code or 'each time'}): "
                f"look at {credentials}"
            )
        return (
            f"{self.channel}: everybody{where} is said to be gone or not ours ({self.code}), and nobody "
            f"was accepted: look at {topic}. No device was removed"
        )

    def _close(self, code: str, now: float) -> None:
        self.code = code
        if now >= self.until:
            self.until = now + min(FIRST_PAUSE * 2.0**self._pauses, LONGEST_PAUSE)
            self._pauses = min(self._pauses + 1, 16)


class Origins:
    """All origins that one sender has met."""

    def __init__(self) -> None:
        self._known: dict[tuple[Channel, str], Origin] = {}
        self.any_closed = self.any_paced = False

    def of(self, target: Target) -> Origin:
        """Where this address belongs."""
        channel = target.channel
        return self._at(channel, _push_service(target.address) if channel is Channel.WEBPUSH else "")

    def _at(self, channel: Channel, place: str) -> Origin:
        found = self._known.get((channel, place))
        if found is None:
            found = self._known[channel, place] = Origin(channel, place)
        return found

    def hear(self, said: Iterable[tuple[Target, UUID, Receipt]], now: float) -> None:
        """What came of one call."""
        apart: dict[int, tuple[Origin, list[tuple[UUID, Receipt]]]] = {}
        for target, uid, receipt in said:
            one = self.of(target)
            apart.setdefault(id(one), (one, []))[1].append((uid, receipt))
        for one, answers in apart.values():
            one.hear(answers, now)
        self._look()

    def accepted_by(self, targets: Sequence[Target], now: float) -> None:
        """All that a call sent to these addresses of one channel was accepted."""
        for one, units in self._apart(targets):
            one.keep_pace(units, now)
            one.accept()
        if self.any_closed or self.any_paced:
            self._look()

    def _apart(self, targets: Sequence[Target]) -> list[tuple[Origin, int]]:
        """Whose these addresses of one channel are, and how many of them."""
        if targets[0].channel is not Channel.WEBPUSH:
            return [(self.of(targets[0]), len(targets))]
        places = Counter([_push_service(target.address) for target in targets])
        return [(self._at(Channel.WEBPUSH, place), units) for place, units in places.items()]

    def _look(self) -> None:
        self.any_closed = any(one.code for one in self._known.values())
        self.any_paced = any(one.flow.rate < inf for one in self._known.values())

    @property
    def troubles(self) -> list[str]:
        """What a person has to look at."""
        return [one.trouble for one in self._known.values() if one.code]

    @property
    def suspects(self) -> list[str]:
        """What a person has to look at if nothing more is to be learnt."""
        return [one.trouble for one in self._known.values() if one.suspect]

    def closed(self, target: Target, now: float) -> tuple[float, Reason]:
        """Seconds for which this address is not to be sent to, because its origin refuses us or throttles
        everybody; 0: none."""
        if not (self.any_closed or self.any_paced):
            return 0.0, Reason.THROTTLED
        one = self.of(target)
        if one.code and one.until > now:
            return one.until - now, Reason.CREDENTIALS
        return max(0.0, one.flow.until - now), Reason.THROTTLED

    def pause(self, target: Target, now: float) -> float:
        """Seconds for which its origin, who throttles everybody, is waited for; one who asks for longer than
        a minute is not."""
        pause = self.of(target).flow.until - now
        return pause if 0 < pause <= AWAITED else 0.0

    def pace(self, outgoing: Iterable[Outgoing], now: float) -> float:
        """Seconds to wait before these are sent, to origins that have throttled; they are counted as sent."""
        if not self.any_paced:
            return 0.0
        units = Counter([id(self.of(out.target)) for out in outgoing])
        return max(one.flow.wait(units[id(one)], now) for one in self._known.values() if id(one) in units)

    def refuse_all(self, channels: Iterable[Channel]) -> bool:
        """Whether none of these channels is left. A web push channel may have a further push service."""
        known = [self._known.get((channel, "")) for channel in channels]
        return bool(known) and all(one and one.code for one in known)


def _push_service(endpoint: str) -> str:
    """Scheme and host of a subscription."""
    return endpoint[: endpoint.find("/", len("https://"))].lower()
