"""Each provider's error table, row by row, as far as the sandbox can be steered to it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from provider_samples import WAYS, address, outgoing

from msgxc.model import Channel, Outcome, Reason

A, F, W, S, E = Channel.APNS, Channel.FCM, Channel.WEBPUSH, Channel.SMS, Channel.EMAIL

ROWS = [
    (A, "gone", Outcome.DEAD, Reason.UNREGISTERED, "Unregistered", None),
    (A, "goneold", Outcome.DEAD, Reason.UNREGISTERED, "Unregistered", None),
    (A, "bad", Outcome.DEAD, Reason.INVALID_ADDRESS, "BadDeviceToken", None),
    (A, "mismatch", Outcome.DEAD, Reason.MISMATCH, "DeviceTokenNotForTopic", None),
    (A, "throttled", Outcome.LATER, Reason.THROTTLED, "TooManyRequests", None),
    (A, "down", Outcome.LATER, Reason.UNAVAILABLE, "ServiceUnavailable", None),
    (A, "toolarge", Outcome.REFUSED, Reason.TOO_LARGE, "PayloadTooLarge", None),
    (A, "refuses", Outcome.BLOCKED, Reason.CREDENTIALS, "InvalidProviderToken", None),
    (A, "expired", Outcome.ACCEPTED, None, "", None),
    (A, "expired2", Outcome.BLOCKED, Reason.CREDENTIALS, "ExpiredProviderToken", None),
    (F, "gone", Outcome.DEAD, Reason.UNREGISTERED, "UNREGISTERED", None),
    (F, "bad", Outcome.REFUSED, Reason.INVALID_ADDRESS, "INVALID_ARGUMENT", None),
    (F, "mismatch", Outcome.REFUSED, Reason.MISMATCH, "SENDER_ID_MISMATCH", None),
    (F, "throttled", Outcome.LATER, Reason.THROTTLED, "QUOTA_EXCEEDED", 1.0),
    (F, "down", Outcome.LATER, Reason.UNAVAILABLE, "UNAVAILABLE", 10.0),
    (F, "toolarge", Outcome.REFUSED, Reason.TOO_LARGE, "INVALID_ARGUMENT", None),
    (F, "refuses", Outcome.BLOCKED, Reason.CREDENTIALS, "PERMISSION_DENIED", None),
    (F, "expired", Outcome.ACCEPTED, None, "", None),
    (F, "expired2", Outcome.BLOCKED, Reason.CREDENTIALS, "UNAUTHENTICATED", None),
    (W, "gone", Outcome.DEAD, Reason.UNREGISTERED, "410", None),
    (W, "bad", Outcome.REFUSED, Reason.MALFORMED, "400", None),
    (W, "mismatch", Outcome.REFUSED, Reason.MISMATCH, "403", None),
    (W, "throttled", Outcome.LATER, Reason.THROTTLED, "429", 1.0),
    (W, "down", Outcome.LATER, Reason.UNAVAILABLE, "503", 1.0),
    (W, "toolarge", Outcome.REFUSED, Reason.TOO_LARGE, "413", None),
    (W, "refuses", Outcome.BLOCKED, Reason.CREDENTIALS, "403", None),
    (W, "expired", Outcome.BLOCKED, Reason.CREDENTIALS, "401", None),
    (S, "gone", Outcome.DEAD, Reason.INVALID_ADDRESS, "21614", None),
    (S, "bad", Outcome.DEAD, Reason.INVALID_ADDRESS, "21211", None),
    (S, "stop", Outcome.REFUSED, Reason.STOPPED, "21610", None),
    (S, "throttled", Outcome.LATER, Reason.THROTTLED, "20429", None),
    (S, "down", Outcome.DOUBT, Reason.UNAVAILABLE, "503", None),
    (S, "toolarge", Outcome.REFUSED, Reason.TOO_LARGE, "21617", None),
    (S, "refuses", Outcome.BLOCKED, Reason.CREDENTIALS, "20003", None),
    (E, "gone", Outcome.ACCEPTED, None, "", None),
    (E, "bad", Outcome.REFUSED, Reason.INVALID_ADDRESS, "400", None),
    (E, "throttled", Outcome.LATER, Reason.THROTTLED, "429", 1.0),
    (E, "down", Outcome.LATER, Reason.UNAVAILABLE, "503", None),
    (E, "toolarge", Outcome.REFUSED, Reason.TOO_LARGE, "413", None),
    (E, "refuses", Outcome.BLOCKED, Reason.CREDENTIALS, "401", None),
]


OVER = [(*row, transport) for row in ROWS for transport in ("lean", "library") if (row[0], transport) in WAYS]
BOTH = pytest.mark.parametrize("transport", ["lean", "library"])


@pytest.mark.parametrize(("channel", "word", "outcome", "reason", "code", "wait", "transport"), OVER)
async def test_an_answer_means_what_the_table_says(channel, word, outcome, reason, code, wait, connect):
    """The provider's answer becomes this outcome and reason, with its own code beside it."""
    [receipt] = await connect(channel).send([outgoing(channel, address(channel, word))])
    assert (receipt.outcome, receipt.reason, receipt.code or "") == (
        outcome,
        reason,
        code or receipt.code,
    )
    assert receipt.retry_after == (pytest.approx(wait, abs=1) if wait else None)


