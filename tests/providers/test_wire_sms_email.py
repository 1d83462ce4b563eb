"""The pure wire halves of sms and email, and how many emails become one request. No network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider_samples import NOW, outgoing
from sendgrid import SendGridAPIClient

from msgxc.model import Channel, Email, Outcome, Outgoing, Reason, Receipt, Shape, Sms
from msgxc.providers import email, sms
from msgxc.providers.email_batch import SUBSTITUTIONS_LIMIT, Joined, by_shape, join, lots
from msgxc.providers.email_document import document
from msgxc.providers.email_draft import draft
from msgxc.providers.mailbox import mailbox
from msgxc.providers.wire import Answer, to_json

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


SERVICE = "MG" + "0123" * 8


def test_a_messaging_service_chooses_the_sender():
    """MG… is a messaging service, not a number."""
    service = sms.SmsSettings("AC0", "secret", SERVICE)
    asked = sms.form(outgoing(Channel.SMS, TO), service)
    assert asked["MessagingServiceSid"] == SERVICE
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


def _rebuilt(emails: list[Email], requests: Sequence[Joined] | None = None) -> list[Email]:
    """What SendGrid would mail: each request's content with each recipient's substitutions."""
    found: dict[int, Email] = {}
    for joined in join(emails) if requests is None else requests:
        for member, values in zip(joined.members, joined.values, strict=True):
            html, text = joined.html, joined.text
            for tag, value in values.items():
                html, text = html.replace(tag, value), text.replace(tag, value)
            assert member not in found
            found[member] = Email(emails[member].subject, html, text)
    return [found[n] for n in range(len(emails))]


def _documents(batch: list[Outgoing]) -> list[dict[str, Any]]:
    """The requests of a batch."""
    emails, to = [out.content for out in batch], [mailbox(out.target.address) for out in batch]
    joined, rest = by_shape(emails)
    return [document(batch, to, one, EMAIL) for one in joined + (join(emails, rest) if rest else [])]


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


def _says_the_same_in_any_order(joined: Joined, emails: Sequence[Email]) -> None:
    """Whatever tag SendGrid substitutes first: each page is as it was rendered."""
    for member, values in zip(joined.members, joined.values, strict=True):
        for order in permutations(values):
            html = joined.html
            for tag in order:
                html = html.replace(tag, values[tag])
            assert html == emails[member].html


def test_no_order_of_substitution_makes_a_tag_of_content():
    """What stands behind a tag would make another one with the tag's end: the tags become others."""
    emails = [Email("s", f"<p>{n}m0x2-</p>{n + 5}>", "") for n in range(4)]
    [joined] = join(emails)
    _says_the_same_in_any_order(joined, emails)


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


WELCOME = Shape(("<p>Hi ", "!</p><p>", "</p>"), ("Hi ", "!\n", "\n"))


def _shaped(name: str, link: str, shape: Shape = WELCOME) -> Email:
    return Email.shaped(f"Hi {name}", shape, (_escape(name), _escape(link), name, link))


@given(st.lists(st.tuples(NAME, NAME), min_size=1, max_size=9), st.integers(0, 2))
def test_emails_of_one_shape_come_out_as_they_went_in(people, others):
    """Also beside some that share no shape, and whatever the values look like."""
    emails = [_shaped(*person) for person in people] + [_welcome("Eve", str(n)) for n in range(others)]
    joined, rest = by_shape(emails)
    assert _rebuilt(emails, joined + join(emails, rest)) == emails


def test_a_shape_is_a_request():
    """Four of a shape leave together, uncompared; of what has fewer, one request is made by comparing."""
    shapes = [Shape((f"<p>{n}", "</p>", ""), ("", "", "")) for n in range(5)]
    emails = [_shaped("Ann", str(n), shape) for shape in shapes[:2] for n in range(4)]
    emails += [_shaped("Ann", "x", shape) for shape in shapes[2:]]
    joined, rest = by_shape(emails)
    assert [one.members for one in joined] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert rest == [8, 9, 10]
    assert by_shape(emails[8:9])[1] == []  # nothing to compare it with


