"""What one client sees of a gateway: who gets in, what is said, what is missed and made good."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid1, uuid4

import httpx
import pytest
from socket_world import Client, Gateway, clients, connected
from waiting import until
from websockets.exceptions import ConnectionClosed, InvalidStatus

from msgxc import ids
from msgxc.errors import WrongInput
from msgxc.gateway.websocket import check_session
from msgxc.messages import joining, publishing, reading
from msgxc.messages.records import Draft, Principal, Role
from msgxc.model import Channel, Outcome, Outgoing, Push, Target, Urgency
from msgxc.privacy.erasure import erase
from msgxc.providers.websocket import Websocket


async def closed(client: Client) -> int:
    """The code with which the server hangs up."""
    async with asyncio.timeout(60):
        while True:
            try:
                await client.socket.recv()
            except ConnectionClosed as gone:
                return gone.rcvd.code if gone.rcvd else 0


async def test_token_by_first_frame_header_or_cookie(gateway: Gateway) -> None:
    """All three say who it is; the answer names the person and their own thread."""
    uid, token = await gateway.person()
    origin = gateway.exchange.settings.public_url
    cookie = {"Cookie": f"msgxc_token={token}", "Origin": origin}
    for headers in ({}, {"Authorization": f"Bearer {token}"}, cookie):
        async with connected(gateway.url, additional_headers=headers) as client:
            if not headers:
                await client.say("/api/v2/authenticate", token=token)
            hello = await client.next()
            own = ids.own_thread(gateway.exchange.key, uid)
            assert (hello["ok"], hello["uid"], hello["thread"]) == (True, str(uid), str(own))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer no.such.token"}, 401),
        ({"Cookie": "msgxc_token={token}", "Origin": "https://evil.example"}, 403),
        ({"Cookie": "msgxc_token={token}"}, 403),
    ],
)
async def test_wrong_token_and_foreign_pages_are_refused(
    gateway: Gateway, headers: dict[str, str], status: int
) -> None:
    """A token that does not count, and a cookie from a page that is not ours, get no connection."""
    _, token = await gateway.person()
    filled = {name: value.replace("{token}", token) for name, value in headers.items()}
    with pytest.raises(InvalidStatus) as refused:
        async with connected(gateway.url, additional_headers=filled):
            pass
    assert refused.value.response.status_code == status
    assert b'"code"' in refused.value.response.body


async def test_nothing_is_shown_before_the_token(gateway: Gateway) -> None:
    """Whoever asks for something first, or brings a wrong token, hears why and is closed."""
    tid = await gateway.thread()
    for slug, code in (
        ("/api/v2/subscribe/thread", "token_missing"),
        ("/api/v2/authenticate", "token_invalid"),
    ):
        async with connected(gateway.url) as client:
            await client.say(slug, tid=str(tid), token="x")
            assert (await client.next())["code"] == code
            assert await closed(client) == 4401


@pytest.mark.parametrize("age", [0, 47 * 3600, -200])
def test_session_of_the_last_two_days_is_taken(age: int) -> None:
    """A timeuuid of the last 48 hours, or of a clock a little ahead."""
    check_session(str(uuid1()), time.time() + age)


@pytest.mark.parametrize(
    "sid", ["", "x", f"{UUID(int=4 << 76 | 2 << 62)}", "00000000-0000-1000-8000-000000000000"]
)
def test_other_sessions_are_refused(sid: str) -> None:
    """An older one, one from the future, and what is no timeuuid."""
    with pytest.raises(WrongInput):
        check_session(sid, time.time())
    with pytest.raises(WrongInput):
        check_session(str(uuid1()), time.time() + 49 * 3600)
    with pytest.raises(WrongInput):
        check_session(str(uuid1()), time.time() - 3600)


async def test_message_reaches_everybody_who_listens(gateway: Gateway) -> None:
    """A thread's message, with its frame as the old system had it; others hear nothing."""
    tid, other = await gateway.thread(), await gateway.thread()
    tokens = [(await gateway.person(tid))[1] for _ in range(3)]
    async with clients(gateway.url, *tokens) as (one, two, three):
        await one.listen(tid)
        await two.listen(tid)
        await three.listen(other)
        message = await gateway.publish(tid, "Grüße \U0001f469‍\U0001f467", data={"a": "b"})
        for client in (one, two):
            frame = await client.next("/thread/")
            assert frame["slug"] == f"/thread/{tid}"
            assert (frame["ok"], frame["msg"], frame["sender"]) == (True, message.text, None)
            assert (frame["opts"]["mid"], frame["opts"]["a"]) == (str(message.mid), "b")
        assert await three.silent()


