"""A device registers itself: it is put first in its person's list, and leaves whoever had it before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import UUID

from msgspec import structs

from msgxc import ids
from msgxc.errors import WrongInput
from msgxc.model import Channel, Device
from msgxc.people import fields
from msgxc.providers.endpoint import is_allowed
from msgxc.wiring import Exchange

OF_SYSTEM = {"ios": Channel.APNS, "android": Channel.FCM}


def native(system: str, token: str) -> Device:
    """A phone's token. Raises WrongInput for one that no push service gives out."""
    return _device({"channel": OF_SYSTEM[system], "token": token}, token)


def browser(endpoint: str, keys: Mapping[str, str]) -> Device:
    """A browser's subscription. Raises WrongInput for an endpoint or keys that no browser gives out."""
    return _device({"endpoint": endpoint, "keys": dict(keys)}, endpoint)


def _device(said: dict[str, object], token: str) -> Device:
    try:
        (device,) = fields.devices([said])
    except ValueError as error:
        raise WrongInput(str(error)) from None
    if device.token != token:
        raise WrongInput("the token has characters that no token has")
    return device


async def enlist(exchange: Exchange, uid: UUID, device: Device) -> bool:
    """Put the device first in the person's list; whoever is not there comes into being.

    True: somebody else had enlisted it, and has lost it. Raises WrongInput when its push service is none that
    we send to.
    """
    if device.channel is Channel.WEBPUSH and not is_allowed(device.token, push_hosts(exchange)):
        raise WrongInput("the subscription's push service is not on the list (MSGXC_WEBPUSH_HOSTS)")
    now = structs.replace(device, registered=datetime.fromtimestamp(exchange.clock(), UTC))
    address = ids.address_hash(exchange.key, device.channel, device.token)
    return await exchange.store.directory.enlist(uid, now, address) is not None


def push_hosts(exchange: Exchange) -> list[str]:
    """The push services that a subscription may name; the sandbox's own where it stands in."""
    hosts = [host.strip().lower() for host in exchange.settings.webpush_hosts.split(",") if host.strip()]
    if Channel.WEBPUSH in exchange.sandboxed:
        from msgxc.sandbox.subscriber import PUSH_ORIGIN

        hosts.append(urlsplit(PUSH_ORIGIN).hostname or "")
    return hosts
