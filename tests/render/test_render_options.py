"""What a push may carry besides words: taken, checked, and in the payloads of those who know it."""

from __future__ import annotations

import json
import time
from uuid import UUID, uuid4

import pytest

from msgxc.errors import WrongTemplate
from msgxc.model import Channel, Device, Options, Outgoing, Push, Recipient, Target, Urgency
from msgxc.providers import apns, fcm, webpush
from msgxc.render import Links, Template, check, render
from msgxc.render.options import FIXED, WRITTEN
from msgxc.sandbox.fcm_schema import REQUEST
from msgxc.sandbox.fcm_schema import check as check_fcm
from msgxc.sandbox.subscriber import PUSH_ORIGIN, SUBSCRIBER_AUTH, SUBSCRIBER_P256DH

#: One of everything.
ALL = {
    "subtitle": "for {{ name }}",
    "badge": "{{ attributes.unread }}",
    "sound": {"name": "bell", "critical": True, "volume": 0.5},
    "tag": "order-{{ values.order }}",
    "ttl": 60,
    "vibrate": [200, 100, 1500],
    "thread_id": "orders",
    "category": "ORDER",
    "target_content_id": "order-window",
    "filter_criteria": "work",
    "interruption_level": "time-sensitive",
    "relevance_score": 0.25,
    "mutable_content": True,
    "content_available": True,
    "channel_id": "orders",
    "color": "#00aaFF",
    "icon": "ic_order",
    "click_action": "OPEN_ORDER",
    "ticker": "an order",
    "visibility": "private",
    "notification_priority": "high",
    "notification_count": 4,
    "sticky": False,
    "local_only": True,
    "web_icon": "/i.png",
    "web_badge": "https://x.example/b.png",
    "actions": [{"action": "see", "title": "See", "url": "https://x.example/o"}],
    "require_interaction": True,
    "renotify": True,
}
BO = Recipient(uid=UUID(int=1), name="Bo", attributes={"unread": 3})


LOCALIZED = {
    "title_loc_key": "ORDER_{{ values.order }}",
    "title_loc_args": ["7"],
    "subtitle_loc_key": "FOR",
    "subtitle_loc_args": ["Bo"],
    "body_loc_key": "READY",
    "body_loc_args": ["now", "here"],
}


def part(**keys: object) -> Template:
    """A template of one push.json."""
    return Template("t", {"push.json": json.dumps(keys)}, "t")


def push(template: Template) -> Push:
    """What Bo gets."""
    made = render(
        template, Channel.APNS, BO, values={"order": "7"}, links=Links(), now=time.process_time, campaign="c"
    )
    assert isinstance(made, Push)
    return made


def outgoing(content: Push, channel: Channel = Channel.APNS, urgency: Urgency = Urgency.NORMAL) -> Outgoing:
    """To one device."""
    token = f"{PUSH_ORIGIN}/push/x" if channel is Channel.WEBPUSH else "device1"
    device = Device(channel, token, None, SUBSCRIBER_P256DH, SUBSCRIBER_AUTH)  # type: ignore[arg-type]
    return Outgoing(uuid4(), uuid4(), Target(channel, token, device), content, urgency, 600, "collapse")


def test_all_of_it_is_known() -> None:
    """ALL names every option but `silent`, which goes with none of `vibrate` and `renotify`, and the names of
    the app's own texts, which stand instead of ours."""
    assert ALL.keys() | LOCALIZED.keys() == {*WRITTEN, *FIXED} - {"silent"}
    assert check(part(title="T", **LOCALIZED)) == []
    assert check(part(title="T", **ALL)) == []


def test_apple_gets_its_keys() -> None:
    """Payload key reference: each under Apple's name, as Apple's type; ttl and tag as headers."""
    asked = apns.request(outgoing(push(part(title="T", body="B", **ALL))))
    assert json.loads(asked.message)["aps"] == {
        "alert": {"title": "T", "body": "B", "subtitle": "for Bo"},
        "badge": 3,
        "sound": {"name": "bell", "critical": 1, "volume": 0.5},
        "thread-id": "orders",
        "category": "ORDER",
        "target-content-id": "order-window",
        "filter-criteria": "work",
        "interruption-level": "time-sensitive",
        "relevance-score": 0.25,
        "mutable-content": 1,
        "content-available": 1,
    }
    assert (asked.time_to_live, asked.collapse_key, asked.push_type.value) == (60, "order-7", "alert")


