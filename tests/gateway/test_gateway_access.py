"""Who may call what: default deny on every route, roles x routes x own and other threads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from gateway_world import World
from starlette.routing import BaseRoute, Mount, WebSocketRoute

from msgxc import ids
from msgxc.gateway.access import ACCESS, OPEN
from msgxc.gateway.openapi import describe, operations
from msgxc.messages.records import Role
from msgxc.model import Channel

#: Routes that need no login, and why: each of these lines was thought about.
KNOWN_OPEN = {
    ("GET", "/api/v2/ping"): "tells nothing",
    ("GET", "/"): "leads to /docs",
    ("GET", "/docs"): "describes the API",
    ("POST", "/api/v2/receipts"): "token of one delivery",
    ("POST", "/hooks/sendgrid"): "signed",
    ("POST", "/hooks/twilio"): "signed",
    ("POST", "/hooks/twilio/reply"): "signed",
    ("GET", "/u/{token}"): "signed link",
    ("POST", "/u/{token}"): "signed link",
    ("GET", "/p/{token}"): "signed link",
    ("POST", "/p/{token}"): "signed link",
    ("GET", "/c/{token}"): "signed link, of a day",
    ("POST", "/c/{token}"): "signed link, of a day",
    ("GET", "/l/{token}"): "signed link",
    ("GET", "/o/{token}.gif"): "signed link",
    ("GET", "/a/{path:path}"): "the same page for everybody",
    ("GET", "/.well-known/apple-app-site-association"): "public by its nature",
    ("GET", "/.well-known/assetlinks.json"): "public by its nature",
    ("WEBSOCKET", "/api/v2/connect/{vid}/{sid}"): "asks for the token itself",
    ("GET", "/demo"): "the demo page",
    ("GET", "/demo/demo.css"): "the demo page",
    ("GET", "/demo/demo.js"): "the demo page",
    ("GET", "/icon.svg"): "the demo page",
    ("GET", "/client.js"): "the client's source",
    ("GET", "/sw.js"): "the client's source",
    ("GET", "/api/v2/push/key"): "a public key",
    ("POST", "/demo/guest"): "answers only where the demo page is on",
}


def walked(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of every route of an app, mounted ones included."""
    for route in routes:
        path = prefix + getattr(route, "path", "")
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from walked(inner.routes, prefix)
        elif isinstance(route, Mount):
            yield "MOUNT", path
        elif isinstance(route, WebSocketRoute) or "WebSocket" in type(route).__name__:
            yield "WEBSOCKET", path
        else:
            yield from ((method, path) for method in getattr(route, "methods", None) or {"?"})


def test_every_route_is_in_the_table(world: World) -> None:
    """No route answers anybody who is not meant; none is open that nobody has thought about."""
    found = {(m, p) for m, p in walked(world.app.routes) if m != "HEAD"} - {("GET", "/openapi.json")}
    assert len(found) > 35
    assert {one for one in found if one not in ACCESS} == set()
    assert {one for one in found if not ACCESS[one]} <= set(KNOWN_OPEN)


async def test_a_route_that_is_not_in_the_table_is_refused(world: World) -> None:
    """Forgetting the table refuses everybody, an operator too."""
    app: FastAPI = world.app
    app.add_api_route("/api/v2/forgotten", lambda: True, methods=["GET"])
    answer = await world.get("forgotten", world.admin)
    assert (answer.status_code, answer.json()["code"]) == (403, "no_access_rule")


async def test_without_a_login_nothing_is_told(world: World) -> None:
    """Every route that is not open: 401 with a problem, whatever the body."""
    for path, method, _ in operations(describe(world.app)):
        needed = ACCESS.get((method, path), OPEN)
        if not needed:
            continue
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp5"}):
            answer = await world.client.request(method, filled(path), json={}, headers=headers)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"] == "Bearer"


def filled(path: str) -> str:
    """A path with something in its places."""
    for name in ("tid", "token", "path", "name"):
        path = path.replace(f"{{{name}}}", str(UUID(int=7)))
    return path


