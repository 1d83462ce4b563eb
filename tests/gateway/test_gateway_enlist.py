"""Devices register themselves: the forms of the old system, malformed tokens, a device that changes hands."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from gateway_world import World

from msgxc import ids
from msgxc.messages.records import Role
from msgxc.model import Channel, Device
from msgxc.store.ports import DEVICES

P256DH = "BN81HfHxzt4V4lXDV_2ia8Rl_QvqofvoNI7_MOHCiOMEYuFXFNDBOJzKCCj2nzK5luwnH6rvBCN2jx7lNHpraaw"
BROWSER: dict[str, Any] = {
    "endpoint": "https://fcm.googleapis.com/fcm/send/czVGxJOoycA:APA91bGZt8FZU2f",
    "expirationTime": None,
    "keys": {"p256dh": P256DH, "auth": "0ywNrBxQ-rm4skkHDJB5lw"},
}
IOS = {"os": "ios", "token": "ad62ea6ea23d6974871cf59a06cbdb2783b85adbafe3355c0007362249d3e75c"}
ANDROID = {"os": "android", "token": "e_nslPZejyM:APA91bHR-znf4EuSIKeY9dzlX4cupXA5cdsW1SzOHUFR"}


async def devices(world: World, uid: UUID) -> tuple[Device, ...]:
    """What the directory has of somebody."""
    found = await world.exchange.store.directory.get([uid])
    return found[uid].devices if uid in found else ()


async def test_a_key_that_is_no_point_is_refused(world: World) -> None:
    """A browser's key is a point of P-256: what has its length and is none would fail at every push."""
    none = urlsafe_b64encode(b"\x04" + bytes(64)).decode().rstrip("=")
    browser = {"endpoint": "https://updates.push.services.mozilla.com/wpush/v2/gDDD"}
    keys = {"p256dh": none, "auth": "-gcUIS47SFVib3yJlqOwvQ"}
    answer = await world.post("enlist", {**browser, "keys": keys}, world.login((await world.person()).uid))
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong_input")


async def test_the_three_forms(world: World, uid: UUID) -> None:
    """iPhone, Android, browser: each comes first; whoever is not there comes into being."""
    for form in (IOS, ANDROID, BROWSER):
        assert (await world.post("enlist", form, world.login(uid))).json() is True
    found = await devices(world, uid)
    assert [device.channel for device in found] == [Channel.WEBPUSH, Channel.FCM, Channel.APNS]
    assert (found[0].p256dh, found[0].auth) == (P256DH, "0ywNrBxQ-rm4skkHDJB5lw")


async def test_the_same_token_replaces_the_older_entry(world: World, uid: UUID) -> None:
    """It moves to the front, with the new time and keys; there is one of it."""
    for form in (BROWSER, IOS, BROWSER):
        await world.post("enlist", form, world.login(uid))
    found = await devices(world, uid)
    assert [device.channel for device in found] == [Channel.WEBPUSH, Channel.APNS]
    assert found[0].registered >= found[1].registered


async def test_enlisting_changes_nothing_else_of_a_person(world: World) -> None:
    """Name, address and consents stay."""
    person = await world.person(consents=frozenset({"marketing"}))
    await world.post("enlist", IOS, world.login(person.uid))
    found = (await world.exchange.store.directory.get([person.uid]))[person.uid]
    assert (found.name, found.email, found.consents) == (person.name, person.email, person.consents)


async def test_a_device_that_changes_hands_leaves_its_former_owner(world: World, uid: UUID) -> None:
    """Two persons on one phone, one after the other: messages for the first do not reach the second."""
    other = uuid4()
    first = await world.post("enlist", IOS, world.login(uid))
    second = await world.post("enlist", IOS, world.login(other))
    assert "msgxc-moved" not in first.headers
    assert second.headers["msgxc-moved"] == "true"
    assert await devices(world, uid) == ()
    assert len(await devices(world, other)) == 1