async def test_closed_thread_is_for_its_subscribers(gateway: Gateway) -> None:
    """Strangers are refused with a stable code; whoever leaves is sent away at once."""
    tid = await gateway.thread(open=False)
    uid, token = await gateway.person(tid)
    _, stranger = await gateway.person()
    async with clients(gateway.url, token, stranger) as (member, outside):
        assert (await outside.listen(tid))["code"] == "not_a_subscriber"
        assert (await outside.listen(uuid4()))["code"] == "not_found"
        assert (await member.listen(tid))["ok"]
        await joining.unsubscribe(gateway.exchange, Principal(uid), tid)
        assert (await member.next("/api/v2/unsubscribe/thread"))["tid"] == str(tid)
        await gateway.publish(tid, "not for them")
        assert await member.silent()


async def test_resume_loses_nothing_and_shows_nothing_twice(gateway: Gateway) -> None:
    """What was said while a client was away comes first, in order, each once; then what is new."""
    tid = await gateway.thread()
    _, token = await gateway.person(tid)
    async with connected(gateway.url, token) as client:
        await client.listen(tid)
        first = await gateway.publish(tid, "0")
        assert (await client.next("/thread/"))["msg"] == "0"
    for number in range(1, 251):
        await gateway.publish(tid, str(number))
    async with connected(gateway.url, token) as client:
        await client.say(
            "/api/v2/subscribe/thread", tid=str(tid), after=str(first.mid), seen=[str(first.mid)], ref="r"
        )
        got = [(await client.next("/thread/"))["msg"] for _ in range(250)]
        assert got == [str(number) for number in range(1, 251)]
        answer = await client.next("/api/v2/subscribe")
        assert (answer["replayed"], answer.get("more")) == (250, None)
        await gateway.publish(tid, "new")
        assert (await client.next("/thread/"))["msg"] == "new"
        assert await client.silent()


async def test_long_absence_is_made_good_in_portions(gateway: Gateway) -> None:
    """More than 1,000 missed messages: the client is told that there are more, and asks on."""
    tid = await gateway.thread()
    _, token = await gateway.person(tid)
    start = await gateway.publish(tid, "start")
    for number in range(1_010):
        await gateway.publish(tid, str(number))
    async with connected(gateway.url, token) as client:
        after, got = str(start.mid), list[str]()
        for portion in (1_000, 10):
            await client.say("/api/v2/subscribe/thread", tid=str(tid), after=after, ref="r")
            for _ in range(portion):
                frame = await client.next("/thread/")
                got.append(frame["msg"])
                after = frame["opts"]["mid"]
            assert (await client.next("/api/v2/subscribe")).get("more") == (
                True if portion == 1_000 else None
            )
        assert got == [str(number) for number in range(1_010)]


async def test_message_between_reading_and_listening_is_not_lost(gateway: Gateway) -> None:
    """Fault 16: while 40 messages are published, a client resumes 10 times; it sees all of them, in order."""
    tid = await gateway.thread()
    _, token = await gateway.person(tid)
    start = await gateway.publish(tid, "start")

    async def publish() -> None:
        for number in range(40):
            await gateway.publish(tid, str(number))
            await asyncio.sleep(0.005)

    publishing_them = asyncio.create_task(publish())
    seen: dict[str, str] = {str(start.mid): "start"}
    while len(seen) < 41:
        async with connected(gateway.url, token) as client:
            last = max(seen)
            await client.say("/api/v2/subscribe/thread", tid=str(tid), after=last, seen=list(seen), ref="r")
            for _ in range(5):
                try:
                    frame = await client.next("/thread/", seconds=0.3)
                except TimeoutError:
                    break
                assert frame["opts"]["mid"] not in seen
                seen[frame["opts"]["mid"]] = frame["msg"]
    await publishing_them
    assert list(seen.values()) == ["start", *(str(number) for number in range(40))]


