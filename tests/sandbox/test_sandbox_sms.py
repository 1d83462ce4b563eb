"""Twilio, by its wire: what it queues, what it refuses and with which code."""

from __future__ import annotations

import time

import httpx
import pytest

from msgxc.gsm7 import segments


def refused(answer: httpx.Response) -> tuple[int, int]:
    found = answer.json()
    assert found["status"] == answer.status_code
    assert found["more_info"].endswith(str(found["code"]))
    return answer.status_code, found["code"]


def test_accepts_and_journals(wire):
    """A queued message is answered 201 with its sid, and its journal line says all of it."""
    got = wire.sms("+491711234567", delivery="d1", ValidityPeriod="300")
    found = got.json()
    assert (got.status_code, found["status"], found["num_segments"], found["error_code"]) == (
        201,
        "queued",
        "1",
        None,
    )
    assert found["sid"].startswith("SM")
    assert len(found["sid"]) == 34
    (line,) = wire.accepted("+491711234567")
    assert (line.channel, line.delivery, line.text, line.ttl) == ("sms", "d1", "Hello World", 300)


def test_numbers_of_fiction_are_ordinary(wire):
    """555-0100 to 555-0199, which examples use, are not steered."""
    assert wire.sms("+12025550110").status_code == 201


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+12025551000", (400, 21610)),
        ("+12025551100", (400, 21211)),
        ("+12025551400", (400, 21614)),
        ("+12025551700", (400, 21617)),
        ("+12025554000", (401, 20003)),
        ("+12025555000", (503, 20503)),
        ("+491775551007", (400, 21610)),
    ],
)
def test_numbers_that_refuse(wire, number, expected):
    """Each steering number brings its code, every time, and nothing is journalled."""
    for _ in range(2):
        assert refused(wire.sms(number)) == expected
    assert wire.accepted(number) == []


@pytest.mark.parametrize(
    ("number", "times", "expected"),
    [
        ("+12025552000", 1, (429, 20429)),
        ("+12025552003", 3, (429, 20429)),
        ("+12025555002", 2, (503, 20503)),
        ("+12025554100", 1, (401, 20003)),
    ],
)
def test_numbers_that_pass_after_a_while(wire, number, times, expected):
    """A counted number refuses a delivery so many times and accepts it then."""
    answers = [wire.sms(number, delivery="d") for _ in range(times + 1)]
    assert [refused(one) for one in answers[:-1]] == [expected] * times
    assert answers[-1].status_code == 201


def test_slow(wire):
    """555-30NN is accepted, and answered after NN tenths of a second."""
    begun = time.perf_counter()
    assert wire.sms("+12025553002").status_code == 201
    assert time.perf_counter() - begun >= 0.2


def test_lost(wire):
    """555-60NN is accepted, then the connection is reset; the second time it is answered."""
    with pytest.raises(httpx.TransportError):
        wire.sms("+12025556000")
    assert wire.sms("+12025556000").status_code == 201
    assert len(wire.accepted("+12025556000")) == 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"to": ""}, (400, 21604)),
        ({"to": "12025550100"}, (400, 21211)),
        ({"to": "+1"}, (400, 21211)),
        ({"From": None}, (400, 21603)),
        ({"From": "!!"}, (400, 21212)),
        ({"Body": None}, (400, 21602)),
        ({"Body": "x" * 1601}, (400, 21617)),
        ({"StatusCallback": "nowhere"}, (400, 21609)),
        ({"StatusCallback": "https://[x"}, (400, 21609)),
        ({"ValidityPeriod": "0"}, (400, 20001)),
        ({"auth": ("AC0", "wrong")}, (401, 20003)),
    ],
)
def test_checks(wire, changes, expected):
    """What Twilio documents as wrong is refused with its documented code."""
    assert refused(wire.sms(**{"to": "+12025550199", **changes})) == expected
    assert wire.accepted("+12025550199") == []


def test_service(wire):
    """A messaging service may stand in for the sender; then the message is first `accepted`."""
    got = wire.sms("+12025550150", From=None, MessagingServiceSid="MG" + "0" * 32)
    assert (got.status_code, got.json()["status"]) == (201, "accepted")


def test_other_account(wire):
    """Another account's messages are not found."""
    sms = wire.at.sms
    got = wire.client.post(
        f"{sms.url}/2010-04-01/Accounts/AC0/Messages.json", auth=(sms.account_sid, sms.auth_token)
    )
    assert refused(got) == (404, 20404)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
    ],
)
def test_segments(text, count):
    """GSM-7 has 160 characters or 153 each, UCS-2 70 or 67; € takes two places of GSM-7, 😀 two of UCS-2."""
    assert segments(text) == count
