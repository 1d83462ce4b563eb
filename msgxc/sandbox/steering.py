"""What happens to a message is written in its address. Pure, except that it counts tries.

A word at the front of the address steers: of the token (apns, fcm), of the last path segment of the endpoint
(webpush), of the local part (email). A number may follow it at once, and then comes the end or a character
that is neither letter nor digit: `gone`, `gone-17`, `slow250-abc`, `throttled2-x@example.com`. So `gonewest`
and `slowik@example.com` are ordinary addresses.

    gone        dead. apns 410 Unregistered (timestamp: now), fcm 404 UNREGISTERED, webpush 410, sms 21614;
                email accepts it (the bounce comes later)
    goneold     dead since 2019: apns 410 with that timestamp, so that a younger token must not be pruned;
                elsewhere like gone
    bad         malformed. apns BadDeviceToken, fcm INVALID_ARGUMENT, webpush 400, sms 21211, email 400 for
                the whole request
    mismatch    apns DeviceTokenNotForTopic, fcm SENDER_ID_MISMATCH, webpush 403
    slowN       accepted, answered after N ms (1,000 when left out)
    held        accepted, answered once there is a file `release` beside the journal
    throttledN  429 the first N times (1), then accepted; Retry-After: 1 from fcm and webpush
    downN       503 the first N times (for ever when left out), then accepted
    lostN       accepted, then the connection is reset without an answer, the first N times (1)
    toolarge    413 (sms 21617)
    stop        sms 21610
    refuses     our credentials are refused: apns and fcm and webpush 403, sms and email 401
    expiredN    our credentials have expired, the first N times (1): apns 403 ExpiredProviderToken, others 401

Where a word means nothing to a provider, and for every other address, the message is accepted. Times are
counted per delivery and address, in memory: a sandbox that starts again counts anew.

Phone numbers have no letters. A number whose last seven digits are 555CCNN is steered: CC is the word
(10 stop, 11 bad, 12 mismatch, 14 gone, 17 toolarge, 20 throttled, 30 slow, 40 refuses, 41 expired, 50 down,
60 lost, 70 held) and NN its number (00: left out; for slow in tenths of a second). Other codes are accepted,
so the numbers reserved for fiction (555-0100 to 555-0199) are ordinary ones.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum


class Word(StrEnum):
    """What the address asks for; ACCEPT is every ordinary address."""

    ACCEPT = ""
    GONE = "gone"
    GONEOLD = "goneold"
    BAD = "bad"
    MISMATCH = "mismatch"
    SLOW = "slow"
    HELD = "held"
    THROTTLED = "throttled"
    DOWN = "down"
    LOST = "lost"
    TOOLARGE = "toolarge"
    STOP = "stop"
    REFUSES = "refuses"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Steer:
    """A word and the number behind it, None when there is none."""

    word: Word = Word.ACCEPT
    number: int | None = None

    @property
    def delay(self) -> float:
        """How long the answer waits, in seconds; without end: until it is released."""
        if self.word is Word.HELD:
            return math.inf
        return (1000 if self.number is None else self.number) / 1000 if self.word is Word.SLOW else 0.0


ACCEPT = Steer()

#: Words that hold only the first times, and how many times when no number is given (None: for ever).
_COUNTED: dict[Word, int | None] = {Word.THROTTLED: 1, Word.DOWN: None, Word.LOST: 1, Word.EXPIRED: 1}

_CODES = {
    "10": Word.STOP,
    "11": Word.BAD,
    "12": Word.MISMATCH,
    "14": Word.GONE,
    "17": Word.TOOLARGE,
    "20": Word.THROTTLED,
    "30": Word.SLOW,
    "40": Word.REFUSES,
    "41": Word.EXPIRED,
    "50": Word.DOWN,
    "60": Word.LOST,
    "70": Word.HELD,
}

_WORD = re.compile(rf"({'|'.join(sorted((w for w in Word if w), reverse=True))})(\d{{0,9}})(?![A-Za-z0-9])")
_CELL = re.compile(r"555(\d\d)(\d\d)$")


def steer(name: str) -> Steer:
    """The steer of a token, of the last segment of an endpoint, or of an email's local part."""
    if (found := _WORD.match(name)) is None:
        return ACCEPT
    word, digits = found.groups()
    return Steer(Word(word), int(digits) if digits else None)


def steer_cell(number: str) -> Steer:
    """The steer of a phone number, by its last seven digits."""
    if (found := _CELL.search(number)) is None or found[1] not in _CODES:
        return ACCEPT
    word, count = _CODES[found[1]], int(found[2])
    if word is Word.SLOW and count:
        return Steer(word, count * 100)
    return Steer(word, count or None)


@dataclass(slots=True)
class Tries:
    """How often each steered delivery came by. Ordinary addresses leave no trace here."""

    _seen: dict[tuple[str, str], int] = field(default_factory=dict)

    def now(self, wanted: Steer, address: str, delivery: str) -> Steer:
        """What holds this time: `wanted`, or ACCEPT once a counted word has used up its times."""
        if wanted.word not in _COUNTED:
            return wanted
        key = (address, delivery)
        seen = self._seen[key] = self._seen.get(key, 0) + 1
        times = _COUNTED[wanted.word] if wanted.number is None else wanted.number
        return wanted if times is None or seen <= times else ACCEPT
