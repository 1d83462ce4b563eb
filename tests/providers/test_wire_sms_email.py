"""The pure wire halves of sms and email, and how many emails become one request. No network."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider_samples import NOW, outgoing

from msgxc.model import Channel, Email, Outcome, Reason, Receipt, Sms
from msgxc.providers import email, sms
from msgxc.providers.email_batch import SUBSTITUTIONS_LIMIT, join, lots
from msgxc.providers.mailbox import mailbox
from msgxc.providers.wire import Answer

SMS = sms.SmsSettings("AC0", "secret", "+15005550006", callback="https://x.example/hooks/twilio")
EMAIL = email.EmailSettings("SG.secret", "news@example.org", "News")
TO = "+4915112345678"


# -- sms


@given(text=st.text(max_size=2000), ttl=st.integers(-5, 10**7))
def test_a_text_message_fits_or_is_refused(text, ttl):
    """At most 1,600 characters, and a validity period that Twilio takes; else a refusal."""
    asked = sms.form(outgoing(Channel.SMS, TO, Sms(text), ttl=ttl), SMS)
    if isinstance(asked, Receipt):
        assert asked.reason in (Reason.TOO_LARGE, Reason.MALFORMED)
    else:
        assert len(asked["Body"]) <= 1600
        assert asked["Body"].encode()
        assert 6 <= int(asked["ValidityPeriod"]) <= 36_000


def test_the_status_callback_names_the_delivery():
    """A message in doubt is settled later by its callback, so the callback says which it is."""
    sent = outgoing(Channel.SMS, TO)
    asked = sms.form(sent, SMS)
    assert asked["StatusCallback"] == f"https://x.example/hooks/twilio?delivery={sent.delivery}"
    assert (asked["To"], asked["From"]) == (TO, "+15005550006")


def test_a_messaging_service_chooses_the_sender():
    """MG… is a messaging service, not a number."""
    service = sms.SmsSettings("AC0", "secret", "MG0123")
    asked = sms.form(outgoing(Channel.SMS, TO), service)
    assert asked["MessagingServiceSid"] == "MG0123"
    assert "From" not in asked
    assert "StatusCallback" not in asked


@pytest.mark.parametrize(("code", "meaning"), sms.CODES.items())
def test_every_twilio_code_has_its_row(code, meaning):
    """Each code gives its outcome and stays beside it, as a refusal and in a message that failed at once."""
    said = sms.receipt(Answer(400, {}, json.dumps({"code": code, "message": "x"}).encode()), NOW)
    assert (said.outcome, said.reason, said.code) == (*meaning, str(code))
    failed = sms.receipt(Answer(201, {}, json.dumps({"sid": "SM1", "error_code": code}).encode()), NOW)
    assert (failed.outcome, failed.reason) == meaning


@given(status=st.integers(100, 599), body=st.binary(max_size=50) | st.just(b'{"code": "x", "sid": 1}'))
def test_any_twilio_answer_is_a_receipt(status, body):
    """No answer raises; what may have been sent is DOUBT, and never LATER."""
    said = sms.receipt(Answer(status, {}, body), NOW)
    assert said.outcome is not Outcome.ACCEPTED
    if status >= 500 or status in (200, 201):
        assert said.outcome is Outcome.DOUBT


# -- email


NAME = st.text(alphabet=st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=30)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;")


def _welcome(name: str, link: str) -> Email:
    page = f'<body class="a"><p>Hi {_escape(name)}!</p><p>Welcome.</p><a href="{_escape(link)}">x</a></body>'
    return Email(f"Hi {name}", page, f"Hi {name}!\nWelcome.\n{link}\n")


def _rebuilt(emails: list[Email]) -> list[Email]:
    """What SendGrid would mail: each request's content with each recipient's substitutions."""
    found: dict[int, Email] = {}
    for joined in join(emails):
        for member, values in zip(joined.members, joined.values, strict=True):
            html, text = joined.html, joined.text
            for tag, value in values.items():
                html, text = html.replace(tag, value), text.replace(tag, value)
            assert member not in found
            found[member] = Email(emails[member].subject, html, text)
    return [found[n] for n in range(len(emails))]


@given(st.lists(st.tuples(NAME, NAME), min_size=1, max_size=12))
def test_joined_emails_come_out_as_they_went_in(people):
    """Substituting gives every recipient exactly the rendered mail, in one request for one template."""
    emails = [_welcome(*person) for person in people]
    assert _rebuilt(emails) == emails
    assert len(join(emails)) == 1


@given(
    st.lists(st.builds(Email, st.text(max_size=5), st.text(max_size=60), st.text(max_size=60)), max_size=12)
)
def test_any_emails_come_out_as_they_went_in(emails):
    """Also mails that have nothing in common, tags in their text, and empty parts."""
    assert _rebuilt(emails) == emails


@given(st.lists(st.sampled_from(["-m0x", "-m0x1-", "-m1x", "a>b", "\n", ""]), min_size=1, max_size=6))
def test_a_tag_in_the_content_is_not_substituted(pieces):
    """Content that looks like our tags stays as it is: the tags become others."""
    emails = [Email("s", f"<p>{piece}</p>{n}", piece) for n, piece in enumerate(pieces)]
    assert _rebuilt(emails) == emails


def test_what_differs_is_all_that_is_sent_per_person():
    """A thousand renderings of one template are one request with a short substitution each."""
    emails = [_welcome(f"Person {n}", f"https://x.example/u/{n}") for n in range(1000)]
    [joined] = join(emails)
    assert sum(len(value) for values in joined.values for value in values.values()) < 1000 * 40
    assert "Welcome." in joined.html


def test_languages_part_when_substitutions_grow_too_large():
    """Two languages of a long mail: two requests, and substitutions within SendGrid's limit."""
    long = {"de": "Lieferung " * 900, "en": "delivery, " * 900}
    emails = [
        Email("s", f"<p>{long[lang]}</p><p>{n}</p>", f"{long[lang]}\n{n}") for n in range(20) for lang in long
    ]
    requests = join(emails)
    assert _rebuilt(emails) == emails
    assert [len(joined.members) for joined in requests] == [20, 20]
    sizes = [sum(map(len, values.values())) for joined in requests for values in joined.values]
    assert max(sizes) < SUBSTITUTIONS_LIMIT