def test_the_device_is_told_which_of_its_texts_to_show() -> None:
    """Apple: the key instead of the text. Google: Android looks for the key only where there is no text."""
    made = push(part(title="T", body="B", subtitle="S", **LOCALIZED))
    assert apns.payload(made, Urgency.NORMAL)["aps"]["alert"] == {
        "title-loc-key": "ORDER_7",
        "title-loc-args": ["7"],
        "subtitle-loc-key": "FOR",
        "subtitle-loc-args": ["Bo"],
        "loc-key": "READY",
        "loc-args": ["now", "here"],
    }
    asked = fcm.parts(outgoing(made, Channel.FCM))
    shown = asked["android_config"]["notification"]
    check_fcm({"message": {"android": {"notification": shown}}}, REQUEST)
    assert (shown["title_loc_key"], shown["body_loc_args"]) == ("ORDER_7", ["now", "here"])
    assert (asked["notification_title"], asked["notification_body"]) == ("", "")
    assert "body" in webpush.payload(made, outgoing(made, Channel.WEBPUSH))
    assert check(part(title="T", title_loc_key="A", title_loc_args=["x"])) == []
    (wrong,) = check(part(title="T", title_loc_args=["x"]))
    assert "title_loc_args are for title_loc_key" in wrong.text


def test_android_gets_its_keys() -> None:
    """AndroidNotification: each under Google's name, as Google's type; and Google's schema takes them."""
    asked = fcm.parts(outgoing(push(part(title="T", body="B", **ALL)), Channel.FCM))
    assert asked["android_config"] == {
        "priority": "HIGH",
        "ttl": "60s",
        "notification": {
            "sound": "bell",
            "tag": "order-7",
            "channel_id": "orders",
            "color": "#00aaFF",
            "icon": "ic_order",
            "click_action": "OPEN_ORDER",
            "ticker": "an order",
            "sticky": False,
            "local_only": True,
            "notification_count": 4,
            "visibility": "PRIVATE",
            "notification_priority": "PRIORITY_HIGH",
            "vibrate_timings": ["0.200s", "0.100s", "1.500s"],
        },
    }
    check_fcm({"message": {"android": asked["android_config"]}}, REQUEST)


def test_a_browser_gets_its_options() -> None:
    """What showNotification takes, under its names."""
    asked = outgoing(push(part(title="T", body="B", **ALL)), Channel.WEBPUSH)
    said = webpush.payload(asked.content, asked)  # type: ignore[arg-type]
    assert {name: said[name] for name in webpush.SHOWN.values() if name in said} == {
        "tag": "order-7",
        "icon": "/i.png",
        "badge": "https://x.example/b.png",
        "appBadge": 3,
        "actions": ({"action": "see", "title": "See", "url": "https://x.example/o"},),
        "requireInteraction": True,
        "renotify": True,
        "vibrate": (200, 100, 1500),
    }
    assert webpush.request(asked, ("push.sandbox.invalid",)).ttl == 60


def test_what_is_not_said_is_not_there() -> None:
    """Without options a push is as ever; an empty text is left out, an empty sound is none."""
    plain = push(part(title="T"))
    assert plain.options is None
    assert apns.payload(plain, Urgency.NORMAL)["aps"]["sound"] == "default"
    empty = push(part(title="T", thread_id="{{ values.nothing|default('') }}", sound=""))
    assert empty.options == Options(sound="")
    assert "sound" not in apns.payload(empty, Urgency.NORMAL)["aps"]
    assert fcm.android(empty.options) == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("badge", value) for value in (-1, 1.5, True, "x", "-1", 2**31, [], None)],
        *[("relevance_score", value) for value in (-0.1, 1.1, "0.5", True)],
        *[("interruption_level", value) for value in ("Time-Sensitive", "", 1, [])],
        *[("color", value) for value in ("red", "#fff", "#00aaFFF", 7)],
        *[("ttl", value) for value in (-1, 2_419_201, "an hour", 1.5)],
        *[("vibrate", value) for value in ([], [1.5], [-1], 200, [10_001], [1] * 21)],
        *[("mutable_content", value) for value in (1, "true", None)],
        *[
            ("sound", value)
            for value in (1, {}, {"name": 1}, {"name": "x", "loud": 1}, {"name": "x", "volume": 2})
        ],
        *[("visibility", value) for value in ("PRIVATE", "none")],
        *[("tag", value) for value in ("é" * 33, 1)],
        *[
            ("web_icon", value)
            for value in ("javascript:alert(1)", "//x.example/i", "http://x.example/i", "a b")
        ],
        *[("actions", value) for value in ([], {}, [{"action": "a"}], [{"action": "a", "title": 1}])],
        ("actions", [{"action": "a", "title": "b", "url": "javascript:x"}]),
        ("actions", [{"action": "a", "title": "b"}] * 5),
        ("thread_id", "x" * 501),
    ],
)
def test_what_no_provider_takes_is_named(key: str, value: object) -> None:
    """By the check, with file and line, before anybody is sent to; what it may be is said."""
    source = '{"title": "T",\n' + json.dumps({key: value})[1:]
    (problem,) = check(Template("t", {"push.json": source}, "t"))
    assert problem.text.startswith(f"t/push.json, line 2: {key} must be ")