async def test_at_a_logout_a_device_is_taken_off_its_person(world: World, uid: UUID) -> None:
    """The phone and the browser are nobody's any more; the other devices stay; again is the same."""
    for form in (IOS, ANDROID, BROWSER):
        await world.post("enlist", form, world.login(uid))
    for form in ({**IOS, "token": IOS["token"].upper()}, BROWSER, BROWSER):
        answer = await world.post("delist", form, world.login(uid))
        assert (answer.status_code, answer.content) == (200, b"true")
    assert [device.channel for device in await devices(world, uid)] == [Channel.FCM]
    again = await world.post("enlist", IOS, world.login(uuid4()))
    assert "msgxc-moved" not in again.headers
    only = {"endpoint": BROWSER["endpoint"]}
    await world.post("enlist", BROWSER, world.login(uid))
    assert (await world.post("delist", only, world.login(uid))).content == b"true"
    assert [device.channel for device in await devices(world, uid)] == [Channel.FCM]


async def test_nobody_takes_a_device_off_somebody_else(world: World, uid: UUID) -> None:
    """Who knows a token, and does not have it, changes nothing by that."""
    await world.post("enlist", IOS, world.login(uid))
    assert (await world.post("delist", IOS, world.login(uuid4()))).content == b"true"
    assert len(await devices(world, uid)) == 1
    wrong = await world.post("delist", {"os": "ios", "token": "no token"}, world.login(uid))
    assert wrong.status_code == 422
    assert (await world.post("delist", {"os": "ios"}, world.login(uid))).status_code == 422


@pytest.mark.parametrize("spelled", [IOS["token"].upper(), f"<{IOS['token']}>"])
async def test_a_token_in_another_spelling_is_the_same_device(world: World, uid: UUID, spelled: str) -> None:
    """It moves to who brings it last, however they spell it, and is stored in one spelling."""
    other = uuid4()
    await world.post("enlist", IOS, world.login(uid))
    answer = await world.post("enlist", {"os": "ios", "token": spelled}, world.login(other))
    assert answer.headers["msgxc-moved"] == "true"
    assert await devices(world, uid) == ()
    assert [device.token for device in await devices(world, other)] == [IOS["token"]]


async def test_a_token_that_was_stored_in_another_spelling_moves_too(world: World, uid: UUID) -> None:
    """Before there was one spelling, capitals were stored as they came."""
    exchange, other = world.exchange, uuid4()
    old = Device(Channel.APNS, IOS["token"].upper(), datetime(2026, 1, 1, tzinfo=UTC))
    address = ids.address_hash(exchange.key, Channel.APNS, old.token)
    await exchange.store.directory.enlist(uid, old, address)
    answer = await world.post("enlist", IOS, world.login(other))
    assert answer.headers["msgxc-moved"] == "true"
    assert await devices(world, uid) == ()
    assert [device.token for device in await devices(world, other)] == [IOS["token"]]
    assert await exchange.store.directory.owner(address) is None


async def test_an_endpoint_in_another_spelling_is_the_same_browser(world: World, uid: UUID) -> None:
    """A host has no case, and 443 is its port anyway."""
    endpoint = BROWSER["endpoint"].replace("https://fcm.googleapis.com", "HTTPS://FCM.googleapis.com:443")
    for form in (BROWSER, {**BROWSER, "endpoint": endpoint}):
        assert (await world.post("enlist", form, world.login(uid))).json() is True
    assert [device.token for device in await devices(world, uid)] == [BROWSER["endpoint"]]


@pytest.mark.parametrize("key", [P256DH + "AA", P256DH[:-1] + "!", P256DH[:-2], P256DH[:-2] + "bw"])
async def test_keys_that_are_none_are_refused(world: World, uid: UUID, key: str) -> None:
    """One clear problem; nothing is stored."""
    keys = {**BROWSER["keys"], "p256dh": key}
    answer = await world.post("enlist", {**BROWSER, "keys": keys}, world.login(uid))
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong_input")
    assert await devices(world, uid) == ()


async def test_only_the_newest_devices_stay(world: World, uid: UUID) -> None:
    """Somebody who enlists for ever does not grow for ever."""
    for number in range(DEVICES + 5):
        await world.post("enlist", {"os": "ios", "token": f"{number:064x}"}, world.login(uid))
    found = await devices(world, uid)
    assert len(found) == DEVICES
    assert found[0].token == f"{DEVICES + 4:064x}"


