"""What follows from a provider's answer: settle, prune, suppress, try later, stop. Pure.

Adapters classify (providers/*), this module decides, the delivery engine obeys.
"""

from __future__ import annotations

from random import Random

from msgspec import Struct

from msgxc.campaign import InDoubt
from msgxc.ledger import Mark
from msgxc.model import Channel, Outcome, Reason, Receipt

FIRST_WAIT = 1.0  # seconds before the second try, doubled for each one after
LONGEST_WAIT = 300.0
#: FCM asks for at least 10 s before the first retry of a 500 or 503 (Firebase, "Handle retries").
FIRST_WAIT_OF = {Channel.FCM: 10.0}


class Next(Struct, frozen=True, gc=False):
    """`mark` is recorded. `wait` (LATER only): seconds until the next try.

    prune: the address is dead. suppress: nothing may be sent to it any more. halt: the provider refuses us
    altogether, a person has to act.
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
    """Whether a delivery in doubt is marked unknown, rather than sent again: SMS unless told otherwise."""
    if policy is InDoubt.DEFAULT:
        return channel is Channel.SMS
    return policy is InDoubt.HOLD


def follow(
    receipt: Receipt, channel: Channel, *, attempt: int, attempts: int, policy: InDoubt, chance: Random
) -> Next:
    """What to do after the `attempt`-th answer (from 1) of at most `attempts`."""
    reason = receipt.reason or ""
    match receipt.outcome:
        case Outcome.ACCEPTED:
            return _ACCEPTED
        case Outcome.REFUSED:
            return Next(Mark.FAILED, reason, suppress=receipt.reason is Reason.STOPPED)
        case Outcome.DEAD:
            return Next(Mark.FAILED, reason, prune=True)
        case Outcome.BLOCKED:
            return Next(Mark.LATER, reason, halt=True)
        case Outcome.DOUBT if holds(policy, channel):
            return Next(Mark.UNKNOWN, reason)
    if attempt >= attempts:
        in_doubt = receipt.outcome is Outcome.DOUBT
        return Next(Mark.UNKNOWN, reason) if in_doubt else Next(Mark.FAILED, Reason.EXPIRED)
    return Next(Mark.LATER, reason, wait=_wait(receipt, channel, attempt, chance))


def _wait(receipt: Receipt, channel: Channel, attempt: int, chance: Random) -> float:
    """Exponential backoff with jitter; never shorter than what the provider asked for."""
    first = FIRST_WAIT_OF.get(channel, FIRST_WAIT) if receipt.reason is Reason.UNAVAILABLE else FIRST_WAIT
    backoff: float = min(LONGEST_WAIT, first * 2.0 ** min(attempt - 1, 20))
    return max(backoff, receipt.retry_after or 0.0) * (1 + chance.random() / 4)
