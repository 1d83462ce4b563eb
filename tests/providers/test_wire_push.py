"""The pure wire halves of apns, fcm and webpush: what is asked, what an answer means. No network."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aioapns.common import NotificationResult
from hypothesis import given
from hypothesis import strategies as st
from provider_samples import NOW, address, outgoing
from pyfcm import FCMNotification

from msgxc.endpoint import is_allowed, is_dead, origin
from msgxc.model import Channel, Outcome, Push, Reason, Receipt, Urgency
from msgxc.providers import apns, fcm, webpush
from msgxc.providers.vapid import Vapid
from msgxc.providers.wire import Answer
from msgxc.sandbox.subscriber import SUBSCRIBER_PRIVATE, push_endpoint

TEXT = st.text(max_size=3000) | st.text(alphabet="é👩‍\ud800", max_size=1500)
PUSH = st.builds(
    Push, TEXT, TEXT, st.just("") | st.text(max_size=50), st.just(""), st.dictionaries(TEXT, TEXT, max_size=2)
)
HOSTS = ("push.sandbox.invalid",)
ANY_BODY = st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "details", "errorCode", "status", "fieldViolations", "field", "name"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())
ANSWER = st.builds(Answer, st.integers(100, 599), st.just({}), ANY_BODY)


OVER = {"url": "https://elsewhere.example", "image": "https://elsewhere.example/i", "receipt": "theirs"}


def test_what_we_say_beats_what_a_publisher_puts_into_data():
    """The message's own url and picture, the receipt's token and the delivery's id; without a url of the
    message the app gets theirs."""
    what = Push("T", "B", url="https://ours.example", image="https://ours.example/i", data=OVER)
    said = apns.payload(what, Urgency.HIGH)
    assert (said["url"], said["image"]) == (what.url, what.image)
    assert apns.payload(Push("T", "B", data=OVER), Urgency.HIGH)["url"] == OVER["url"]
    delivery = outgoing(Channel.FCM, what=Push("T", "B", url=what.url, data={**OVER, "msgxc_delivery": "x"}))
    data = fcm.parts(delivery)["data_payload"]
    assert (data["url"], data["msgxc_delivery"]) == (what.url, str(delivery.delivery))
    payload = webpush.payload(what, outgoing(Channel.WEBPUSH, what=what))
    assert (payload["url"], payload["data"]) == (what.url, OVER)


# -- apns


@given(what=PUSH, urgency=st.sampled_from(Urgency), ttl=st.integers(0, 10**7))
def test_an_apns_payload_fits_or_is_refused(what, urgency, ttl):
    """Whatever the text, the encoded payload has at most 4,096 bytes, or the delivery is TOO_LARGE."""
    asked = apns.request(outgoing(Channel.APNS, what=what, urgency=urgency, ttl=ttl))
    if isinstance(asked, Receipt):
        assert asked == Receipt(Outcome.REFUSED, Reason.TOO_LARGE)
    else:
        assert len(asked.message) <= 4096
        assert "aps" in json.loads(asked.message)


def test_apns_counts_bytes_and_not_characters():
    """4,096 is the size after encoding: 1,500 letters of two bytes fit, 2,100 do not."""
    fits, does_not = (outgoing(Channel.APNS, what=Push("", "é" * n)) for n in (1500, 2100))
    assert not isinstance(apns.request(fits), Receipt)
    assert apns.request(does_not) == Receipt(Outcome.REFUSED, Reason.TOO_LARGE)


@pytest.mark.parametrize(("urgency", "shown", "silent"), [(1, 1, 1), (2, 5, 5), (3, 10, 5), (4, 10, 5)])
def test_urgency_is_apns_priority_and_silence_never_has_ten(urgency, shown, silent):
    """Urgency maps to apns-priority; a push without title and body is a background push, never 10."""
    seen = apns.request(outgoing(Channel.APNS, urgency=Urgency(urgency)))
    unseen = apns.request(outgoing(Channel.APNS, what=Push("", ""), urgency=Urgency(urgency)))
    assert (seen.priority, seen.push_type.value) == (shown, "alert")
    assert (unseen.priority, unseen.push_type.value) == (silent, "background")
    assert json.loads(unseen.message)["aps"] == {"content-available": 1}


def test_an_apns_request_carries_its_identities():
    """apns-id is the delivery, apns-collapse-id the collapse identity, the app's data stands beside aps."""
    sent = outgoing(Channel.APNS, what=Push("t", "b", "https://x", "https://i", {"k": "v", "aps": "no"}))
    asked = apns.request(sent)
    assert (asked.notification_id, asked.collapse_key) == (str(sent.delivery), sent.collapse)
    body = json.loads(asked.message)
    assert (body["url"], body["image"], body["k"]) == ("https://x", "https://i", "v")
    assert body["aps"]["alert"] == {"title": "t", "body": "b"}
    assert body["aps"]["mutable-content"] == 1


