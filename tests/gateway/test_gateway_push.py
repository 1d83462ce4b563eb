"""What a push can carry, said through the API: carried on every channel, or refused by its name."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from gateway_world import World

from msgxc.messages.content import besides, plain
from msgxc.messages.records import Message
from msgxc.model import Channel, Options, Outgoing, Push, Target, Urgency
from msgxc.providers import apns, fcm, webpush
from msgxc.render.options import FIXED, WRITTEN
from msgxc.render.person import Links
from msgxc.sandbox.fcm_schema import REQUEST
from msgxc.sandbox.fcm_schema import check as check_fcm

#: One of everything that push.json can say besides its words.
ALL: dict[str, Any] = {
    "image": "https://x.example/i.png",
    "subtitle": "s",
    "badge": 0,
    "sound": {"name": "bell", "critical": True, "volume": 0.5},
    "tag": "order-7",
    "ttl": 60,
    "vibrate": [200, 100],
    "title_loc_key": "ORDER_TITLE",
    "title_loc_args": ["7"],
    "body_loc_key": "ORDER_BODY",
    "body_loc_args": ["7", "now"],
    "subtitle_loc_key": "ORDER_SUBTITLE",
    "subtitle_loc_args": ["7"],
    "thread_id": "orders",
    "category": "ORDER",
    "target_content_id": "window",
    "filter_criteria": "work",
    "interruption_level": "time-sensitive",
    "relevance_score": 0.5,
    "mutable_content": True,
    "content_available": True,
    "channel_id": "orders",
    "color": "#00aaff",
    "icon": "ic",
    "click_action": "OPEN",
    "ticker": "t",
    "visibility": "private",
    "notification_priority": "high",
    "notification_count": 4,
    "sticky": True,
    "local_only": True,
    "web_icon": "/i.png",
    "web_badge": "/b.png",
    "actions": [{"action": "see", "title": "See"}],
    "require_interaction": True,
    "renotify": True,
    "silent": False,
}
NOWHERE = Links("", "")


async def stored(world: World, **said: Any) -> Message:
    """What the store has of a direct message."""
    person = await world.person()
    answer = await world.post("send", {"uid": str(person.uid), "msg": "now", **said}, world.admin)
    assert answer.status_code == 200, answer.text
    place = UUID(answer.headers["Msgxc-Thread"]), UUID(answer.headers["Msgxc-Message"])
    found = await world.exchange.store.messages.get(*place)
    assert found is not None
    return found


def outgoing(content: Push, channel: Channel) -> Outgoing:
    """It, as its sender gets it."""
    return Outgoing(uuid4(), uuid4(), Target(channel, "ab" * 32), content, Urgency.NORMAL, 600, "c" * 32)


def test_all_of_push_json_is_tried_here() -> None:
    """A new option is an option of the API."""
    assert set(ALL) == {*WRITTEN, *FIXED, "image"}


async def test_all_that_push_json_carries_a_message_carries(world: World) -> None:
    """From the request through the store into the payloads of Apple, Google and browsers."""
    message = await stored(world, subject="Order 7", push=ALL)
    content = plain(message, Channel.APNS, name="", others=0, where=NOWHERE)
    assert isinstance(content, Push)
    aps = apns.payload(content, Urgency.NORMAL)["aps"]
    assert aps["alert"] == {
        "title-loc-key": "ORDER_TITLE",
        "title-loc-args": ["7"],
        "loc-key": "ORDER_BODY",
        "loc-args": ["7", "now"],
        "subtitle-loc-key": "ORDER_SUBTITLE",
        "subtitle-loc-args": ["7"],
    }
    assert (aps["badge"], aps["sound"]["name"], aps["thread-id"]) == (0, "bell", "orders")
    assert apns.request(outgoing(content, Channel.APNS)).collapse_key == "order-7"  # type: ignore[union-attr]
    made = fcm.parts(outgoing(content, Channel.FCM))
    assert isinstance(made, dict)
    shown = made["android_config"]["notification"]
    assert (made["notification_title"], made["notification_body"]) == ("", "")
    assert (shown["title_loc_key"], shown["body_loc_args"]) == ("ORDER_TITLE", ["7", "now"])
    document = {"message": {"token": "t", "android": {"notification": shown}}}
    check_fcm(orjson.loads(orjson.dumps(document)), REQUEST)
    web = webpush.payload(content, outgoing(content, Channel.WEBPUSH))
    assert (web["title"], web["body"]) == ("Order 7", "now")


async def test_a_template_gives_way_to_what_the_message_says(world: World) -> None:
    """A thread's template makes the words; of the options the message's go before its own."""
    message = await stored(world, push={"badge": 3})
    made = besides(message, Push("t", "b", options=Options(badge=1, sound="bell")))
    assert isinstance(made, Push)
    assert made.options == Options(badge=3, sound="bell")
    assert besides(message, Push("t", "b")) == Push("t", "b", options=Options(badge=3))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"push": {"bagde": 1}}, "badge"),
        ({"push": {"badge": -1}}, "badge"),
        ({"push": {"color": "red"}}, "color"),
        ({"push": {"title_loc_key": 7}}, "title_loc_key"),
        ({"push": {"title_loc_args": ["7"]}}, "title_loc_key"),
        ({"push": {"body_loc_key": "K", "body_loc_args": [7]}}, "body_loc_args"),
        ({"push": {"silent": True, "renotify": True}}, "renotify"),
        ({"push": {"image": "http://x.example/i.png"}}, "image"),
        ({"push": {"actions": [{"action": "x"}]}}, "action"),
        ({"push": {"subtitle": "\ud800"}}, "UTF-8"),
        (
            {"push": {"subtitle": "x" * 400, "ticker": "y" * 500, "thread_id": "z" * 500, "icon": "i" * 300}},
            "bytes",
        ),
        ({"opts": {"badge": 1}}, "push"),
        ({"opts": {"title_loc_key": "K"}}, "push"),
        ({"opts": {"data": {"from": "shop"}}}, "reserved"),  # w05
        ({"opts": {"data": {"gcm.n.e": "1"}}}, "reserved"),
        ({"opts": {"data": {"google.sent_time": "1"}}}, "reserved"),
        ({"opts": {"data": {"msgxc_receipt": "1"}}}, "reserved"),
        ({"msg": "", "opts": {"data": {"sync": "1"}}, "push": {"subtitle": "x"}}, "subtitle"),
    ],
)
async def test_what_cannot_be_carried_is_refused_by_name(world: World, wrong: Any, named: str) -> None:
    """422 says which one; nothing is sent without it."""
    person = await world.person()
    body = json.dumps({"uid": str(person.uid), "msg": "x", **wrong})
    said = {"content-type": "application/json", **world.admin}
    answer = await world.client.post("/api/v2/send", content=body, headers=said)
    assert answer.status_code == 422, answer.text
    assert named in answer.text


async def test_a_silent_message_may_have_what_is_not_seen(world: World) -> None:
    """w10: its data goes to the app alone; a badge and a time to live go with it."""
    message = await stored(world, msg="", opts={"data": {"sync": "1"}}, push={"badge": 2, "ttl": 60})
    content = plain(message, Channel.APNS, name="tea", others=0, where=NOWHERE)
    assert isinstance(content, Push)
    assert content.is_silent
    payload = apns.payload(content, Urgency.NORMAL)
    assert (payload["aps"], payload["sync"]) == ({"content-available": 1, "badge": 2}, "1")


async def test_what_is_old_in_opts_is_passed_over(world: World) -> None:
    """It was open: what nobody knows hurts nobody."""
    message = await stored(world, opts={"data": {"a": 1}, "old_word": {"x": [1]}})
    assert message.data == {"a": "1"}
