"""Web push in a real Chromium: enlisted, delivered to the worker, shown, reported, clicked."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime

from browser_world import World, eventually, say, subscription, worker
from playwright.async_api import Page

from msgxc import ids, links
from msgxc.ledger import Mark
from msgxc.messages.dispatching import Dispatcher
from msgxc.model import Channel
from msgxc.sandbox.journal import Accepted, read
from msgxc.sandbox.subscriber import push_endpoint
from msgxc.store.choices import Choice, consent
from msgxc.tracking import CONSENT
from msgxc.wiring import sandbox_folder

#: What the browser does when somebody clicks.
CLICK = """async () => { const [notification] = await self.registration.getNotifications();
  self.dispatchEvent(new NotificationEvent("notificationclick", { notification })); }"""
SHOWN = """async () => (await (await navigator.serviceWorker.ready).getNotifications())
  .map(({ title, body, tag }) => ({ title, body, tag }))"""
DATA = """async () => (await (await navigator.serviceWorker.ready).getNotifications())
  .map(({ title, data }) => ({ title, data }))"""


async def test_push_is_shown_and_its_receipt_recorded(world: World) -> None:
    """A browser enlists; a message reaches its push service through dispatch; what the service worker then
    gets is shown, and the ledger says delivered, then clicked; a repeat takes the place of the first."""
    endpoint = push_endpoint("ok-browser")
    bob = await world.tab("Bob", subscription(endpoint))
    await bob.click("#notify")
    await eventually(lambda: _says(bob, "#notify", "Notified"))
    uid = ids.uid_of(world.exchange.key, await bob.evaluate("exchange.uid"))
    found = await world.exchange.store.directory.get([uid])
    assert [device.token for device in found[uid].devices] == [endpoint]
    await bob.goto(f"{world.url}/icon.svg")  # he goes: no open connection any more

    ada = await world.tab("Ada")
    await say(ada, "Are you there?")
    await eventually(lambda: _sent(ada))
    dispatcher = Dispatcher(world.exchange, asyncio.Event())
    accepted = await eventually(lambda: _accepted(world, dispatcher, endpoint))
    assert len(accepted) == 1

    mid = ids.uid_of(
        world.exchange.key, await ada.locator("#messages li").last.get_attribute("data-mid") or ""
    )
    handle = links.Handle(mid, uid, ids.uid_of(world.exchange.key, accepted[0].delivery), Channel.WEBPUSH)
    push = {"title": "Ada", "body": "Are you there?", "tag": accepted[0].collapse or "t", "url": "/demo"}
    await _deliver(world, bob, {**push, "receipt": links.receipt(world.exchange.key, handle)})
    shown = await bob.evaluate(SHOWN)
    assert [(one["title"], one["body"]) for one in shown] == [("Ada", "Are you there?")]
    await eventually(lambda: _marked(world, mid, Mark.DELIVERED))

    agreed = Choice(datetime.now(UTC), "page", given=frozenset({consent(CONSENT)}))
    await world.exchange.store.directory.choose(uid, agreed)
    await bob.context.service_workers[0].evaluate(CLICK)
    await eventually(lambda: _marked(world, mid, Mark.CLICKED))
    await eventually(lambda: _number(bob, 0))

    for body in ("Once", "A repeat"):
        await _deliver(world, bob, {**push, "body": body})
    await eventually(lambda: _bodies(bob, ["A repeat"]))  # in place of the first one


async def test_any_push_shows_something(world: World) -> None:
    """Browsers demand a notification for each push: also what is no JSON, empty, or has a dangerous link."""
    page = await world.tab("Eve", subscription(push_endpoint("ok-eve")))
    await page.click("#notify")
    await eventually(lambda: _says(page, "#notify", "Notified"))
    session, registration = await worker(page.context, page)
    for data in (
        "nonsense",
        "null",
        json.dumps({"title": "x", "url": "javascript:alert(1)", "image": "data:,"}),
    ):
        await session.send(
            "ServiceWorker.deliverPushMessage",
            {"origin": world.url, "registrationId": registration, "data": data},
        )
    await eventually(lambda: _number(page, 3))


async def test_a_publisher_s_data_leads_nobody_astray(world: World) -> None:
    """`data.url` and `data.receipt` do not take the place of the message's own; a url of theirs is taken
    where the message has none."""
    page = await world.tab("Mallory", subscription(push_endpoint("ok-mallory")))
    await page.click("#notify")
    await eventually(lambda: _says(page, "#notify", "Notified"))
    theirs = {"url": "https://elsewhere.example/", "receipt": "theirs"}
    await _deliver(world, page, {"title": "1", "tag": "1", "url": "/demo", "receipt": "ours", "data": theirs})
    await _deliver(world, page, {"title": "2", "tag": "2", "data": theirs})
    await eventually(lambda: _number(page, 2))
    kept = {one["title"]: one["data"] for one in await page.evaluate(DATA)}
    assert (kept["1"]["url"], kept["1"]["receipt"]) == ("/demo", "ours")
    assert (kept["2"]["url"], kept["2"].get("receipt")) == (theirs["url"], None)


async def _accepted(world: World, dispatcher: Dispatcher, endpoint: str) -> list[Accepted]:
    """What its push service has accepted by now, from the sandbox's own journal."""
    await dispatcher.drain()
    journal = sandbox_folder(world.exchange.settings) / "journal.jsonl"
    return [one for one in read(journal) if one.address == endpoint] if journal.exists() else []


async def _deliver(world: World, page: Page, push: dict[str, object]) -> None:
    """Bring a push until it is shown. A browser on a busy machine may pass over one whose worker is slow to
    start, and tells nobody."""
    data, told = json.dumps(push), (push["title"], push.get("body", ""))
    for _ in range(6):
        session, registration = await worker(page.context, page)
        await session.send(
            "ServiceWorker.deliverPushMessage",
            {"origin": world.url, "registrationId": registration, "data": data},
        )
        await session.detach()
        with suppress(AssertionError):
            return await eventually(lambda: _told(page, told), 30)
    raise AssertionError("brought six times, and never shown")


async def _told(page: Page, told: tuple[object, object]) -> bool:
    return told in [(one["title"], one["body"]) for one in await page.evaluate(SHOWN)]


async def _marked(world: World, campaign: object, mark: Mark) -> bool:
    rows = await world.exchange.store.ledger.rows(campaign, 0)  # type: ignore[arg-type]
    return any(mark in row.marks for row in rows)


async def _sent(page: Page) -> bool:
    return await page.locator("#messages .mine").count() > 0


async def _says(page: Page, selector: str, text: str) -> bool:
    return text in (await page.locator(selector).text_content() or "")


async def _bodies(page: Page, wanted: list[str]) -> bool:
    return [one["body"] for one in await page.evaluate(SHOWN)] == wanted


async def _number(page: Page, wanted: int) -> bool:
    return len(await page.evaluate(SHOWN)) == wanted
