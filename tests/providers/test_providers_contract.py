"""The one contract of every provider, held by each adapter against the sandbox."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest
from provider_samples import EVERY, address, content, outgoing

from msgxc.model import Channel, Email, Outcome, Push, Reason, Receipt, Sms, Urgency
from msgxc.providers import PROVIDERS, SOURCES


@EVERY
async def test_what_is_accepted_stands_in_the_journal(channel, connect, accepted):
    """An accepted delivery reached the provider once, with our delivery id and its content."""
    sent = outgoing(channel)
    [receipt] = await connect(channel).send([sent])
    assert receipt.outcome is Outcome.ACCEPTED
    assert receipt.reason is None
    [line] = accepted(sent.target.address)
    assert line.delivery == str(sent.delivery)
    assert "arrived" in line.text + line.title or line.subject == "Your parcel"


@EVERY
async def test_receipts_stand_in_the_order_of_the_batch(channel, connect):
    """One receipt for each delivery, in order, whatever happens to its neighbours."""
    words = ["", "bad", "", "bad", "slow100", ""]
    batch = [outgoing(channel, address(channel, word)) for word in words]
    receipts = await connect(channel).send(batch)
    assert [r.outcome is Outcome.ACCEPTED for r in receipts] == [word != "bad" for word in words]


@EVERY
async def test_an_empty_batch_is_nothing(channel, connect):
    """No delivery, no receipt, no connection."""
    assert await connect(channel).send([]) == []


@EVERY
async def test_calls_may_overlap(channel, connect, accepted):
    """Forty calls at once from one loop are all answered, each with its own receipt."""
    provider = connect(channel)
    batches = [[outgoing(channel)] for _ in range(40)]
    answers = await asyncio.gather(*map(provider.send, batches))
    assert all(a[0].outcome is Outcome.ACCEPTED for a in answers)
    assert len({a[0].ref for a in answers}) == (1 if channel is Channel.WEBPUSH else 40)
    assert all(len(accepted(b[0].target.address)) == 1 for b in batches)


@EVERY
async def test_the_collapse_identity_and_the_time_to_live_go_along(channel, connect, accepted):
    """A repeat carries what lets the provider or the device replace the first copy."""
    sent = outgoing(channel, ttl=1234)
    await connect(channel).send([sent])
    [line] = accepted(sent.target.address)
    if channel is not Channel.SMS:  # there is no such thing
        assert sent.collapse in line.collapse
    if channel is not Channel.EMAIL:
        assert line.ttl == pytest.approx(1234, abs=60)


@EVERY
async def test_a_lost_answer_is_in_doubt(channel, connect, accepted):
    """Accepted, then the connection broke: DOUBT, and the adapter did not send again by itself."""
    sent = outgoing(channel, address(channel, "lost"))
    [receipt] = await connect(channel).send([sent])
    assert (receipt.outcome, receipt.reason) == (Outcome.DOUBT, Reason.TIMEOUT)
    assert len(accepted(sent.target.address)) == 1


@EVERY
async def test_no_answer_in_time_is_in_doubt(channel, connect):
    """The request left and the time is over: DOUBT, within the timeout."""
    provider = connect(channel, timeout=1.2)
    await provider.send([outgoing(channel)])  # connections and tokens are there now
    async with asyncio.timeout(60):
        [receipt] = await provider.send([outgoing(channel, address(channel, "slow9900"))])
    assert (receipt.outcome, receipt.reason) == (Outcome.DOUBT, Reason.TIMEOUT)


def _elsewhere(settings, port):
    """The settings, but for a port of this machine where nobody listens."""
    if hasattr(settings, "port"):
        return replace(settings, port=port)
    if hasattr(settings, "origins"):
        return replace(settings, origins=dict.fromkeys(settings.origins, f"https://localhost:{port}"))
    return replace(settings, url=f"https://localhost:{port}")


@EVERY
async def test_a_provider_that_is_away_means_later(channel, settings_for, unused_tcp_port):
    """Nobody listens: nothing was accepted, so LATER, and no exception."""
    provider = PROVIDERS[channel](_elsewhere(settings_for(channel, 2.0), unused_tcp_port))
    receipts = await provider.send([outgoing(channel), outgoing(channel)])
    await provider.close()
    assert [(r.outcome, r.reason) for r in receipts] == [(Outcome.LATER, Reason.UNAVAILABLE)] * 2


@EVERY
async def test_an_unknown_certificate_is_not_talked_to(channel, settings_for):
    """A peer whose certificate is not signed by whom we trust gets nothing: LATER."""
    settings = replace(settings_for(channel, 2.0), ca=None)
    provider = PROVIDERS[channel](settings)
    [receipt] = await provider.send([outgoing(channel)])
    await provider.close()
    assert (receipt.outcome, receipt.reason) == (Outcome.LATER, Reason.UNAVAILABLE)


@EVERY
async def test_a_closed_provider_can_be_closed_again_and_used_again(channel, connect):
    """Closing lets go of connections; twice is fine, and a later send opens new ones."""
    provider = connect(channel)
    await provider.close()
    assert (await provider.send([outgoing(channel)]))[0].outcome is Outcome.ACCEPTED
    await provider.close()
    await provider.close()
    assert (await provider.send([outgoing(channel)]))[0].outcome is Outcome.ACCEPTED


@EVERY
@pytest.mark.parametrize("what", [Push("a", "b"), Email("a", "<p>", "b"), Sms("a")])
async def test_content_of_another_kind_is_refused_here(channel, connect, what):
    """Content that the channel cannot carry is our bug: refused without a request."""
    sent = outgoing(channel, what=what)
    [receipt] = await connect(channel).send([sent])
    same_kind = type(what) is type(content(channel))
    assert receipt.outcome is (Outcome.ACCEPTED if same_kind else Outcome.REFUSED)
    assert receipt.reason is (None if same_kind else Reason.MALFORMED)


BROKEN = ["", "x" * 1_000_000, "a\0b", "../../x", "a\r\nX-Evil: 1", "häuser", "a b", "a@b", "\ud800", "-"]


@EVERY
async def test_malformed_addresses_are_refused_one_by_one(channel, connect):
    """Empty, huge, NUL, path, line breaks: each has its receipt and the good neighbour is accepted."""
    batch = [outgoing(channel, broken) for broken in BROKEN] + [outgoing(channel)]
    receipts = await connect(channel).send(batch)
    assert len(receipts) == len(batch)
    assert receipts[-1].outcome is Outcome.ACCEPTED
    refused = [r for r in receipts[:-1] if r.outcome in (Outcome.REFUSED, Outcome.DEAD)]
    harmless = {Channel.APNS: 1, Channel.FCM: 4}  # "-", and what FCM alone could call wrong
    assert len(refused) >= len(BROKEN) - harmless.get(channel, 0)


@EVERY
async def test_any_text_can_be_sent(channel, connect):
    """Emoji with joiners, right-to-left override, a lone surrogate, 300 characters: all accepted."""
    text = "👩‍👩‍👧‍👦 \u202eshalom\u202c \ud83d " + "é" * 300
    what = {Channel.SMS: Sms(text), Channel.EMAIL: Email(text, f"<p>{text}</p>", text)}
    sent = outgoing(channel, what=what.get(channel, Push(text, text, data={"k": text})))
    assert (await connect(channel).send([sent]))[0].outcome is Outcome.ACCEPTED


@EVERY
@pytest.mark.parametrize("urgency", Urgency)
async def test_every_urgency_is_accepted(channel, connect, urgency):
    """All four levels are words that the provider takes."""
    sent = outgoing(channel, urgency=urgency, ttl=0)
    assert (await connect(channel).send([sent]))[0].outcome is Outcome.ACCEPTED


@EVERY
async def test_settings_show_no_credential_and_nothing_is_logged_about_a_person(
    channel, connect, settings_for, caplog
):
    """repr() of the settings and all log records of a send hold no secret and no address."""
    caplog.set_level(logging.DEBUG)
    settings = settings_for(channel)
    secrets = [
        str(getattr(settings, name))
        for name in ("key_pem", "service_account", "vapid_key", "auth_token", "api_key")
        if hasattr(settings, name)
    ]
    batch = [outgoing(channel, address(channel, word)) for word in ("", "bad", "gone", "refuses")]
    await connect(channel).send(batch)
    seen = repr(settings) + caplog.text
    assert secrets
    assert not any(secret in seen for secret in secrets)
    assert not any(one.target.address in caplog.text for one in batch)


def test_the_table_names_every_channel_but_the_websocket():
    """Each channel has its adapter, under its own name, and its sources of settings."""
    assert set(PROVIDERS) == set(SOURCES) == set(Channel) - {Channel.WEBSOCKET}
    assert all(cls.channel is channel and cls.batch >= 1 for channel, cls in PROVIDERS.items())


def test_receipts_are_values():
    """Receipts compare by value, so that tables can be tested row by row."""
    assert Receipt(Outcome.ACCEPTED) == Receipt(Outcome.ACCEPTED)