async def test_what_the_bus_lost_comes_from_the_store(gateway: Gateway) -> None:
    """A message that no bus brought is shown when the thread is read again, once."""
    tid = await gateway.thread()
    _, token = await gateway.person(tid)
    async with connected(gateway.url, token) as client:
        await client.listen(tid)
        message = await gateway.publish(tid, "heard")
        lost = Draft("lost", tid=tid)
        away = type(gateway.exchange)(
            gateway.exchange.settings, gateway.exchange.key, gateway.exchange.store, _Away()
        )
        await publishing.publish(away, Principal(None, frozenset({Role.SERVICE})), lost)
        assert (await client.next("/thread/"))["opts"]["mid"] == str(message.mid)
        assert await client.silent()
        await gateway.hub.fill(gateway.hub._feeds[f"thread.{tid}"])
        assert (await client.next("/thread/"))["msg"] == "lost"
        await gateway.hub.fill(gateway.hub._feeds[f"thread.{tid}"])
        assert await client.silent()


class _Away:
    """A bus that nobody hears."""

    async def publish(self, subject: str, payload: bytes) -> bool:
        return False


async def test_message_of_the_future_and_a_canceled_one_are_not_shown(gateway: Gateway) -> None:
    """Neither by a resume nor by reading the thread again."""
    tid = await gateway.thread()
    _, token = await gateway.person(tid)
    start = await gateway.publish(tid, "start")
    later = await gateway.publish(tid, "later", scheduled=datetime.now(UTC) + timedelta(hours=1))
    gone = await gateway.publish(tid, "gone")
    await publishing.cancel(gateway.exchange, Principal(None, frozenset({Role.SERVICE})), tid, gone.mid)
    async with connected(gateway.url, token) as client:
        assert (await client.listen(tid, after=str(start.mid), seen=[]))["replayed"] == 0
        await gateway.hub.fill(gateway.hub._feeds[f"thread.{tid}"])
        assert await client.silent()
    assert later.scheduled


async def test_broadcast_reaches_every_connection(gateway: Gateway) -> None:
    """/broadcast/system needs no subscription; a service's connection hears it too."""
    _, token = await gateway.person()
    service = gateway.token(None, Role.SERVICE)
    async with clients(gateway.url, token, service) as both:
        await publishing.broadcast(gateway.exchange, Principal(None, frozenset({Role.ADMIN})), Draft("all"))
        for client in both:
            assert (await client.next("/broadcast/system"))["msg"] == "all"


async def test_what_came_for_everybody_and_for_one_is_resumed(gateway: Gateway) -> None:
    """A client that had seen nothing yet is sent the broadcasts and direct messages of its absence."""
    admin = Principal(None, frozenset({Role.ADMIN}))
    uid, token = await gateway.person()
    async with connected(gateway.url) as client:
        hello = await client.ask("/api/v2/authenticate", token=token)
    await publishing.send(gateway.exchange, admin, Draft("for you"), uid)
    await publishing.broadcast(gateway.exchange, admin, Draft("for all"))
    async with connected(gateway.url, token) as client:
        for name, text in (("thread", "for you"), ("broadcasts", "for all")):
            await client.say(
                "/api/v2/subscribe/thread", tid=hello[name], after=hello["last"], seen=[], ref="r"
            )
            assert (await client.next())["msg"] == text
            assert (await client.next())["replayed"] == 1
        await publishing.broadcast(gateway.exchange, admin, Draft("again"))
        assert (await client.next("/broadcast/system"))["msg"] == "again"
        assert await client.silent()


async def test_direct_message_reaches_its_person_alone(gateway: Gateway) -> None:
    """What is sent to one person comes on their own thread, to which each connection listens."""
    uid, token = await gateway.person()
    _, other = await gateway.person()
    async with clients(gateway.url, token, token, other) as (one, two, stranger):
        await publishing.send(gateway.exchange, Principal(None, frozenset({Role.ADMIN})), Draft("hi"), uid)
        assert (await one.next("/thread/"))["msg"] == "hi"
        assert (await two.next("/thread/"))["msg"] == "hi"
        assert await stranger.silent()


