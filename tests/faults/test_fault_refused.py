"""Fault 35: one recipient for whom a provider refuses us, and a provider that refuses us for everybody."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest
from fault_front import front, honest
from fault_world import PATIENCE, World, crowd, device, on_sqlite, person

from msgxc import campaigns
from msgxc.errors import ProviderBlocked
from msgxc.ledger import Mark
from msgxc.model import Channel, Reason
from msgxc.reports.funnel import End
from msgxc.sandbox.wire import Answer, Handler, Request, Response, as_json

pytestmark = on_sqlite

#: What push services answer for a subscription that was made with another key.
NAMED = {
    "mozilla": as_json(401, {"code": 401, "errno": 109, "message": "VAPID public key mismatch"}),
    "google": Response(
        403,
        (),
        b"the key in the authorization header does not correspond to the sender ID "
        b"used to subscribe this user. Please ensure you are using the correct sender ID",
    ),
    "google, as it was": Response(
        403,
        (),
        b"the VAPID credentials in the authorization header do not "
        b"correspond to the credentials used to create the subscriptions.",
    ),
    "apple": as_json(403, {"reason": "VapidPkHashMismatch"}),
    "apple, since": as_json(400, {"reason": "VapidPkHashMismatch"}),
}


def to_some(word: str, answer: Response) -> Callable[[Request, float, Handler], Answer]:
    """A provider that answers so wherever this word stands in the path."""

    def spoil(request: Request, now: float, real: Handler) -> Answer:
        return Answer(answer) if word in request.path else real(request, now)

    return spoil


@pytest.mark.parametrize("who", NAMED)
async def test_40_one_browser_with_another_key(world: World, who: str) -> None:
    """A subscription that was made with another key fails as that; everybody else gets it, on every channel,
    in the same run, and nobody is asked twice."""
    others = [*crowd(60, Channel.WEBPUSH), *crowd(20)]
    stranger = crowd(1, Channel.WEBPUSH, "stranger")[0]
    what = await world.campaign("other-key", [stranger, *others])
    async with front(world, Channel.WEBPUSH, to_some("stranger", NAMED[who])):
        await asyncio.wait_for(world.send(what), PATIENCE)
    assert set(world.ground.by_person().values()) == {1}
    assert set(world.ground.by_person()) == {p.uid for p in others}
    report = await campaigns.report(world.exchange, what.name)
    assert report.ends == {End.REACHED: 80, End.FAILED: 1}
    assert [reason for _, reason, _ in report.errors] == [Reason.MISMATCH]


@pytest.mark.parametrize("channel", [Channel.APNS, Channel.FCM, Channel.WEBPUSH])
async def test_40_one_device_for_which_we_are_refused(world: World, channel: Channel) -> None:
    """A provider that refuses our credentials for one device alone: that one is tried a few times and has
    failed, everybody else gets it in the same run."""
    others = [*crowd(60, channel), *[person(email=f"m{n}@example.com") for n in range(5)]]
    stranger = crowd(1, channel, "refuses")[0]
    what = await world.campaign("refused", [stranger, *others], channels=(channel, Channel.EMAIL))
    await asyncio.wait_for(world.send(what), PATIENCE)
    assert set(world.ground.by_person()) == {p.uid for p in others}
    report = await campaigns.report(world.exchange, what.name)
    assert report.ends == {End.REACHED: 65, End.FAILED: 1}
    assert [reason for _, reason, _ in report.errors] == [Reason.CREDENTIALS]
    kept = await world.exchange.store.directory.get([stranger.uid])
    assert kept[stranger.uid].devices == stranger.devices


async def test_40_a_channel_that_refuses_us_stops_no_other(world: World) -> None:
    """All browsers are refused: iPhones and emails get theirs first; then the run ends with the setting to
    look at. Started again when it is in order, the others get theirs, once."""
    browsers = crowd(40, Channel.WEBPUSH)
    others = [*crowd(60), *[person(email=f"n{n}@example.com") for n in range(20)]]
    channels = (Channel.APNS, Channel.WEBPUSH, Channel.EMAIL)
    what = await world.campaign("one-channel", [*browsers, *others], channels=channels)
    async with front(world, Channel.WEBPUSH, to_some("", as_json(403, {}))) as provider:
        with pytest.raises(ProviderBlocked, match=r"webpush: the provider refuses our .*MSGXC_VAPID"):
            await asyncio.wait_for(world.send(what), PATIENCE)
        assert set(world.ground.by_person()) == {p.uid for p in others}
        assert len(provider.requests) <= world.settings.in_flight + world.settings.window
        provider.spoil = honest
        await asyncio.wait_for(world.send(what), PATIENCE)
        await world.judge(what, [*browsers, *others])


@pytest.mark.parametrize("answer", ["mismatch", "gone"])
async def test_40_what_is_true_of_everybody_prunes_nobody(world: World, answer: str) -> None:
    """120 devices "not for this topic" (or gone), and nobody accepted: no device is deleted, nobody has
    failed, and the run ends with the setting to look at. With the right one everybody gets it."""
    people = crowd(120)
    what = await world.campaign("wrong-topic", people)
    said = {
        "mismatch": as_json(400, {"reason": "DeviceTokenNotForTopic"}),
        "gone": as_json(410, {"reason": "Unregistered", "timestamp": 1893456000000}),
    }[answer]
    async with front(world, Channel.APNS, to_some("", said)) as provider:
        with pytest.raises(ProviderBlocked, match=re.escape("MSGXC_APNS_TOPIC")):
            await asyncio.wait_for(world.send(what), PATIENCE)
        kept = await world.exchange.store.directory.get([p.uid for p in people])
        assert all(kept[p.uid].devices == p.devices for p in people)
        assert not [row for row in await world.rows(what) if row.state is Mark.FAILED]
        assert len(provider.requests) < 60
        provider.spoil = honest
        await asyncio.wait_for(world.send(what), PATIENCE)
        await world.judge(what, people)


async def test_40_two_people_and_wrong_credentials(world: World) -> None:
    """A first campaign to two people, whose provider refuses us each time: after three tries it ends with the
    setting to look at, and does not try for an hour. Put right, both get it, once."""
    people = crowd(2)
    what = await world.campaign("first", people)
    refused = as_json(403, {"reason": "InvalidProviderToken"})
    async with front(world, Channel.APNS, to_some("", refused)) as provider:
        with pytest.raises(ProviderBlocked, match=re.escape("MSGXC_APNS_KEY")):
            await asyncio.wait_for(world.send(what), PATIENCE)
        assert len(provider.requests) == 6
        provider.spoil = honest
        await asyncio.wait_for(world.send(what), PATIENCE)
        await world.judge(what, people)


async def test_40_a_few_dead_devices_are_pruned_all_the_same(world: World) -> None:
    """Nobody but two people whose devices are gone: said twice, it is believed, and the devices go."""
    gone = [person(device(Channel.APNS, "gone-a1")), person(device(Channel.FCM, "gone-b1"))]
    what = await world.campaign("few", gone)
    await asyncio.wait_for(world.send(what), PATIENCE)
    kept = await world.exchange.store.directory.get([p.uid for p in gone])
    assert all(kept[p.uid].devices == () for p in gone)
    report = await campaigns.report(world.exchange, what.name)
    assert report.ends == {End.FAILED: 2}