@given(
    status=st.text(max_size=4) | st.sampled_from(sorted(apns.STATUSES)),
    reason=st.none() | st.text(max_size=10) | st.sampled_from(sorted(apns.REASONS)) | st.integers(),
    timestamp=st.none() | st.integers() | st.floats() | st.text(max_size=3),
)
def test_any_apns_answer_is_a_receipt(status, reason, timestamp):
    """No answer raises; 200 alone is accepted, and only the dead carry a time."""
    said = apns.receipt(NotificationResult("id", status, reason, timestamp))
    assert (said.outcome is Outcome.ACCEPTED) == (status == "200")
    assert said.dead_since is None or said.outcome is Outcome.DEAD


@pytest.mark.parametrize(("code", "meaning"), apns.REASONS.items())
def test_every_apns_reason_has_its_row(code, meaning):
    """Each of Apple's reason strings gives its outcome and stays beside it."""
    said = apns.receipt(NotificationResult("id", "400", code))
    assert (said.outcome, said.reason, said.code) == (*meaning, code)


# -- fcm


def _bytes_of(message: dict) -> int:
    shown = {**message.get("notification", {}), **message.get("data", {})}
    return sum(len(part.encode()) for name in shown for part in (name, shown[name]))


@given(what=PUSH, urgency=st.sampled_from(Urgency), ttl=st.integers(-5, 10**9))
def test_an_fcm_message_fits_or_is_refused(what, urgency, ttl):
    """Keys and values of notification and data have at most 4,096 bytes, or the delivery is TOO_LARGE."""
    asked = fcm.parts(outgoing(Channel.FCM, what=what, urgency=urgency, ttl=ttl))
    if isinstance(asked, Receipt):
        assert asked == Receipt(Outcome.REFUSED, Reason.TOO_LARGE)
        return
    message = json.loads(FCMNotification(credentials=object()).parse_payload(**asked))["message"]
    assert _bytes_of(message) <= 4096
    assert 0 <= int(message["android"]["ttl"].removesuffix("s")) <= 2_419_200


def test_an_fcm_message_replaces_by_tag_and_never_by_collapse_key():
    """notification.tag is the collapse identity; there is no collapse_key, of which a device keeps four."""
    sent = outgoing(Channel.FCM, urgency=Urgency.HIGH, ttl=3600)
    asked = fcm.parts(sent)
    assert asked["android_config"] == {
        "priority": "HIGH",
        "ttl": "3600s",
        "notification": {"tag": sent.collapse},
    }
    assert asked["data_payload"]["msgxc_delivery"] == str(sent.delivery)
    assert "collapse" not in json.dumps(asked).replace(sent.collapse, "")


@pytest.mark.parametrize(
    ("urgency", "seen", "unseen"),
    [(1, "NORMAL", "NORMAL"), (2, "NORMAL", "NORMAL"), (3, "HIGH", "NORMAL"), (4, "HIGH", "NORMAL")],
)
def test_what_is_seen_now_wakes_an_android_device(urgency, seen, unseen):
    """Google's rule, as docs/urgency.md tells it: HIGH for what the person sees, never for data alone."""
    for what, priority in ((None, seen), (Push("", "", data={"k": "v"}), unseen)):
        asked = fcm.parts(outgoing(Channel.FCM, what=what, urgency=Urgency(urgency)))
        assert asked["android_config"]["priority"] == priority


@given(answer=ANSWER)
def test_any_fcm_answer_is_a_receipt(answer):
    """No answer raises; nothing but a 200 that names a message is accepted."""
    said = fcm.receipt(answer, NOW)
    assert said.outcome is not Outcome.ACCEPTED or (answer.status == 200 and b'"name"' in answer.body)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"name": 1}', b'{"error": {}}', b"[" * 100_000])
def test_a_200_in_other_words_is_in_doubt(body):
    """200 with HTML or half a JSON: accepted or not, nobody knows."""
    assert fcm.receipt(Answer(200, {}, body), NOW).outcome is Outcome.DOUBT


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {}, 60),
        (429, {"Retry-After": "7"}, 7),
        (429, {"retry-after": "-1"}, 1),
        (503, {}, 10),
        (500, {}, 10),
    ],
)
def test_fcm_waits_as_google_asks(status, headers, wait):
    """A quota waits Retry-After, a minute when it is missing; an outage at least ten seconds."""
    assert fcm.receipt(Answer(status, headers, b""), NOW).retry_after == wait


