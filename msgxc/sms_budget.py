"""What text messages may cost in a day: the exchange's budget, and each thread's, with a hard stop.

Counted in parts (gsm7.segments), which is what providers charge for, when a window is about to leave: before
its intent is written, and once for each delivery, whichever try of it this is. Other channels do not wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgxc.gsm7 import segments
from msgxc.holding import insist
from msgxc.ledger import Campaign, Mark, Result
from msgxc.model import Channel, Outgoing, Skip, Sms

if TYPE_CHECKING:
    from msgxc.window import Prepared
    from msgxc.wiring import Exchange

DAY = 86_400


async def stay_within(exchange: Exchange, campaign: Campaign, prepared: Prepared) -> None:
    """Take out of a window the text messages that no budget is left for: they are skipped as `budget`."""
    fresh = [
        out
        for out in prepared.outgoing
        if out.target.channel is Channel.SMS and prepared.attempt(out.delivery) == 1
    ]
    if not fresh:
        return
    costs = {out.delivery: _cost(out) for out in fresh}
    granted = await _granted(exchange, campaign, sum(costs.values()))
    over, left = set(), granted
    for out in fresh:
        if costs[out.delivery] > left:
            over.add(out.delivery)
        else:
            left -= costs[out.delivery]
    if over:
        await _granted(exchange, campaign, -left)
        prepared.results += [_skipped(out, prepared) for out in fresh if out.delivery in over]
        prepared.outgoing[:] = [out for out in prepared.outgoing if out.delivery not in over]


def _cost(out: Outgoing) -> int:
    return segments(out.content.text) if isinstance(out.content, Sms) else 1


async def _granted(exchange: Exchange, campaign: Campaign, units: int) -> int:
    """How much of that every budget grants; what one of them would not have, the others keep."""
    day, budgets = int(exchange.clock() // DAY), exchange.store.budgets
    granted, taken = units, list[tuple[str, int, int]]()
    for name, limit in _budgets(exchange, campaign):
        got = await insist(budgets.spend, name, day, granted, limit) if granted else 0
        taken.append((name, limit, got))
        granted = got if units > 0 else granted
    for name, limit, got in taken:
        if units > 0 and got > granted:
            await insist(budgets.spend, name, day, granted - got, limit)
    return granted


def _budgets(exchange: Exchange, campaign: Campaign) -> list[tuple[str, int]]:
    """The budgets that a campaign draws on, and their limits: the narrower one first."""
    message, settings = campaign.spec.message, exchange.settings
    of_thread = [(f"sms:{message.tid}", settings.sms_per_thread)] if message else []
    return [(name, limit) for name, limit in [*of_thread, ("sms", settings.sms_per_day)] if limit]


def _skipped(out: Outgoing, prepared: Prepared) -> Result:
    return Result(out.uid, out.delivery, out.target.channel, Mark.SKIPPED, prepared.at, reason=Skip.BUDGET)