async def test_ephemeral_channel_is_heard_and_not_stored(gateway: Gateway) -> None:
    """What is said on a public channel reaches its listeners, with its sender; who leaves hears no more."""
    name = "a room with ümlauts & spaces"
    uid, token = await gateway.person()
    async with clients(gateway.url, token, token) as (one, two):
        assert (await one.ask(f"/api/v2/subscribe/public-ephemeral/{name}"))["ok"]
        assert (await two.ask(f"/api/v2/publish/public-ephemeral/{name}", msg="hm", opts={"x": 1}))["ok"]
        frame = await one.next("/public-ephemeral/")
        assert frame == {
            "slug": f"/public-ephemeral/{name}",
            "ok": True,
            "msg": "hm",
            "opts": {"x": 1},
            "sender": str(uid),
        }
        assert (await one.ask(f"/api/v2/unsubscribe/public-ephemeral/{name}"))["ok"]
        await two.ask(f"/api/v2/publish/public-ephemeral/{name}", msg="hm")
        assert await one.silent()


def outgoing(uid: UUID) -> Outgoing:
    target = Target(Channel.WEBSOCKET, str(uid))
    content = Push("Title", "Body")
    return Outgoing(uuid4(), uid, target, content, urgency=Urgency.NORMAL, ttl=60, collapse="c", campaign="x")


async def test_delivery_is_accepted_when_the_client_acknowledges_it(gateway: Gateway) -> None:
    """The websocket provider gets its answer from the client, not from the open socket."""
    uid, token = await gateway.person()
    hasty, patient = (Websocket(gateway.exchange.bus, acknowledge_seconds=most) for most in (0.5, 600))
    async with clients(gateway.url, token, token) as (idle, awake):
        unanswered = await hasty.send([outgoing(uid)])
        assert unanswered[0].outcome is Outcome.REFUSED
        sent = outgoing(uid)
        sending = asyncio.create_task(patient.send([sent]))
        frame = await awake.next("/person")
        while frame["id"] != str(sent.delivery):
            frame = await awake.next("/person")
        assert (frame["msg"], frame["opts"]["title"]) == ("Body", "Title")
        await awake.say("/api/v2/ack", id=frame["id"])
        assert (await sending)[0].outcome is Outcome.ACCEPTED
        assert (await idle.next("/person"))["slug"] == "/person"
    await until(lambda: gateway.hub.connections == 0)
    async with asyncio.timeout(60):
        assert (await patient.send([outgoing(uid)]))[0].outcome is Outcome.REFUSED  # nobody is there


async def test_reading_is_what_the_client_says_and_nothing_else(gateway: Gateway) -> None:
    """An open connection that was sent a message has read nothing; a read frame counts, per device."""
    tid = await gateway.thread()
    uid, token = await gateway.person(tid)
    async with connected(gateway.url, token) as client:
        await client.listen(tid)
        message = await gateway.publish(tid, "x")
        await client.next("/thread/")
        await client.ask("/ping")
        assert [one.count for one in await reading.unread(gateway.exchange, uid) if one.tid == tid] == [1]
        assert (await client.ask("/api/v2/read", tid=str(tid), mid=str(message.mid)))["ok"]
        assert [one.count for one in await reading.unread(gateway.exchange, uid) if one.tid == tid] == [0]
        assert await gateway.exchange.store.reads.of(uid) == {tid: {"tab-1": message.mid}}


async def test_ping_is_answered_with_the_time_online(gateway: Gateway) -> None:
    """/ping -> /pong, with the seconds of this connection."""
    _, token = await gateway.person()
    async with connected(gateway.url, token) as client:
        answer = await client.ask("/ping", active=True)
        assert (answer["slug"], answer["ok"]) == ("/pong", True)
        assert 0 <= answer["online"] < 120