async def test_roles_open_their_routes_and_no_others(world: World) -> None:
    """Every route by every role: 403 role_needed exactly where the table says so."""
    logins = {role: world.login(uuid4(), role) for role in Role}
    for path, method, _ in operations(describe(world.app)):
        needed = ACCESS.get((method, path), OPEN)
        if not needed:
            continue
        for role, login in logins.items():
            has = {role, Role.USER}  # the token names a person, who is a user besides
            answer = await world.client.request(method, filled(path), json={}, headers=login)
            code = answer.json().get("code") if answer.status_code == 403 else None
            assert (code == "role_needed") == needed.isdisjoint(has), (method, path, role)


def call(path: str, tid: UUID, uid: UUID) -> tuple[str, dict[str, Any] | None]:
    """A call about a thread."""
    body: dict[str, Any] = {"tid": str(tid)}
    if path == "publish":
        body["msg"] = "hello"
    if path in ("invite", "accept for"):
        body["uid"] = str(uid)
    return path.partition(" ")[0], body


OWNER, PUBLISHER, MEMBER, STRANGER, SERVICE, ADMIN = (
    "owner",
    "publisher",
    "member",
    "stranger",
    "service",
    "admin",
)
WHO = (OWNER, PUBLISHER, MEMBER, STRANGER, SERVICE, ADMIN)
#: call -> who may do it in a closed thread.
CLOSED = {
    "publish": {OWNER, PUBLISHER, SERVICE, ADMIN},
    "messages": {OWNER, PUBLISHER, MEMBER, SERVICE, ADMIN},
    "subscribe": {OWNER, PUBLISHER, SERVICE, ADMIN},
    "invite": {OWNER, ADMIN},
    "joins": {OWNER, ADMIN},
}


@pytest.mark.parametrize("what", CLOSED)
async def test_a_closed_thread_opens_to_those_who_belong_to_it(world: World, what: str) -> None:
    """Owner, publishers, members, strangers, services and operators, each in their own and in another's
    thread: exactly the rights of messages/rights.py."""
    people = {name: (await world.person()).uid for name in WHO}
    own = await world.thread(owner=people[OWNER], publishers=frozenset({people[PUBLISHER]}))
    other = await world.thread(owner=uuid4())
    await member(world, own.tid, people[MEMBER])
    logins = {name: world.login(uid) for name, uid in people.items()}
    logins[SERVICE] = world.login(people[SERVICE], Role.SERVICE)
    logins[ADMIN] = world.login(people[ADMIN], Role.ADMIN)
    for name, login in logins.items():
        for thread, may in ((own, CLOSED[what]), (other, CLOSED[what] & {SERVICE, ADMIN})):
            if what in ("messages", "joins"):
                answer = await world.get(f"threads/{thread.tid}/{what}", login)
            else:
                path, body = call(what, thread.tid, (await world.person()).uid)
                answer = await world.post(path, body, login)
            expected = 200 if name in may else 403
            assert answer.status_code == expected, (what, name, thread is own, answer.text)


async def member(world: World, tid: UUID, uid: UUID) -> None:
    """Make somebody a subscriber."""
    from msgxc.model import Subscription

    await world.exchange.store.threads.subscribe([Subscription(tid, uid)])


