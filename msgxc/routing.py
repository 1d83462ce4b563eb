"""Who gets a message, on which channels, or for which one reason not. Pure.

    thread's channels ∩ recipient's channels for the thread ∩ recipient's channels   (none said: all)
    in the campaign's order of preference, of those that the template has a part for

`~` anywhere means nothing at all: an empty set here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from msgspec import Struct

from msgxc.campaign import CampaignSpec, FallbackWhen, Purpose, Spread
from msgxc.endpoint import is_allowed
from msgxc.model import DEVICE_CHANNELS, Channel, Recipient, Skip, Subscription, Target, Thread, one_spelling

#: Answers why an address is suppressed; None: it is not.
Suppressed = Callable[[Target], str | None]
#: The channels whose addresses can be suppressed; a dead device is pruned instead.
SUPPRESSIBLE = frozenset({Channel.EMAIL, Channel.SMS})


@dataclass(frozen=True, slots=True)
class Offer:
    """What a campaign offers, the same for everybody; made once."""

    channels: tuple[Channel, ...]  # in order of preference
    purpose: Purpose
    spread: Spread = Spread.FIRST
    disabled: bool = False  # the thread's channels are `~`, or it is archived
    push_hosts: tuple[str, ...] | None = None  # the push services that are sent to; None: all


class Route(Struct, frozen=True, gc=False):
    """Where the message goes, or why not. `turned_down`: each channel that was not taken, and its reason."""

    targets: tuple[Target, ...] = ()
    skip: Skip | None = None
    turned_down: tuple[tuple[Channel, str], ...] = ()


def offer(
    spec: CampaignSpec,
    parts: Collection[Channel],
    thread: Thread | None = None,
    *,
    child: bool = False,
    push_hosts: Iterable[str] | None = None,
) -> Offer:
    """What `spec` offers with a template that has `parts`; `child`: an answer to an earlier message."""
    own = None if thread is None else thread.child_channels if child else thread.channels
    disabled = thread is not None and (thread.archived or own == frozenset())
    allowed = thread.fallback if thread and spec.parent else own  # A fallback has channels of its own.
    return Offer(
        channels=tuple(c for c in spec.sending.channels if c in parts and _allows(allowed, c)),
        purpose=spec.sending.purpose,
        spread=spec.sending.spread,
        disabled=disabled,
        push_hosts=None if push_hosts is None else tuple(push_hosts),
    )


def fallback_channels(
    spec: CampaignSpec, thread: Thread | None, parts: Collection[Channel] | None = None
) -> tuple[Channel, ...]:
    """The channels of a campaign's fallback: the form's, of those that its thread allows for it, and not
    those on which everybody was just tried. `parts`: what the campaign's template has; None: not known."""
    allowed = None if thread is None else thread.fallback
    offered = [c for c in spec.sending.channels if parts is None or c in parts]
    all_tried = spec.message is None and (len(offered) == 1 or spec.sending.spread is Spread.EVERY)
    # Another message to those who had the first one is a reminder, and may go where that went.
    reminds = spec.fallback.when is FallbackWhen.UNCONFIRMED and spec.fallback.template not in (
        "",
        spec.template,
    )
    tried = offered if all_tried and not reminds else []
    return tuple(c for c in spec.fallback.channels if c not in tried and (allowed is None or c in allowed))


def addresses(recipient: Recipient, channel: Channel) -> tuple[Target, ...]:
    """Every address of the recipient on one channel, each once in whichever spelling, the device registered
    last first."""
    if channel in DEVICE_CHANNELS:
        own = [device for device in recipient.devices if device.channel is channel]
        if len(own) == 1:
            return (Target(channel, own[0].token, own[0]),)
        devices = {one_spelling(channel, device.token): device for device in own}
        newest = sorted(devices.values(), key=lambda d: d.registered, reverse=True)
        return tuple(Target(channel, d.token, d) for d in newest)
    if channel is Channel.EMAIL:
        return (Target(channel, recipient.email),) if recipient.email else ()
    if channel is Channel.SMS:
        return (Target(channel, recipient.cell),) if recipient.cell else ()
    return (Target(channel, str(recipient.uid)),)


def none_suppressed(_: Target) -> None:
    """Suppressed: none is."""


def suppressible(recipient: Recipient, channels: Iterable[Channel]) -> list[Target]:
    """The addresses that have to be looked up in the suppression list before routing."""
    return [t for c in channels if c in SUPPRESSIBLE for t in addresses(recipient, c)]


def route(
    recipient: Recipient | None,
    what: Offer,
    subscription: Subscription | None = None,
    suppressed: Suppressed = none_suppressed,
) -> Route:
    """The decision for one recipient."""
    if recipient is None:
        return Route(skip=Skip.ERASED)
    if skip := _refused(recipient, what, subscription):
        return Route(skip=skip)
    turned_down: list[tuple[Channel, str]] = []
    found: list[tuple[Target, ...]] = []
    for channel in what.channels:
        targets, why = _look(recipient, channel, subscription, suppressed, what.push_hosts)
        if why:
            turned_down.append((channel, why))
        else:
            found.append(targets)
    if not found:
        return Route(skip=_strongest(turned_down), turned_down=tuple(turned_down))
    targets = tuple(chain.from_iterable(found)) if what.spread is Spread.EVERY else found[0]
    return Route(targets=targets, turned_down=tuple(turned_down))


def _refused(recipient: Recipient, what: Offer, subscription: Subscription | None) -> Skip | None:
    if what.disabled:
        return Skip.THREAD_DISABLED
    if recipient.channels == frozenset():
        return Skip.MUTED
    if subscription is not None and subscription.channels == frozenset():
        return Skip.THREAD_MUTED
    if what.purpose is not Purpose.SERVICE and what.purpose not in recipient.consents:
        return Skip.NO_CONSENT
    return None


def _look(
    recipient: Recipient,
    channel: Channel,
    subscription: Subscription | None,
    suppressed: Suppressed,
    push_hosts: tuple[str, ...] | None,
) -> tuple[tuple[Target, ...], str]:
    """The live addresses on a channel, or the reason why it is turned down."""
    wanted = subscription.channels if subscription else None
    if not _allows(recipient.channels, channel) or not _allows(wanted, channel):
        return (), Skip.CHANNEL_OFF
    targets = addresses(recipient, channel)
    if channel is Channel.WEBPUSH and push_hosts is not None:
        targets = tuple(target for target in targets if is_allowed(target.address, push_hosts))
    if not targets:
        return (), Skip.NO_ADDRESS
    live = targets if channel not in SUPPRESSIBLE else tuple(t for t in targets if not suppressed(t))
    return (live, "") if live else ((), Skip.SUPPRESSED)


#: Of several reasons, the one that came closest to a delivery is the recipient's.
_CLOSENESS: Mapping[str, int] = {Skip.CHANNEL_OFF: 0, Skip.NO_ADDRESS: 1, Skip.SUPPRESSED: 2}


def _strongest(turned_down: list[tuple[Channel, str]]) -> Skip:
    reasons = [why for _, why in turned_down]
    return Skip(max(reasons, key=_CLOSENESS.__getitem__, default=Skip.CHANNEL_OFF))


def _allows(channels: Collection[Channel] | None, channel: Channel) -> bool:
    return channels is None or channel in channels