def test_mails_that_share_nothing_leave_one_by_one():
    """Different long mails: a request for each, whole, rather than a refusal."""
    emails = [Email("s", f"<p>{chr(97 + n) * 20_000}</p>", "t") for n in range(5)]
    requests = join(emails)
    assert len(requests) == 5
    assert not any(values for joined in requests for values in joined.values)


def test_a_bulk_mail_can_be_left_with_one_click():
    """RFC 8058: both headers when there is a URL, neither when there is none; Message-ID is the repeat's."""
    batch = [
        outgoing(Channel.EMAIL, "a@example.org", unsubscribe="https://x.example/u/1"),
        outgoing(Channel.EMAIL, "b@example.org"),
    ]
    [(_, body)] = email.bodies(batch, EMAIL)
    bulk, single = (person["headers"] for person in body["personalizations"])
    assert bulk["List-Unsubscribe"] == "<https://x.example/u/1>"
    assert bulk["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert single == {"Message-ID": f"<{batch[1].collapse}@example.org>"}


def test_nothing_is_tracked_unless_asked():
    """Click, open and subscription tracking are off; the campaign is the category."""
    [(_, body)] = email.bodies([outgoing(Channel.EMAIL)], EMAIL)
    assert {name: on["enable"] for name, on in body["tracking_settings"].items()} == {
        "click_tracking": False,
        "open_tracking": False,
        "subscription_tracking": False,
    }
    assert body["categories"] == ["spring"]
    assert [part["type"] for part in body["content"]] == ["text/plain", "text/html"]


def test_lots_hold_one_campaign_and_no_address_twice():
    """Campaigns, repeated addresses and more than a thousand recipients make several requests."""
    batch = [outgoing(Channel.EMAIL, f"p{n}@example.org") for n in range(1200)]
    batch += [
        outgoing(Channel.EMAIL, "p0@example.org"),
        outgoing(Channel.EMAIL, "x@example.org", campaign="b"),
    ]
    found = lots(batch, range(len(batch)))
    assert sorted(map(len, found)) == [1, 1, 200, 1000]
    assert sorted(index for lot in found for index in lot) == list(range(len(batch)))


@pytest.mark.parametrize(
    ("what", "unsubscribe"),
    [
        (Email(" ", "<p>", "t"), ""),
        (Email("s", "", ""), ""),
        (Email("s", "h", "t"), "https://x>\r\nBcc: y@example.org"),
    ],
)
def test_a_mail_without_subject_or_content_is_refused(what, unsubscribe):
    """So is an unsubscribe URL that would break out of its header."""
    said = email.refusal(outgoing(Channel.EMAIL, what=what, unsubscribe=unsubscribe))
    assert said == Receipt(Outcome.REFUSED, Reason.MALFORMED)


def test_a_subject_is_one_line():
    """A line break in a subject becomes a space: no header is injected."""
    sent = outgoing(Channel.EMAIL, what=Email("Hi\r\nBcc: x@example.org", "<p>", "t"))
    [(_, body)] = email.bodies([sent], EMAIL)
    assert body["personalizations"][0]["subject"] == "Hi Bcc: x@example.org"


def test_a_mail_that_no_request_can_carry_is_refused():
    """More than 20 MB of content."""
    what = Email("s", "é" * 11_000_000, "t")
    assert email.refusal(outgoing(Channel.EMAIL, what=what)).reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("ann@example.org", "ann@example.org"),
        ("Ann.O'Neil+x@sub.example.org", "Ann.O'Neil+x@sub.example.org"),
        ("ann@müller.example", "ann@xn--mller-kva.example"),
        ("ann", ""),
        ("ann@", ""),
        ("@example.org", ""),
        ("ann@localhost", ""),
        ("ann@@example.org", ""),
        (".ann@example.org", ""),
        ("a..b@example.org", ""),
        ("ann@-example.org", ""),
        ("ann@example.org\r\n", ""),
        ("ann@example.org, bob@example.org", ""),
        ("Ann <ann@example.org>", ""),
        ("änn@example.org", ""),
        ("x" * 65 + "@example.org", ""),
        ("ann@" + "x" * 300 + ".org", ""),
    ],
)
def test_mailboxes(address, known):
    """Addresses as SendGrid takes them; what is none is told before a request is spoilt by it."""
    assert mailbox(address) == known


@given(st.text(max_size=400))
def test_mailboxes_never_raise(text):
    """Any text is a mailbox or not."""
    assert mailbox(f"a@{text}").count("@") <= 1


@given(status=st.integers(100, 599), body=st.binary(max_size=100))
def test_any_sendgrid_answer_is_a_receipt(status, body):
    """No answer raises; 202 alone is accepted, and an unknown answer is in doubt."""
    answer = Answer(status, {}, body)
    said = email.receipt(answer, NOW)
    assert (said.outcome is Outcome.ACCEPTED) == (status == 202)
    assert email.at_fault(answer) == set()
    if status in (500, 502, 504):
        assert said.outcome is Outcome.DOUBT


def test_a_400_names_who_is_at_fault():
    """personalizations.17.to.0.email is the eighteenth; other fields and rubbish name nobody."""
    fields = ["personalizations.17.to.0.email", "personalizations[3].to", "from.email", None, 7]
    body = json.dumps({"errors": [{"field": field} for field in fields] + ["x"]}).encode()
    assert email.at_fault(Answer(400, {}, body)) == {3, 17}
    assert email.at_fault(Answer(413, {}, body)) == set()