@BOTH
@pytest.mark.parametrize("channel", [A, F, W, E])
async def test_what_was_throttled_is_accepted_later(channel, connect, accepted):
    """The same delivery, tried again after a 429, is accepted, once."""
    provider, sent = connect(channel), outgoing(channel, address(channel, "throttled"))
    first, second = (await provider.send([sent]))[0], (await provider.send([sent]))[0]
    assert (first.outcome, second.outcome) == (Outcome.LATER, Outcome.ACCEPTED)
    assert len(accepted(sent.target.address)) == 1


@BOTH
async def test_the_time_of_death_is_apples(connect):
    """410 carries since when the token is dead: now, or long ago, when a younger token must stay."""
    batch = [outgoing(A, address(A, word)) for word in ("gone", "goneold", "bad")]
    now, old, unsaid = [r.dead_since for r in await connect(A).send(batch)]
    assert abs(now - datetime.now(UTC)) < timedelta(minutes=1)
    assert old == datetime(2019, 1, 1, tzinfo=UTC)
    assert unsaid is None


@BOTH
@pytest.mark.parametrize("channel", [A, F])
async def test_an_expired_token_is_renewed_once_for_all(channel, connect, accepted):
    """Thirty deliveries that meet an expired token at once are each sent again and accepted once."""
    batch = [outgoing(channel, address(channel, "expired")) for _ in range(30)]
    receipts = await connect(channel).send(batch)
    assert {r.outcome for r in receipts} == {Outcome.ACCEPTED}
    assert all(len(accepted(one.target.address)) == 1 for one in batch)


async def test_one_email_request_carries_many(connect, accepted):
    """A batch of one campaign shares a request: one message id for all, each in the journal once."""
    batch = [outgoing(E) for _ in range(200)]
    receipts = await connect(E).send(batch)
    assert {r.outcome for r in receipts} == {Outcome.ACCEPTED}
    assert len({r.ref for r in receipts}) == 1
    assert all(len(accepted(one.target.address)) == 1 for one in batch[::20])


async def test_bad_email_addresses_do_not_take_the_others_along(connect, accepted):
    """SendGrid refuses a whole request for one address: the others are sent again, and only they."""
    words = ["", "bad", "", "", "bad", "toolarge", ""]
    batch = [outgoing(E, address(E, word)) for word in words]
    receipts = await connect(E).send(batch)
    reasons = {"": None, "bad": Reason.INVALID_ADDRESS, "toolarge": Reason.TOO_LARGE}
    assert [r.reason for r in receipts] == [reasons[word] for word in words]
    assert [len(accepted(one.target.address)) for one in batch] == [word == "" for word in words]


async def test_an_address_twice_in_a_batch_goes_in_two_requests(connect, accepted):
    """SendGrid refuses a request that names an address twice, so the second leaves by itself."""
    to = address(E)
    batch = [outgoing(E, to), outgoing(E), outgoing(E, to.upper().replace("EXAMPLE.ORG", "example.org"))]
    receipts = await connect(E).send(batch)
    assert {r.outcome for r in receipts} == {Outcome.ACCEPTED}
    assert receipts[0].ref == receipts[1].ref != receipts[2].ref


@BOTH
async def test_several_apns_streams_share_a_connection(connect, transport):
    """A hundred pushes leave over one connection, as Apple asks."""
    provider = connect(A)
    await asyncio.gather(*(provider.send([outgoing(A)]) for _ in range(100)))
    way = provider._over
    assert len(way.client.lines if transport == "lean" else way.pool.connections) == 1
