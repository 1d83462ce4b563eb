"""What follows from a provider's answer: settle, prune, suppress, try later, stop. Pure.

Adapters classify (providers/*), this module decides, the delivery engine obeys.
"""

from __future__ import annotations

from random import Random

from msgspec import Struct

from msgxc.campaign import InDoubt
from msgxc.ledger import Mark
from msgxc.model import Channel, Outcome, Reason, Receipt
from msgxc.origins import OF_US_OR_THEM

FIRST_WAIT = 1.0  # seconds before the second try, doubled for each one after
LONGEST_WAIT = 300.0
#: FCM asks for at least 10 s before the first retry of a 500 or 503 (Firebase, "Handle retries").
FIRST_WAIT_OF = {Channel.FCM: 10.0}
#: So many doubts a delivery may have and be sent again: after a lost answer, and after a crash.
DOUBTS, DOUBTS_BY_CRASH = 1, 2


class Next(Struct, frozen=True, gc=False):
    """`mark` is recorded. `wait` (LATER only): seconds until the next try.

    prune: the address is dead. suppress: nothing may be sent to it any more. halt: the answer may be about
    us; msgxc/origins.py judges, from the answers of several recipients.
    """

    mark: Mark
    reason: str = ""
    wait: float = 0.0
    prune: bool = False
    suppress: bool = False
    halt: bool = False

    @property
    def special(self) -> bool:
        """Whether there is more to do than to record the mark."""
        return self.prune or self.suppress or self.halt


_ACCEPTED = Next(Mark.ACCEPTED)


def holds(policy: InDoubt, channel: Channel) -> bool:
    """Whether what a killed process left in doubt is marked unknown, rather than sent again: SMS unless told
    otherwise."""
    if policy is InDoubt.DEFAULT:
        return channel is Channel.SMS
    return policy is InDoubt.HOLD


def _holds_unanswered(policy: InDoubt, channel: Channel, receipt: Receipt) -> bool:
    """Whether a lost answer is held: also of email, where a repeat replaces nothing, and where one request
    carries many. A server error is an answer, and email is asked once more after it."""
    if policy is InDoubt.DEFAULT and channel is Channel.EMAIL:
        return receipt.reason is not Reason.UNAVAILABLE
    return holds(policy, channel)


def follow(
    receipt: Receipt,
    channel: Channel,
    *,
    attempt: int,
    attempts: int,
    policy: InDoubt,
    chance: Random,
    doubts: int = 0,
    elsewhere: bool = False,
    spared: bool = False,
) -> Next:
    """What to do after the `attempt`-th answer (from 1) of at most `attempts`. `doubts`: how often this
    delivery was in doubt before. `elsewhere`: another channel takes over if the person is not on this one.
    `spared`: its provider throttles everybody, so that nobody is given up by count."""
    reason = receipt.reason or ""
    match receipt.outcome:
        case Outcome.ACCEPTED:
            return _ACCEPTED
        case Outcome.REFUSED if receipt.reason is Reason.NOT_ACKNOWLEDGED and elsewhere:
            return Next(Mark.LATER, reason)
        case Outcome.REFUSED:
            return Next(Mark.FAILED, reason, suppress=receipt.reason is Reason.STOPPED)
        case Outcome.DEAD:
            return Next(Mark.FAILED, reason, prune=True)
        case Outcome.DOUBT if doubts >= DOUBTS or _holds_unanswered(policy, channel, receipt):
            return Next(Mark.UNKNOWN, reason)
    halt = receipt.outcome is Outcome.BLOCKED
    if attempt >= attempts and not spared:
        if receipt.outcome is Outcome.DOUBT or doubts:
            return Next(Mark.UNKNOWN, reason, halt=halt)
        return Next(Mark.FAILED, reason if receipt.reason in OF_US_OR_THEM else Reason.EXPIRED, halt=halt)
    tries = 1 if spared and receipt.reason is Reason.THROTTLED else attempt
    return Next(Mark.LATER, reason, wait=_wait(receipt, channel, tries, chance), halt=halt)


def _wait(receipt: Receipt, channel: Channel, attempt: int, chance: Random) -> float:
    """Exponential backoff with jitter; never shorter than what the provider asked for."""
    first = FIRST_WAIT_OF.get(channel, FIRST_WAIT) if receipt.reason is Reason.UNAVAILABLE else FIRST_WAIT
    backoff: float = min(LONGEST_WAIT, first * 2.0 ** min(attempt - 1, 20))
    return max(backoff, receipt.retry_after or 0.0) * (1 + chance.random() / 4)