async def test_answers_of_the_old_system_are_true(world: World) -> None:
    """enlist, publish, subscribe, unsubscribe, send, multicast, broadcast: JSON `true`, and nothing else."""
    person = await world.person()
    thread = await world.thread(open=True, open_to_publish=True)
    login, admin, tid = world.login(person.uid), world.admin, str(thread.tid)
    calls: list[tuple[str, dict[str, Any], dict[str, str]]] = [
        ("enlist", {"os": "ios", "token": "ab" * 32}, login),
        ("subscribe", {"tid": tid}, login),
        ("publish", {"tid": tid, "msg": "hello", "opts": {}}, login),
        ("unsubscribe", {"tid": tid}, login),
        ("send", {"msg": "x", "uid": str(person.uid), "opts": {"data": {"key": "whatever"}}}, admin),
        ("multicast", {"msg": "x", "uids": [str(person.uid)], "opts": {"data": {"key": 1}}}, admin),
        ("broadcast", {"msg": "x", "opts": {"data": {"key": "whatever"}}}, admin),
    ]
    for path, body, headers in calls:
        answer = await world.post(path, body, headers)
        assert (answer.status_code, answer.content) == (200, b"true"), (path, answer.text)
    assert json.loads((await world.client.get("/api/v2/ping")).content) is True


async def test_a_message_goes_its_way_by_the_api(world: World) -> None:
    """publish, history, answer to it, read, unread, cancel, execute sealed by its qid, recall, upcoming."""
    person = await world.person()
    thread = await world.thread(open=True, open_to_publish=True)
    login, admin, tid = world.login(person.uid), world.admin, str(thread.tid)
    await world.post("subscribe", {"tid": tid}, login)
    sent = await world.post("publish", {"tid": tid, "msg": "one", "subject": "s"}, admin)
    mid = sent.headers["Msgxc-Message"]
    child = await world.post("publish", {"tid": tid, "msg": "two", "pmid": mid}, login)
    page = (await world.get(f"threads/{tid}/messages?limit=1", login)).json()
    assert [one["msg"] for one in page["messages"]] == ["two"]
    older = (await world.get(f"threads/{tid}/messages?before={page['next']}", login)).json()
    assert [(one["msg"], one["opts"]["mid"]) for one in older["messages"]] == [("one", mid)]
    assert older["next"] is None
    assert (await world.post("read", {"tid": tid, "mid": mid, "device": "phone"}, login)).json() is True
    unread = {one["tid"]: one for one in (await world.get("unread", login)).json()}
    assert unread[tid]["last"] == mid
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    late = {"tid": tid, "msg": "later", "scheduled": tomorrow.isoformat()}
    later = (await world.post("publish", late, admin)).headers["Msgxc-Message"]
    waiting = (await world.get("reports/messages_upcoming", admin)).json()["messages"]
    assert [one["mid"] for one in waiting] == [later]
    run = {"tid": tid, "mid": later, "qid": "q1"}
    assert (await world.post("execute/message", run, admin)).json() is True
    assert (await world.post("execute/message", {**run, "qid": "q2"}, admin)).status_code == 409
    assert (await world.get("reports/messages_upcoming", admin)).json()["messages"] == []
    assert (await world.post("cancel", {"tid": tid, "mid": mid}, admin)).json() is True
    found = (await world.post("recall", {"tid": tid, "mid": child.headers["Msgxc-Message"]}, admin)).json()
    assert set(found) == {"unsent", "withdrawn", "seen", "beyond"}


async def test_what_was_taken_back_is_not_upcoming(world: World) -> None:
    """Recalled, canceled, executed: what waits behind them is shown all the same, however short the page."""
    thread = await world.thread(open=True, open_to_publish=True)
    admin, tid = world.admin, str(thread.tid)
    mids = []
    for day in range(1, 5):
        at = (datetime.now(UTC) + timedelta(days=day)).isoformat()
        said = await world.post("publish", {"tid": tid, "msg": "x", "scheduled": at}, admin)
        mids.append(said.headers["Msgxc-Message"])
    await world.post("recall", {"tid": tid, "mid": mids[0]}, admin)
    await world.post("cancel", {"tid": tid, "mid": mids[1]}, admin)
    await world.post("execute/message", {"tid": tid, "mid": mids[2], "qid": "q"}, admin)
    waiting = (await world.get("reports/messages_upcoming?limit=1", admin)).json()["messages"]
    assert [one["mid"] for one in waiting] == [mids[3]]