def test_a_404_without_unregistered_prunes_nobody():
    """A wrong project answers 404 too: only the error code UNREGISTERED says that a token is dead."""
    assert fcm.receipt(Answer(404, {}, b"<html>"), NOW).outcome is Outcome.REFUSED


# -- webpush


@given(what=PUSH, urgency=st.sampled_from(Urgency), ttl=st.integers(-5, 10**9))
def test_a_web_push_fits_one_record_or_is_refused(what, urgency, ttl):
    """The plaintext has at most 3,993 bytes, so that one record of 4,096 takes it; else TOO_LARGE."""
    asked = webpush.request(outgoing(Channel.WEBPUSH, what=what, urgency=urgency, ttl=ttl), HOSTS)
    if isinstance(asked, Receipt):
        assert asked == Receipt(Outcome.REFUSED, Reason.MALFORMED if what.is_silent else Reason.TOO_LARGE)
    else:
        assert len(asked.plaintext) <= 3993
        assert asked.ttl >= 0
        json.loads(asked.plaintext)


def test_a_web_push_carries_urgency_and_topic():
    """RFC 8030: Urgency in its own words, Topic is the collapse identity, and so is the tag on screen."""
    sent = outgoing(Channel.WEBPUSH, urgency=Urgency.VERY_LOW)
    asked = webpush.request(sent, HOSTS)
    assert asked.headers == {"Urgency": "very-low", "Topic": sent.collapse}
    assert json.loads(asked.plaintext)["tag"] == sent.collapse
    assert json.loads(asked.plaintext)["delivery"] == str(sent.delivery)


@pytest.mark.parametrize(
    ("p256dh", "auth"),
    [
        ("", ""),
        ("AAAA", "3-oMI_qvI2CvQCh7ijrktA"),
        ("B" + "A" * 86, "short"),
        ("é", "é"),
        ("B" + "A" * 86, ""),
    ],
)
def test_keys_that_are_none_are_refused(p256dh, auth):
    """A subscription whose keys have the wrong size cannot be encrypted for."""
    sent = outgoing(Channel.WEBPUSH, p256dh=p256dh, auth=auth)
    assert webpush.request(sent, HOSTS) == Receipt(Outcome.REFUSED, Reason.INVALID_ADDRESS)


async def test_a_key_off_the_curve_is_refused(connect):
    """65 bytes that are no point of P-256: refused for this one, nothing raised."""
    sent = outgoing(Channel.WEBPUSH, p256dh="B" + "A" * 86)
    [receipt] = await connect(Channel.WEBPUSH).send([sent])
    assert receipt == Receipt(Outcome.REFUSED, Reason.INVALID_ADDRESS)


REAL = ("fcm.googleapis.com", "*.push.apple.com")


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/fcm/send/abc:def",
        "https://FCM.googleapis.com:443/wp/x?y=1",
        "https://web.push.apple.com/QK-1",
        "https://web.push.apple.com/a..b/...?x=/../",
    ],
)
def test_push_services_on_the_list_are_allowed(endpoint):
    """Exact names and names below a wildcard, on 443."""
    assert is_allowed(endpoint, REAL)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "http://fcm.googleapis.com/x",
        "https://fcm.googleapis.com:8443/x",
        "https://fcm.googleapis.com.evil.org/x",
        "https://evil.org/fcm.googleapis.com",
        "https://user@fcm.googleapis.com/x",
        "https://fcm.googleapis.com\\@evil.org/x",
        "https://evil.org#fcm.googleapis.com/",
        "https://push.apple.com/x",
        "https://evilpush.apple.com/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://fcm.googleapis.com/x\r\nHost: evil.org",
        "https://fcm.googleapis.com/x y",
        "https://fcm.googleapis.com/x#y",
        "https://fcm.googleapis.com/x@y",
        "https://fcm.googleapis.com/x\\y",
        "https://web.push.apple.com\N{KELVIN SIGN}/x",
        "https://fcm.googleapis.com/\N{LATIN SMALL LETTER LONG S}",
        "https://fcm.googleapis.com",
        "https://fcm.googleapis.com/x",
        "https://fcm.googleapis.com/v1/projects/x/messages:send",
        "https://fcm.googleapis.com/fcm/send/../../v1/projects/x/messages:send",
        "https://fcm.googleapis.com/fcm/send/%2e%2E/%2e%2e/batch",
        "https://fcm.googleapis.com/fcm/send/..%2f..%2Fbatch",
        "https://fcm.googleapis.com/wp/./x",
        "https://fcm.googleapis.com/fcm/send/",
        "https://web.push.apple.com/",
        "https://web.push.apple.com/x/..",
        "//fcm.googleapis.com/x",
        "https://fcm.googleapis.com/" + "x" * 5000,
        "file:///etc/passwd",
    ],
)
def test_everything_else_is_not(endpoint):
    """Other schemes, ports, hosts, user-info, control characters, and lengths: never sent to."""
    assert not is_allowed(endpoint, REAL)