def test_a_value_that_does_not_fit_fails_for_its_recipient() -> None:
    """A badge that is no number, of somebody's attribute: that recipient's, and the text does not say it."""
    with pytest.raises(WrongTemplate, match="line 1: badge must be a whole number") as refused:
        push(part(title="T", badge="{{ name }}"))
    assert "Bo" not in str(refused.value)


def test_a_slip_is_named_with_the_nearest_key() -> None:
    """Apple's own spelling too."""
    for slip, meant in (("thread-id", "thread_id"), ("interuption_level", "interruption_level")):
        (problem,) = check(part(title="T", **{slip: "x"}))
        assert problem.text == f"t/push.json, line 1: '{slip}' is no key of push.json; did you mean {meant}?"
    (problem,) = check(part(title="T", silent=True, vibrate=[1]))
    assert "silent goes with neither vibrate nor renotify" in problem.text


def test_quotes_within_a_text_are_explained() -> None:
    """The likeliest slip."""
    source = '{"title": "T",\n"body": "{{ values.x|default("20%") }} off"}'
    (problem,) = check(Template("t", {"push.json": source}, "t"))
    assert problem.text.startswith("t/push.json, line 2: ")
    assert problem.text.endswith(
        """quotes within a text are written \\", or 'as these': {{ x|default('y') }}"""
    )


# -- in silence


def test_a_silent_push_is_for_apps_alone() -> None:
    """Apple: background, content-available, at most 5. Android: data alone, NORMAL. No browser."""
    template = part(data={"sync": "1"})
    assert template.channels() == {Channel.APNS, Channel.FCM, Channel.WEBSOCKET}
    assert check(template) == []
    silent = push(template)
    for urgency, priority in ((1, 1), (2, 5), (3, 5), (4, 5)):
        asked = apns.request(outgoing(silent, urgency=Urgency(urgency)))
        assert (asked.push_type.value, asked.priority) == ("background", priority)
        assert json.loads(asked.message)["aps"] == {"content-available": 1}
        android = fcm.parts(outgoing(silent, Channel.FCM, Urgency(urgency)))
        assert android["android_config"] == {"priority": "NORMAL", "ttl": "600s"}
        assert android["data_payload"]["sync"] == "1"
    said = webpush.request(outgoing(silent, Channel.WEBPUSH), ("push.sandbox.invalid",))
    assert said == webpush.wire.MALFORMED


def test_a_badge_alone_is_something_to_see() -> None:
    """Apple: a background notification has neither alert, badge nor sound."""
    asked = apns.request(outgoing(push(part(data={"sync": "1"}, badge=0))))
    assert (asked.push_type.value, asked.priority) == ("alert", 5)
    assert json.loads(asked.message)["aps"] == {"content-available": 1, "badge": 0}


@pytest.mark.parametrize(
    "keys", [{}, {"url": "https://x.example"}, {"data": {}}, {"subtitle": "x", "data": {"a": "b"}}]
)
def test_nothing_at_all_is_no_push(keys: dict) -> None:
    """Neither words nor data; or what is shown, without words."""
    (problem,) = check(part(**keys))
    assert "neither title, body nor data" in problem.text or "needs a title or a body" in problem.text