@pytest.mark.parametrize("system", ["ios", "android"])
@pytest.mark.parametrize(
    "token",
    [
        "",
        " ",
        "a b",
        "a\x00b",
        "../../x",
        "abc\r\n",
        "x\r\nHost: evil",
        "é",
        "\u202e",
        "a" * 5000,
        "a" * 900000,
        "<script>",
        "'; DROP TABLE",
        "%00",
        "a/b",
    ],
)
async def test_malformed_tokens_are_refused(world: World, uid: UUID, system: str, token: str) -> None:
    """One clear problem; nothing is stored."""
    answer = await world.post("enlist", {"os": system, "token": token}, world.login(uid))
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong_input")
    assert await devices(world, uid) == ()


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://evil.example.com/x",
        "http://fcm.googleapis.com/x",
        "https://fcm.googleapis.com:8443/x",
        "https://user@fcm.googleapis.com/x",
        "https://fcm.googleapis.com.evil.com/x",
        "https://fcm.googleapis.com/x#f",
        "https://fcm.googleapis.com/v1/projects/x/messages:send",
        "https://127.0.0.1/x",
        "https://169.254.169.254/latest",
        "file:///etc/passwd",
        "https://fcm.googleapis.com\\@evil.com/x",
        "",
        "x",
        "https://",
    ],
)
async def test_endpoints_that_are_no_push_service_are_refused(world: World, uid: UUID, endpoint: str) -> None:
    """The exchange never learns a URL that it would post to for somebody else's sake."""
    answer = await world.post("enlist", {**BROWSER, "endpoint": endpoint}, world.login(uid))
    assert answer.status_code == 422
    assert await devices(world, uid) == ()


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"p256dh": P256DH},
        {"p256dh": "x", "auth": "y"},
        {"p256dh": urlsafe_b64encode(b"x" * 64).decode(), "auth": urlsafe_b64encode(b"y" * 16).decode()},
        {"p256dh": 7, "auth": []},
    ],
)
async def test_keys_that_no_browser_makes_are_refused(world: World, uid: UUID, keys: dict) -> None:
    """Length and alphabet are looked at here, not when the first message fails."""
    answer = await world.post("enlist", {**BROWSER, "keys": keys}, world.login(uid))
    assert answer.status_code == 422


@pytest.mark.parametrize("body", [{}, {"os": "windows", "token": "x"}, {"os": "ios"}, {**IOS, **BROWSER}])
async def test_what_is_neither_is_refused(world: World, uid: UUID, body: dict) -> None:
    """Not a phone, not a browser, or both."""
    assert (await world.post("enlist", body, world.login(uid))).status_code == 422


async def test_a_token_that_names_nobody_enlists_nothing(world: World) -> None:
    """A service has no devices."""
    from msgxc.messages.records import Role

    answer = await world.post("enlist", IOS, world.login(None, Role.SERVICE))
    assert (answer.status_code, answer.json()["code"]) == (403, "person_needed")


async def test_an_operator_erases_and_readmits(world: World, uid: UUID) -> None:
    """By the API: the token is refused from then on, and a new one may not enlist (403 `erased`), until the
    person is readmitted. Nobody else may ask for it."""
    thread = await world.thread(open=True, open_to_publish=True)
    old = world.login(uid)
    await world.post("enlist", {"os": "android", "token": "ok-erased"}, old)
    await world.post("publish", {"tid": str(thread.tid), "msg": "I was here"}, old)
    for login in (old, world.login(uuid4(), Role.SERVICE)):
        for path in ("erase", "readmit"):
            assert (await world.post(path, {"uid": str(uid)}, login)).status_code == 403
    assert (await world.post("erase", {"uid": str(uid)}, world.admin)).json() is True
    assert (await world.post("publish", {"tid": str(thread.tid), "msg": "x"}, old)).status_code == 401
    assert await world.exchange.store.directory.get([uid]) == {}
    (left,) = await world.exchange.store.messages.history(thread.tid)
    assert (left.text, left.sender) == ("", None)
    device = {"os": "android", "token": "ok-erased"}
    answer = await world.post("enlist", device, world.login(uid))
    assert (answer.status_code, answer.json()["code"]) == (403, "erased")
    await world.post("readmit", {"uid": str(uid)}, world.admin)
    answer = await world.post("enlist", device, world.login(uid))
    assert (answer.json(), answer.headers.get("Msgxc-Moved")) == (True, None)