def test_what_is_the_same_for_all_of_a_shape_is_no_substitution():
    """A value that all have is content; one that stands twice has one tag."""
    [joined], _ = by_shape([_shaped("Ann", f"https://x.example/{n}") for n in range(4)])
    assert joined.html == "<p>Hi Ann!</p><p>-~0-</p>"
    assert joined.text == "Hi Ann!\n-~0-\n"
    assert list(joined.values) == [{"-~0-": f"https://x.example/{n}"} for n in range(4)]


@pytest.mark.parametrize("odd", ["~", "-~0-", "`", "~`", "0-", "-", "-~0--`1-", "m0x1-", "-m0x0-", "m", "m0"])
def test_no_value_is_taken_for_a_tag(odd):
    """In whatever order SendGrid substitutes."""
    shape = Shape(("a", "", "", "z"), ("",))
    emails = [Email.shaped("s", shape, (f"{odd}{n}", f"0{n}-", f"{n}{odd}")) for n in range(4)]
    joined, rest = by_shape(emails)
    for one in joined + (join(emails, rest) if rest else []):
        _says_the_same_in_any_order(one, emails)


LIKE_TAGS = st.text(alphabet="-~`01mx", max_size=4)


@given(
    pieces=st.tuples(LIKE_TAGS, LIKE_TAGS, LIKE_TAGS),
    rows=st.lists(st.tuples(LIKE_TAGS, LIKE_TAGS), min_size=1, max_size=6),
    subject=LIKE_TAGS,
    backwards=st.booleans(),
)
def test_any_pieces_and_values_come_out_as_they_went_in(pieces, rows, subject, backwards):
    """Also when all of them look like tags and parts of tags."""
    shape = Shape(pieces, ("t",))
    emails = [Email.shaped(subject, shape, row) for row in rows]
    joined, rest = by_shape(emails)
    for one in joined + (join(emails, rest) if rest else []):
        for member, values in zip(one.members, one.values, strict=True):
            html = one.html
            for tag in sorted(values, reverse=backwards):
                assert tag not in subject
                html = html.replace(tag, values[tag])
            assert html == emails[member].html


def test_a_value_that_all_have_is_not_taken_for_a_tag():
    """It is content, and as little to be substituted as any other."""
    emails = [_shaped(str(n), "-~0-") for n in range(4)]
    joined, rest = by_shape(emails)
    assert _rebuilt(emails, joined + join(emails, rest)) == emails


def test_a_subject_that_holds_a_tag_is_not_substituted():
    """SendGrid substitutes in subjects too."""
    emails = [Email.shaped(f"-~{n}-", WELCOME, ("a", "b", f"a{n}", "b")) for n in range(4)]
    [joined], _ = by_shape(emails)
    assert not any(tag in email_.subject for email_ in emails for tag in joined.values[0])


def test_substitutions_that_do_not_fit_are_content():
    """Somebody's values are longer than 10,000 bytes: these emails are compared, and parted."""
    emails = [_shaped("Ann", "é" * 6000 + str(n)) for n in range(5)]
    joined, rest = by_shape(emails)
    assert not joined
    assert _rebuilt(emails, join(emails, rest)) == emails


def test_the_request_is_what_sendgrids_client_makes():
    """Its address, its headers, and a body that means the same, of which the client writes more bytes."""
    batch = [
        outgoing(Channel.EMAIL, what=_shaped(name, "https://x/é")) for name in ("Zoë 🌱", "Bo", "Al", "佐藤")
    ]
    [body] = _documents(batch)
    assert body["personalizations"][0]["substitutions"]
    client = SendGridAPIClient("SG.key", host="https://api.example").client
    whole, empty = draft(client, body), draft(client, {})
    assert whole.full_url == empty.full_url == "https://api.example/v3/mail/send"
    assert whole.header_items() == empty.header_items()
    assert json.loads(to_json(body)) == json.loads(whole.data)
    assert len(to_json(body)) <= len(whole.data)


