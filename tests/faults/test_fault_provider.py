"""Faults 5, 6, 7, 8, 11 and 32: what a provider answers, or does not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from fault_front import front, honest, raw
from fault_world import NEVER, PATIENCE, World, brief_call, crowd, device, fresh, on_sqlite, person

from msgxc import campaigns
from msgxc.errors import ProviderBlocked
from msgxc.ledger import Mark
from msgxc.model import DEVICE_CHANNELS, Channel, Recipient
from msgxc.providers.waiting import LONGEST
from msgxc.reports.funnel import End
from msgxc.sandbox.wire import Answer, Handler, Request, Response, as_json

pytestmark = on_sqlite
DEVICES = (Channel.APNS, Channel.WEBPUSH, Channel.EMAIL)


def those(channel: Channel, count: int, word: str = "ok") -> list[Recipient]:
    """People on one channel whose addresses begin with a word."""
    if channel is Channel.EMAIL:
        return [person(email=f"{fresh(word)}@example.com") for _ in range(count)]
    if channel is Channel.SMS:
        return [person(cell=f"+4930{n:04d}555{word}") for n in random.Random().sample(range(9_999), count)]
    return crowd(count, channel, word)


def now_and_then(share: float, seed: int) -> Callable[[Request, float, Handler], Answer]:
    """A provider that answers 500, 502 or 503 to a share of the requests, accepting nothing of them."""
    chance = random.Random(seed)

    def spoil(request: Request, now: float, real: Handler) -> Answer:
        if chance.random() < share:
            return Answer(Response(chance.choice((500, 502, 503))))
        return real(request, now)

    return spoil


@pytest.mark.parametrize("channel", DEVICES)
async def test_5_a_fifth_of_the_answers_are_outages(world: World, channel: Channel) -> None:
    """Fault 5. 20 % of the answers are 500, 502 or 503, at random: everybody gets it, once (I1, I2, I6)."""
    people = those(channel, 60)
    what = await world.campaign(f"outages-{channel}", people, channels=(channel,))
    async with front(world, channel, now_and_then(0.2, 5)) as provider:
        await asyncio.wait_for(world.send(what), PATIENCE)
        await world.judge(what, people)
    assert len(provider.requests) > 60 or channel is Channel.EMAIL


async def test_5_an_outage_of_sms_is_a_doubt(world: World) -> None:
    """Fault 5. Twilio may have sent what it answers by a 5xx: these are unknown, nobody gets it twice."""
    people = those(Channel.SMS, 30, "0101")
    what = await world.campaign("outages-sms", people, channels=(Channel.SMS,))
    async with front(world, Channel.SMS, now_and_then(0.3, 3)) as provider:
        await world.send(what)
    assert len(provider.requests) == 30
    report = await world.judge(what, people, lost=30)
    assert report.ends[End.UNKNOWN] == 30 - len(world.ground.by_person())


def _date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


#: What Retry-After says -> the seconds that are waited for: at least, at most (backoff and jitter counted).
ASKED: dict[str, tuple[Callable[[], str | None], float, float]] = {
    "seconds": (lambda: "40", 40, 50),
    "a date": (lambda: _date(60), 58, 75),
    "a date that is over": (lambda: _date(-600), 1, 1.5),
    "absurd": (lambda: "99999999999", LONGEST, LONGEST * 1.25),
    "the year 9999": (lambda: "Fri, 31 Dec 9999 23:59:59 GMT", LONGEST, LONGEST * 1.25),
    "negative": (lambda: "-20", 1, 1.5),
    "a fraction": (lambda: "0.2", 1, 1.5),
    "nonsense": (lambda: "soon", 1, 1.5),
    "empty": (lambda: "", 1, 1.5),
    "missing": (lambda: None, 1, 1.5),
}


async def test_6_a_throttled_request_waits_as_it_is_told(world: World) -> None:
    """Fault 6. 429 with Retry-After in seconds, as a date, absurd, negative, nonsense, missing: not
    before what it says, not within a second, and within an hour and a quarter; then accepted, once."""
    people = {kind: those(Channel.WEBPUSH, 1)[0] for kind in ASKED}
    kinds = {someone.devices[0].token.rpartition("/")[2]: kind for kind, someone in people.items()}
    answered: dict[str, datetime] = {}

    def spoil(request: Request, now: float, real: Handler) -> Answer:
        kind = kinds.get(request.path.rpartition("/")[2])
        if kind is None or kind in answered:
            return real(request, now)
        answered[kind] = datetime.now(UTC)
        said = ASKED[kind][0]()
        return Answer(Response(429, () if said is None else (("retry-after", said),)))

    others = those(
        Channel.WEBPUSH, 600
    )  # so many that no call has several: nobody takes the provider for down
    everybody = [*people.values(), *others]
    what = await world.campaign("throttled", everybody, channels=(Channel.WEBPUSH,))
    async with front(world, Channel.WEBPUSH, spoil):
        planned = await world.prepare(what)
        await campaigns.send_slice(world.exchange, planned.id, 0, planned.shards, stop=NEVER, patient=False)
        rows = {row.uid: row for row in await world.rows(what)}
        for kind, (_, least, most) in ASKED.items():
            waited = (rows[people[kind].uid].marks[Mark.LATER] - answered[kind]).total_seconds()
            assert least - 0.01 <= waited <= most + 5, f"{kind}: {waited} s"
        short = {someone.uid for kind, someone in people.items() if ASKED[kind][2] < 2}
        await asyncio.sleep(1.3)
        await campaigns.send_slice(world.exchange, planned.id, 0, planned.shards, stop=NEVER, patient=False)
        assert world.ground.by_person(people.values()) == dict.fromkeys(short, 1)


async def test_6_each_device_of_a_person_waits_as_it_was_told(world: World) -> None:
    """Fault 6. Two devices of one person, put off for 1 s and for 4 s: the second is not asked again when the
    first is due, and each gets it once."""
    asked: dict[str, list[float]] = {"quick": [], "slow": []}
    both = [device(Channel.WEBPUSH, fresh(word)) for word in asked]
    people = [person(*both)]

    def spoil(request: Request, now: float, real: Handler) -> Answer:
        word = request.path.rpartition("/")[2].partition("-")[0]
        asked[word].append(now)
        if len(asked[word]) > 1:
            return real(request, now)
        wait = "1" if word == "quick" else "4"
        return Answer(Response(429, (("retry-after", wait),)))

    what = await world.campaign("two-devices", people, channels=(Channel.WEBPUSH,))
    async with front(world, Channel.WEBPUSH, spoil):
        await asyncio.wait_for(world.send(what), PATIENCE)
        assert world.ground.by_person() == {people[0].uid: 2}
    assert asked["slow"][1] - asked["slow"][0] >= 4
    assert [len(times) for times in asked.values()] == [2, 2]


#: FCM waits for at least 10 s after what it may take for an outage, so only `hold` here.
RESETS = [(channel, policy) for channel in DEVICES for policy in ("resend", "hold")]


@pytest.mark.parametrize(("channel", "policy"), [*RESETS, (Channel.FCM, "hold")])
async def test_7_accepted_and_then_reset(world: World, channel: Channel, policy: str) -> None:
    """Fault 7. The provider accepts and the connection breaks before its answer: sent once more, under the
    same identity (resend); or known as unknown (hold). Those beside them are not touched, unless
    their connection broke under them: then they are in doubt as well, and nobody is asked a third time."""
    lost, others = those(channel, 3, "lost"), those(channel, 20)
    people = [*lost, *others]
    what = await world.campaign(f"reset-{channel}", people, channels=(channel,), in_doubt=policy)
    await asyncio.wait_for(world.send(what), PATIENCE)
    together = channel is Channel.EMAIL  # one request carries them all
    shared = channel in DEVICE_CHANNELS  # one connection carries many requests, and all break with it
    doubted = len(people) if together else world.ground.repeats() if shared else 3
    if policy == "hold":
        report = await world.judge(what, people, lost=len(people))
        assert 3 <= report.ends[End.UNKNOWN] <= len(people)
        assert world.ground.repeats() == 0
    else:
        await world.judge(what, people, repeats=max(3, doubted), lost=len(people) if shared else 0)
        unknown = [row for row in await world.rows(what) if row.state is Mark.UNKNOWN]
        assert {row.doubts for row in unknown} <= {2}, "what was in doubt once is sent again"
        assert world.ground.repeats(lost) + len(unknown) >= 3


@brief_call
async def test_8_no_answer(world: World) -> None:
    """Fault 8. Accepted, but answered later than the timeout: the call ends in time, in doubt; with `hold`
    nobody gets it twice, and the report says unknown."""
    people = [*those(Channel.APNS, 2, "slow3600000"), *those(Channel.APNS, 30)]
    what = await world.campaign("slow", people, in_doubt="hold")
    await asyncio.wait_for(world.send(what), PATIENCE)
    report = await world.judge(what, people, lost=2)
    assert report.ends[End.UNKNOWN] == 2
    assert len(world.ground.by_person()) == 32


@brief_call
@pytest.mark.parametrize("channel", [Channel.APNS, Channel.EMAIL])
async def test_8_an_answer_that_is_always_late(world: World, channel: Channel) -> None:
    """Fault 8. One address of forty is accepted at once and answered later than the timeout, each time: two
    copies of a push at most, one of an email, none more of the others; all of it is in the report."""
    slow, others = those(channel, 1, "slow40000"), those(channel, 40)
    people = [*slow, *others]
    what = await world.campaign(f"late-{channel}", people, channels=(channel,))
    await asyncio.wait_for(world.send(what), PATIENCE)
    pushed = channel is Channel.APNS
    accepted = world.ground.by_person()
    assert accepted[slow[0].uid] == (2 if pushed else 1)
    assert all(accepted[someone.uid] == 1 for someone in others)
    report = await campaigns.report(world.exchange, what.name)
    assert report.adds_up
    assert report.sent_again == world.ground.repeats() == (1 if pushed else 0)
    if pushed:
        assert report.ends == {End.REACHED: 40, End.UNKNOWN: 1}


@brief_call
@pytest.mark.parametrize("pace", [0.0, 1.0])
async def test_8_an_endless_body(world: World, pace: float) -> None:
    """Fault 8. 201, and then a body that never ends, one byte a second or as fast as it goes: the status
    counts, the body is cut off, the connection is left; everybody is reached, nothing is sent twice."""
    people = those(Channel.WEBPUSH, 5)
    what = await world.campaign("endless", people, channels=(Channel.WEBPUSH,))
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            asked.append(head.split()[1])
            writer.write(b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"1\r\nx\r\n" if pace else b"1000\r\n" + b"x" * 4096 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(pace)

    async with raw(world, Channel.WEBPUSH, serve):
        await asyncio.wait_for(world.send(what), PATIENCE)
    assert len(asked) == len(set(asked)) == 5
    report = await campaigns.report(world.exchange, what.name)
    assert report.ends == {End.REACHED: 5}


@pytest.mark.parametrize("channel", [Channel.APNS, Channel.FCM])
async def test_11_credentials_that_expire_on_the_way(world: World, channel: Channel) -> None:
    """Fault 11. The provider says that our token has expired: it is renewed, once for all who were refused,
    and everybody gets it, once."""
    people = [*those(channel, 20), *those(channel, 5, "expired1")]
    what = await world.campaign(f"expired-{channel}", people, channels=(channel,))
    await asyncio.wait_for(world.send(what), PATIENCE)
    await world.judge(what, people)


@pytest.mark.parametrize("channel", [Channel.APNS, Channel.FCM, Channel.EMAIL, Channel.SMS])
async def test_11_refused_credentials_stop_and_lose_nothing(world: World, channel: Channel) -> None:
    """Fault 11. Refused credentials end the run with one clear error, with no credential in it, after at most
    what was under way; the same campaign, started again when they are in order, reaches everybody once."""
    people = those(channel, 60, "0101" if channel is Channel.SMS else "ok")
    what = await world.campaign(f"refused-{channel}", people, channels=(channel,))
    status = 403 if channel is Channel.APNS else 401
    body = {"reason": "InvalidProviderToken"} if channel is Channel.APNS else {}

    def refuse(request: Request, now: float, real: Handler) -> Answer:
        if request.path == "/token":
            return real(request, now)
        return Answer(as_json(status, body))

    async with front(world, channel, refuse) as provider:
        with pytest.raises(
            ProviderBlocked, match=f"{channel}: the provider refuses our credentials"
        ) as caught:
            await world.send(what)
        assert "Bearer" not in str(caught.value)
        calls = len([r for r in provider.requests if r.path != "/token"])
        assert calls <= 2 * world.settings.in_flight  # each may have been tried with a fresh token
        assert world.ground.accepted() == []
        provider.spoil = honest
        await asyncio.wait_for(world.send(what), PATIENCE)
        await world.judge(what, people)


#: A 200 (or what is the provider's) that accepts nothing, in all the ways in which it may be wrong.
FALSE_OKS: dict[str, Callable[[], Response]] = {
    "html": lambda: Response(200, (("content-type", "text/html"),), b"<html><h1>Welcome</h1></html>"),
    "half a JSON": lambda: Response(200, (("content-type", "application/json"),), b'{"name": "proj'),
    "a JSON list": lambda: as_json(200, ["projects/x/messages/1"]),
    "empty": lambda: Response(200),
    "an error inside": lambda: as_json(200, {"error": {"code": 503, "status": "UNAVAILABLE"}}),
    "per-item errors": lambda: as_json(200, {"success": 0, "failure": 1, "results": [{"error": "x"}]}),
    "not UTF-8": lambda: Response(200, (), b'{"name": "\xff\xfe"}\x00'),
    "deep": lambda: Response(200, (), b"[" * 30_000),
}


@pytest.mark.parametrize("channel", [Channel.FCM, Channel.EMAIL])
async def test_32_an_ok_that_is_none(world: World, channel: Channel) -> None:
    """Fault 32. A 200 with HTML, half a JSON, errors inside: nobody counts as reached by it. Each push is
    sent again, and has arrived then, once; emails are unknown; the report says no more than the journal."""
    people = those(channel, 8)
    what = await world.campaign(f"false-{channel}", people, channels=(channel,))
    lies = list(FALSE_OKS.values())

    def spoil(request: Request, now: float, real: Handler) -> Answer:
        if request.path == "/token" or not lies:
            return real(request, now)
        return Answer(lies.pop(0)())

    async with front(world, channel, spoil) as provider:
        await asyncio.wait_for(world.send(what), PATIENCE)
        # One request carries all eight emails: none is repeated, and none is called reached.
        await world.judge(what, people, lost=8 if channel is Channel.EMAIL else 0)
    assert len(provider.requests) == (1 if channel is Channel.EMAIL else 16)


async def test_32_an_answer_that_stays_wrong_is_never_called_reached(world: World) -> None:
    """Fault 32. A provider that answers 200 in HTML for ever: after the last try the people are unknown."""
    people = those(Channel.FCM, 3)
    what = await world.campaign("html", people, channels=(Channel.FCM,), in_doubt="hold")

    def spoil(request: Request, now: float, real: Handler) -> Answer:
        return real(request, now) if request.path == "/token" else Answer(FALSE_OKS["html"]())

    async with front(world, Channel.FCM, spoil):
        await world.send(what)
    report = await campaigns.report(world.exchange, what.name)
    assert report.ends == {End.UNKNOWN: 3}
    assert report.channels[Channel.FCM].unknown == 3