async def test_presence_is_known_to_operators(gateway: Gateway) -> None:
    """Whether somebody is connected and at the screen, asked over the bus; a user may not ask."""
    uid, token = await gateway.person()
    operator = gateway.token(None, Role.ADMIN)

    async def asked(as_whom: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=f"http://{gateway.url}") as http:
            headers = {"Authorization": f"Bearer {as_whom}"}
            return await http.get(f"/api/v2/presence/{uid}", headers=headers)

    async def is_connected() -> bool:
        found = (await asked(operator)).json()
        seconds = {"online": found["online"], "online_total": found["online_total"]}
        assert found == {**nobody, "connected": found["connected"], **seconds}
        return bool(found["connected"])

    nobody = {"connected": False, "online": 0, "online_total": 0, "active": False, "last_seen": None}
    assert (await asked(operator)).json() == nobody
    async with connected(gateway.url, token) as client:
        # An answer that takes longer than the question waits for is none.
        await until(is_connected)
        await client.ask("/ping", active=True)
        assert (await asked(operator)).json()["active"] is True
    assert (await asked(token)).status_code == 403


async def test_last_seen_moves_while_somebody_is_connected(gateway: Gateway) -> None:
    """When they come, with each check-in, and when they go: written for all together, soon."""
    uid, token = await gateway.person()

    async def seen() -> datetime | None:
        await gateway.hub.note_seen()
        return (await gateway.exchange.store.directory.get([uid]))[uid].last_seen

    assert await seen() is None
    async with connected(gateway.url, token) as client:
        came = await seen()
        assert came is not None
        await client.ask("/ping")
        checked_in = await seen()
        assert checked_in is not None
        assert checked_in > came
    await until(lambda: gateway.hub.connections == 0)
    left = await seen()
    assert left is not None
    assert left > checked_in


async def test_time_online_counts_once_for_several_connections(gateway: Gateway) -> None:
    """Two connections of one person, one after the other closed: no more than the time in which there was
    one, and no less than what they surely were there."""
    uid, token = await gateway.person()

    async def total() -> float:
        await gateway.hub.note_seen()
        return (await gateway.exchange.store.directory.online([uid])).get(uid, 0) / 1000

    before = time.monotonic()
    async with connected(gateway.url, token) as first:
        await first.ask("/ping")
        there = time.monotonic()
        async with connected(gateway.url, token) as second:
            await second.ask("/ping")
            with_two = time.monotonic() - there
            assert with_two - 0.01 <= await total()
        await first.ask("/ping")
        with_one = time.monotonic() - there
    await until(lambda: gateway.hub.connections == 0)
    told = await total()
    assert with_one - 0.01 <= told <= time.monotonic() - before
    assert await total() == told


async def test_wrong_frames_are_answered_and_cost_nothing(gateway: Gateway) -> None:
    """One clear error for each, and the connection goes on."""
    _, token = await gateway.person()
    async with connected(gateway.url, token) as client:
        for text in ("", "x", "[]", '{"slug":"/nope"}', json.dumps({"slug": "/api/v2/read"})):
            await client.socket.send(text)
            assert (await client.next())["code"] == "wrong_frame"
        assert (await client.ask("/api/v2/authenticate", token=token))["code"] == "wrong_input"
        assert (await client.ask("/ping"))["ok"]


async def test_token_that_expires_closes_the_connection(gateway: Gateway) -> None:
    """A connection does not outlive its token by more than the clocks' leeway."""
    uid, _ = await gateway.person()
    async with connected(gateway.url, gateway.token(uid, seconds=-5)) as client:
        assert (await client.next("/close"))["code"] == "token_expired"
        assert await closed(client) == 4401


async def test_an_erased_person_is_hung_up_on(gateway: Gateway) -> None:
    """Their open websocket ends at once, and their token opens no other one."""
    uid, token = await gateway.person()
    async with connected(gateway.url, additional_headers={"Authorization": f"Bearer {token}"}) as client:
        await client.next()
        await erase(gateway.exchange, uid)
        assert await closed(client) == 4401
    with pytest.raises(InvalidStatus):
        async with connected(gateway.url, additional_headers={"Authorization": f"Bearer {token}"}):
            pass