def test_a_surrogate_is_replaced_in_what_is_compared_and_what_is_not():
    """Whole emails may hold anything; a request is UTF-8."""
    batch = [
        outgoing(Channel.EMAIL, what=Email("s\ud83d", "<p>\ud83d</p>", f"\ud83d\ude00{n}")) for n in range(3)
    ]
    for some in (batch, batch[:1]):
        [body] = _documents(some)
        text, html = body["content"]
        assert html["value"] == "<p>\ufffd</p>"
        assert text["value"].startswith("\U0001f600")
        assert body["personalizations"][0]["subject"] == "s\ufffd"
        assert json.loads(to_json(body)) == body


def test_a_bulk_mail_can_be_left_with_one_click():
    """RFC 8058: both headers when there is a URL, neither when there is none; Message-ID is the repeat's."""
    batch = [
        outgoing(Channel.EMAIL, "a@example.org", unsubscribe="https://x.example/u/1"),
        outgoing(Channel.EMAIL, "b@example.org"),
    ]
    [body] = _documents(batch)
    bulk, single = (person["headers"] for person in body["personalizations"])
    assert bulk["List-Unsubscribe"] == "<https://x.example/u/1>"
    assert bulk["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert single == {"Message-ID": f"<{batch[1].collapse}@example.org>"}


def test_nothing_is_tracked_unless_asked():
    """Click, open and subscription tracking are off; the campaign is the category."""
    [body] = _documents([outgoing(Channel.EMAIL)])
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
        (Email.shaped("s", Shape(("", ""), ("",)), ("",)), ""),
        (Email("s", "h", "t"), "https://x>\r\nBcc: y@example.org"),
    ],
)
def test_a_mail_without_subject_or_content_is_refused(what, unsubscribe):
    """So is an unsubscribe URL that would break out of its header."""
    said = email.refusal(outgoing(Channel.EMAIL, what=what, unsubscribe=unsubscribe), "a@example.org")
    assert said == Receipt(Outcome.REFUSED, Reason.MALFORMED)


@pytest.mark.parametrize("between", ["\r\n", "\n", "\r", "\x00", "\x0b\x1b", "\x85", "\u2028", "\x7f"])
def test_a_subject_is_one_line(between: str):
    """A line break, NUL or another control character in a subject becomes a space: no header is injected."""
    sent = outgoing(Channel.EMAIL, what=Email(f"Hi{between}Bcc: x@example.org", "<p>", "t"))
    [body] = _documents([sent])
    assert body["personalizations"][0]["subject"] == "Hi Bcc: x@example.org"


def test_a_subject_keeps_its_emoji():
    """Joiners and other invisible letters are no control characters."""
    subject = "Hi \U0001f469\u200d\U0001f4bb \u00ad\u200f"
    [body] = _documents([outgoing(Channel.EMAIL, what=Email(subject, "<p>", "t"))])
    assert body["personalizations"][0]["subject"] == subject


def test_a_mail_that_no_request_can_carry_is_refused():
    """More than 20 MB of content, be it the pieces' or the values'."""
    large = "é" * 11_000_000
    for what in (Email("s", large, "t"), Email.shaped("s", Shape(("<p>", "</p>"), ("t",)), (large,))):
        said = email.refusal(outgoing(Channel.EMAIL, what=what), "a@example.org")
        assert said == Receipt(Outcome.REFUSED, Reason.TOO_LARGE)
    small = Email.shaped("s", Shape(("<p>", "</p>"), ("t",)), ("é" * 6_000_000,))
    assert email.refusal(outgoing(Channel.EMAIL, what=small), "a@example.org") is None


def test_an_address_that_is_none_is_refused():
    """Before it spoils a request for the others."""
    said = email.refusal(outgoing(Channel.EMAIL), "")
    assert said == Receipt(Outcome.REFUSED, Reason.INVALID_ADDRESS)


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
