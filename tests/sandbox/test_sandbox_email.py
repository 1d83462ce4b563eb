"""SendGrid, by its wire: a request is taken as a whole or refused as a whole."""

from __future__ import annotations

import time

import httpx
import pytest


def refused(answer: httpx.Response) -> tuple[int, str | None]:
    """Status and the field that the error names."""
    (error,) = answer.json()["errors"]
    assert error["message"]
    assert set(error) == {"message", "field", "help"}
    return answer.status_code, error["field"]


def person(address: str, **more: object) -> dict[str, object]:
    return {"to": [{"email": address}], **more}


def test_accepts_and_journals(wire):
    """An accepted request is answered 202 with a message id, and has one journal line a person."""
    people = [
        person("ann@example.com", custom_args={"delivery": "d1"}, headers={"Message-ID": "<m1@x>"}),
        person("bob@example.com", subject="Hi Bob"),
    ]
    got = wire.email(personalizations=people)
    assert (got.status_code, got.content) == (202, b"")
    assert got.headers["x-message-id"]
    (ann,), (bob,) = wire.accepted("ann@example.com"), wire.accepted("bob@example.com")
    assert (ann.channel, ann.delivery, ann.collapse, ann.subject) == ("email", "d1", "<m1@x>", "Hello")
    assert (bob.delivery, bob.subject) == ("", "Hi Bob")


def test_thousand_people_in_one_request(wire):
    """1,000 personalizations are accepted, 1,001 are refused, by either protocol."""
    first = type(wire)(wire.at, http2=False)
    for one, client in (("a", wire), ("b", first)):
        many = [f"{one}{number}@many.example.com" for number in range(1001)]
        assert client.email(*many[:1000]).status_code == 202
        assert len(wire.accepted(f"{one}999@many.example.com")) == 1
        assert refused(client.email(*many)) == (400, "personalizations")
    first.client.close()


def test_gone_bounces_later(wire):
    """A dead mailbox is accepted: SendGrid learns of it afterwards."""
    assert wire.email("gone-1@example.com").status_code == 202
    assert len(wire.accepted("gone-1@example.com")) == 1


@pytest.mark.parametrize(
    ("word", "status", "field"),
    [
        ("bad", 400, "personalizations.1.to.0.email"),
        ("refuses", 401, None),
        ("toolarge", 413, None),
        ("down", 503, None),
    ],
)
def test_words_that_refuse(wire, word, status, field):
    """One steering word among the people refuses the whole request; nobody is journalled."""
    for _ in range(2):
        got = wire.email(f"plain-{word}@example.com", f"{word}-1@example.com")
        assert refused(got) == (status, field)
    assert wire.accepted(f"plain-{word}@example.com") == []


@pytest.mark.parametrize(
    ("word", "times", "status"), [("throttled2", 2, 429), ("down1", 1, 503), ("expired", 1, 401)]
)
def test_words_that_pass_after_a_while(wire, word, times, status):
    """A counted word refuses so many times, and then the whole request is accepted."""
    people = (f"{word}-x@example.com", f"with-{word}@example.com")
    answers = [wire.email(*people) for _ in range(times + 1)]
    assert [one.status_code for one in answers] == [status] * times + [202]
    assert len(wire.accepted(people[1])) == 1


def test_slow(wire):
    """slowN is accepted, and answered after N milliseconds; the slowest of a request counts."""
    begun = time.perf_counter()
    assert wire.email("slow10@example.com", "slow200-a@example.com").status_code == 202
    assert time.perf_counter() - begun >= 0.2


def test_lost(wire):
    """lost: all of the request is accepted, then the connection is reset; the second time it is answered."""
    people = ("lost-a@example.com", "with-lost@example.com")
    with pytest.raises(httpx.TransportError):
        wire.email(*people)
    assert wire.email(*people).status_code == 202
    assert [len(wire.accepted(one)) for one in people] == [2, 2]


@pytest.mark.parametrize(
    ("mail", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"personalizations": []}, "personalizations"),
        ({"personalizations": None}, "personalizations"),
        ({"personalizations": ["x"]}, "personalizations.0"),
        ({"personalizations": [{}]}, "personalizations.0.to"),
        ({"personalizations": [{"to": []}]}, "personalizations.0.to"),
        ({"personalizations": [person("nobody")]}, "personalizations.0.to.0.email"),
        ({"personalizations": [person("a@x.com", colour=1)]}, "personalizations.0.colour"),
        ({"personalizations": [person("a@x.com", custom_args={"n": 1})]}, "personalizations.0.custom_args"),
        (
            {"personalizations": [person("a@x.com", custom_args={"n": "x" * 10_001})]},
            "personalizations.0.custom_args",
        ),
        ({"personalizations": [person("a@x.com", headers={"Subject": "x"})]}, "personalizations.0.headers"),
        ({"personalizations": [person("a@x.com", cc=[{"email": "A@x.com"}])]}, "personalizations.0"),
        ({"from": None}, "from.email"),
        ({"from": {"email": "nobody"}}, "from.email"),
        ({"subject": None}, "subject"),
        ({"content": None}, "content"),
        ({"content": [{"type": "text/html", "value": ""}]}, "content.0.value"),
        ({"content": [{"type": "text/html", "value": "x"}, {"type": "text/plain", "value": "x"}]}, "content"),
        ({"send_at": int(time.time()) + 80 * 3600}, "send_at"),
        ({"send_at": "soon"}, "send_at"),
    ],
)
def test_checks(wire, mail, field):
    """What SendGrid documents as wrong is refused with 400 and the field's path."""
    assert refused(wire.email("a@x.com", **mail)) == (400, field)
    assert wire.accepted("a@x.com") == []


def test_template_needs_no_content(wire):
    """With a template id, subject and content come from the template."""
    assert wire.email("t@example.com", template_id="d-1", content=None, subject=None).status_code == 202


def test_key(wire):
    """Another API key is refused with 401."""
    assert refused(wire.email("k@example.com", key="SG.other")) == (401, None)


def test_other_requests(wire):
    """Other paths, methods and types of content are refused."""
    url, headers = wire.at.email.url, {"authorization": f"Bearer {wire.at.email.api_key}"}
    assert wire.client.post(f"{url}/v3/other").status_code == 404
    assert wire.client.get(f"{url}/v3/mail/send").status_code == 405
    assert wire.client.post(f"{url}/v3/mail/send", data={"a": "b"}, headers=headers).status_code == 415
    assert wire.client.post(f"{url}/v3/mail/send", content="[", headers=headers).status_code == 415
    typed = {**headers, "content-type": "application/json"}
    assert refused(wire.client.post(f"{url}/v3/mail/send", content="[", headers=typed)) == (400, None)
