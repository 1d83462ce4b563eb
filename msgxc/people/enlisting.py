"""A device registers itself: it is put first in its person's list, and leaves whoever had it before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import UUID

from msgspec import structs

from msgxc import ids
from msgxc.endpoint import is_allowed
from msgxc.errors import Forbidden, WrongInput
from msgxc.model import Channel, Device, one_spelling
from msgxc.people import fields
from msgxc.people.tombstones import still_here
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
        found = fields.devices([said])
    except ValueError as error:
        raise WrongInput(str(error)) from None
    if not found:
        raise WrongInput("this subscription is over: its browser has removed it")
    if fields.plain(token) != token:
        raise WrongInput("the token has characters that no token has")
    return found[0]


async def enlist(exchange: Exchange, uid: UUID, device: Device) -> bool:
    """Put the device first in the person's list; whoever is not there comes into being.

    True: somebody else had enlisted it, and has lost it. Raises WrongInput when it is none that we send to,
    Forbidden (erased) when the person was.
    """
    if device.channel is Channel.WEBPUSH and not is_allowed(device.token, push_hosts(exchange)):
        raise WrongInput(
            "the subscription's endpoint is none of a push service on the list (MSGXC_WEBPUSH_HOSTS)"
        )
    now = structs.replace(device, registered=datetime.fromtimestamp(exchange.clock(), UTC))

    def address_of(one: Device) -> bytes:
        return ids.address_hash(exchange.key, one.channel, one.token)

    await still_here(exchange.store, exchange.key, uid)
    moved = await exchange.store.directory.enlist(uid, now, address_of(now), address_of) is not None
    older = structs.replace(now, token=now.token.upper())  # stored before a token had one spelling
    if one_spelling(device.channel, older.token) == now.token != older.token:
        had = await exchange.store.directory.owner(address_of(older))
        if had is not None:
            await exchange.store.directory.prune(had, older.token, None, address_of(older))
            moved = moved or had != uid
    try:
        await still_here(exchange.store, exchange.key, uid)
    except Forbidden:  # erased meanwhile, perhaps before this was written
        await exchange.store.directory.erase([uid])
        raise
    return moved


async def delist(exchange: Exchange, uid: UUID, system: str, token: str) -> bool:
    """Take a device off the person, however it is spelled. `system`: ios or android; "": a browser, whose
    token is its endpoint. False: it was not theirs, and whose it is does not change. Raises WrongInput."""
    channel = OF_SYSTEM.get(system, Channel.WEBPUSH)
    known = native(system, token).token if system else one_spelling(channel, token)
    gone = False
    for one in {token, known, known.upper()}:
        if one_spelling(channel, one) == known:
            address = ids.address_hash(exchange.key, channel, one)
            gone |= await exchange.store.directory.prune(uid, one, None, address)
    return gone


def push_hosts(exchange: Exchange) -> list[str]:
    """The push services that a subscription may name; the sandbox's own where it stands in."""
    hosts = [host.strip().lower() for host in exchange.settings.webpush_hosts.split(",") if host.strip()]
    if Channel.WEBPUSH in exchange.sandboxed:
        from msgxc.sandbox.subscriber import PUSH_ORIGIN

        hosts.append(urlsplit(PUSH_ORIGIN).hostname or "")
    return hosts