async def test_a_direct_message_tells_what_takes_it_back(world: World) -> None:
    """Its thread and its id, one by one and in a bulk form; the list of the latest has them too."""
    person, admin = await world.person(), world.admin
    one = await world.post("send", {"uid": str(person.uid), "msg": "x"}, admin)
    many = await world.post("send/bulk", {"items": [{"uid": str(person.uid), "msg": "y"}]}, admin)
    several = await world.post("multicast", {"uids": [str(person.uid)], "msg": "z"}, admin)
    places = [
        {"tid": answer.headers["Msgxc-Thread"], "mid": answer.headers["Msgxc-Message"]}
        for answer in (one, several)
    ]
    (result,) = many.json()["results"]
    places.append({"tid": result["tid"], "mid": result["mid"]})
    assert places[0]["tid"] == str(ids.own_thread(world.exchange.key, person.uid))
    for place in places:
        found = await world.post("recall", place, admin)
        assert found.status_code == 200, found.text
        assert found.json()["unsent"] == 1
    recent = (await world.get("reports/messages_recent", admin)).json()["messages"]
    assert {(entry["tid"], entry["mid"]) for entry in recent} == {(p["tid"], p["mid"]) for p in places}


async def test_a_multicast_is_for_a_cohort_or_a_rule_too(world: World) -> None:
    """By name, by rule, by both; what is not there, and what is said twice, is refused."""
    german, english = [await world.person(lang=lang) for lang in ("de", "en")]
    await world.exchange.store.cohorts.add("tea", [german.uid, english.uid])
    expected = {
        (("cohort", "tea"),): {german.uid, english.uid},
        (("where", 'lang = "de"'),): {german.uid},
        (("cohort", "tea"), ("where", 'lang = "en"')): {english.uid},
    }
    for named, people in expected.items():
        answer = await world.post("multicast", {**dict(named), "msg": "x"}, world.admin)
        assert answer.status_code == 200, answer.text
        place = UUID(answer.headers["Msgxc-Thread"]), UUID(answer.headers["Msgxc-Message"])
        stored = await world.exchange.store.messages.get(*place)
        assert stored is not None
        assert set(stored.uids) == people
    for wrong, status in [
        ({"cohort": "coffee"}, 404),
        ({"where": 'lang = "fr"'}, 404),
        ({"where": "lang ="}, 422),
        ({"where": 'email = "a@b.example"'}, 422),
        ({}, 422),
        ({"uids": [str(german.uid)], "cohort": "tea"}, 422),
    ]:
        assert (await world.post("multicast", {**wrong, "msg": "x"}, world.admin)).status_code == status, (
            wrong
        )
    user = world.login(german.uid)
    assert (await world.post("multicast", {"cohort": "tea", "msg": "x"}, user)).status_code == 403


async def test_a_thread_has_its_channels_from_the_api(world: World) -> None:
    """Its own, those of answers, and where it falls back; its template has to be there."""
    tid, admin = str(uuid4()), world.admin
    form = {"tid": tid, "channels": ["apn", "email"], "fallback": ["sms"], "child_channels": ["websocket"]}
    assert (await world.post("threads", {**form, "template": "welcome"}, admin)).content == b"true"
    found = await world.exchange.store.threads.get(UUID(tid))
    assert found is not None
    assert (found.channels, found.fallback) == ({Channel.APNS, Channel.EMAIL}, (Channel.SMS,))
    assert (found.child_channels, found.template) == ({Channel.WEBSOCKET}, "welcome")
    assert (await world.post("threads", {"tid": tid, "template": "none"}, admin)).status_code == 404
    assert (await world.post("threads", {"tid": tid, "fallback": ["pigeon"]}, admin)).status_code == 422


def test_operations_have_names(world: World) -> None:
    """Generated clients get one function for each route, named as in the source; no name twice."""
    names = [one["operationId"] for _, _, one in operations(describe(world.app))]
    assert len(names) == len(set(names))
    assert {"publish", "enlist", "send_bulk"} <= set(names)