@pytest.mark.parametrize(
    ("endpoint", "dead"),
    [
        ("https://permanently-removed.invalid/fcm/send/abc", True),
        ("https://fcm.googleapis.com/v1/projects/x/messages:send", True),
        ("ftp://fcm.googleapis.com/fcm/send/x", True),
        ("https://push.example/x", False),
        ("https://fcm.googleapis.com/fcm/send/x", False),
        ("https://push.sandbox.invalid/push/x", False),
    ],
)
def test_what_nobody_would_send_to_is_dead(endpoint, dead):
    """No subscription, or of a host that cannot be; one that is only not on the list may be once."""
    assert is_dead(endpoint, HOSTS) == dead
    assert not (dead and is_allowed(endpoint, (*HOSTS, *REAL)))


@given(st.text(max_size=80))
def test_the_allow_list_never_raises(text):
    """Any text at all is an answer of yes or no."""
    assert not is_allowed(f"https://{text}.invalid/", REAL)


@given(answer=ANSWER)
def test_any_web_push_answer_is_a_receipt(answer):
    """No answer raises; only 200, 201 and 202 are accepted."""
    assert (webpush.receipt(answer, NOW).outcome is Outcome.ACCEPTED) == (answer.status in (200, 201, 202))


@pytest.mark.parametrize(
    "body", [b'{"reason":"VapidPkHashMismatch"}', b"... do not correspond to the credentials used to create"]
)
def test_one_subscription_of_another_key_does_not_stop_the_channel(body):
    """A 403 that is about this subscription alone is a mismatch; any other 403 is about our credentials."""
    assert webpush.receipt(Answer(403, {}, body), NOW).reason is Reason.MISMATCH
    assert webpush.receipt(Answer(403, {}, b""), NOW).outcome is Outcome.BLOCKED


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (406, Outcome.LATER, Reason.THROTTLED),  # Microsoft: the channel is throttled
        (408, Outcome.LATER, Reason.UNAVAILABLE),
        (405, Outcome.REFUSED, Reason.REJECTED),
        (412, Outcome.REFUSED, Reason.REJECTED),
        (451, Outcome.REFUSED, Reason.REJECTED),
        (502, Outcome.DOUBT, Reason.REJECTED),
    ],
)
def test_a_push_service_that_says_no_has_not_taken_it(status, outcome, reason):
    """RFC 9110 section 15.5: what is refused was not done: nothing is in doubt, nothing is repeated."""
    said = webpush.receipt(Answer(status, {}, b""), NOW)
    assert (said.outcome, said.reason) == (outcome, reason)


def test_a_redirect_is_refused():
    """A push service that sends us elsewhere is not followed."""
    said = webpush.receipt(Answer(302, {"Location": "https://127.0.0.1/"}, b""), NOW)
    assert (said.outcome, said.reason) == (Outcome.REFUSED, Reason.REJECTED)


def test_one_vapid_token_serves_an_origin_for_hours():
    """Signed once per origin, again after six hours, and never for more than 24."""
    vapid = Vapid(SUBSCRIBER_PRIVATE, "mailto:ops@example.org")
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    first = vapid.headers("https://a.example", at)
    assert vapid.headers("https://a.example", at.replace(hour=17)) is first
    assert vapid.headers("https://b.example", at) != first
    assert vapid.headers("https://a.example", at.replace(hour=18)) != first


def test_the_audience_is_the_origin():
    """RFC 8292 section 2: scheme and host of the endpoint, nothing else."""
    assert origin("https://Web.push.apple.com:443/QK-1?x") == "https://web.push.apple.com"
    assert origin(push_endpoint("x")) == "https://push.sandbox.invalid"


def test_addresses_of_the_samples_are_all_different():
    """The samples never address the same device twice, so that journal lines can be counted."""
    assert len({address(channel) for channel in Channel for _ in range(5)}) == 30


def test_the_page_about_urgency_says_what_the_code_does():
    """One place, one table: docs/urgency.md; its rows are those of the three providers."""
    page = (Path(__file__).parents[2] / "docs" / "urgency.md").read_text(encoding="utf-8")
    rows = [line.split("|")[3:6] for line in page.splitlines() if line.startswith("|")][2:]
    for urgency, (apple, android, browser) in zip(Urgency, rows, strict=True):
        assert apple.split()[0] == str(apns.PRIORITY[urgency])
        assert android.split()[0] == f"`{fcm.PRIORITY[urgency]}`"
        assert browser.split()[0] == f"`{webpush.URGENCY[urgency]}`"
