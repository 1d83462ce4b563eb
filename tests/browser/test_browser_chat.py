"""The demo page in a real Chromium: people who talk, read, and come back after the gateway was killed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import jwt
import pytest
from browser_world import World, chromium, eventually, say, texts
from socket_world import process, settings_of

from msgxc import ids
from msgxc.gateway.auth import make_token
from msgxc.messages import publishing
from msgxc.messages.records import Draft, Principal, Role
from msgxc.revocation import revoke
from msgxc.wiring import apply_schema, open_exchange

ABSENT = "document.hasFocus = () => false"
UNVERIFIED = {"verify_signature": False}
SERVICE = Principal(None, frozenset({Role.SERVICE}))


async def test_two_tabs_talk_in_a_thread(world: World) -> None:
    """Each sees what the other says, once, in order, and who says it; markup stays text."""
    ada, bob = await world.tab("Ada"), await world.tab("Bob")
    spoken = ["Hello", "Grüße \U0001f469‍\U0001f467", "<img src=x onerror=alert(1)>"]
    for number, text in enumerate(spoken):
        await say((ada, bob)[number % 2], text)
        await eventually(lambda at=number: _count(bob, at + 1))
        await eventually(lambda at=number: _count(ada, at + 1))
    assert await texts(ada) == await texts(bob) == spoken
    assert await ada.locator("#messages .mine").count() == 2
    assert await bob.locator("#messages .who").first.text_content() == "Ada"
    assert await bob.locator("#messages img").count() == 0
    await ada.type("#text", "x")
    await eventually(lambda: _says(bob, "#typing", "Ada is writing"))


async def test_reading_needs_somebody_who_looks(world: World) -> None:
    """An idle tab shows a message and has not read it; it has once somebody looks."""
    idle = await world.tab("Idle", ABSENT)
    tid = ids.uid_of(world.exchange.key, "demo")
    message = await publishing.publish(world.exchange, SERVICE, Draft("look", tid=tid))
    await eventually(lambda: _shows(idle, "look"))
    uid = ids.uid_of(world.exchange.key, await idle.evaluate("exchange.uid"))
    await asyncio.sleep(0.3)
    assert await world.exchange.store.reads.of(uid) == {}
    await idle.evaluate("document.hasFocus = () => true")
    await idle.mouse.move(10, 10)
    await eventually(lambda: world.exchange.store.reads.of(uid))
    assert list((await world.exchange.store.reads.of(uid))[tid].values()) == [message.mid]


async def test_page_comes_back_after_a_kill(tmp_path: Path) -> None:
    """The gateway is killed (-9), people write meanwhile, it comes back: all is shown, each message once."""
    settings = settings_of(tmp_path)
    await apply_schema(settings)
    tid = None
    async with open_exchange(settings) as exchange, chromium() as browser:
        world = World(f"http://127.0.0.1:{settings.gateway_port}", exchange, browser)
        tid = ids.uid_of(exchange.key, "demo")
        with process(settings, MSGXC_DEMO="true") as gateway:
            page = await world.tab("Ada")
            await say(page, "before")
            await eventually(lambda: _shows(page, "before"))
            gateway.kill()
            await page.wait_for_selector("#state[data-state=connecting]")
        for number in range(5):
            await publishing.publish(exchange, SERVICE, Draft(f"meanwhile {number}", tid=tid))
        await say(page, "written without a gateway")
        with process(settings, MSGXC_DEMO="true"):
            await page.wait_for_selector("#state[data-state=online]", timeout=60_000)
            await eventually(lambda: _shows(page, "written without a gateway"))
            await say(page, "after")
            await eventually(lambda: _shows(page, "after"))
            meanwhile = [f"meanwhile {number}" for number in range(5)]
            assert await texts(page) == ["before", *meanwhile, "written without a gateway", "after"]


@pytest.mark.parametrize("size", [(1280, 800), (390, 844), (320, 568)])
async def test_page_fits_the_screen(world: World, size: tuple[int, int]) -> None:
    """At every width nothing is cut off, and the field to write in is there, also under a long word."""
    width, height = size
    page = await world.tab("Ada", viewport={"width": width, "height": height})
    await say(page, "w" * 300)
    await eventually(lambda: _shows(page, "w" * 300))
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    box = await page.locator("#compose").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= height
    for selector in ("#notify", "#compose button"):
        target = await page.locator(selector).bounding_box()
        assert target is not None
        assert target["height"] >= 44


async def test_a_page_whose_token_is_revoked_asks_for_another(world: World) -> None:
    """It comes back with the fresh one by itself; the refused one is shown to the gateway once, and never
    again, though the page has no other and asks for it on and on."""
    page = await world.tab("Ada")
    uid = uuid4()
    tokens = [make_token(world.exchange, uid, frozenset({Role.USER}), 600) for _ in range(2)]
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    await page.evaluate(
        """async ([first, second]) => {
          const { Exchange } = await import("/client.js");
          globalThis.asked = 0;
          globalThis.current = first;
          globalThis.next = second;
          globalThis.own = new Exchange({ token: () => { asked++; return current; } });
          own.connect();
        }""",
        tokens,
    )
    await eventually(lambda: page.evaluate("own.state === 'online'"))
    assert len(sockets) == 1
    await revoke(world.exchange, f"jti:{jwt.decode(tokens[0], options=UNVERIFIED)['jti']}", datetime.now(UTC))
    await eventually(lambda: page.evaluate("own.state === 'refused'"))
    assert await page.evaluate("asked") == 2
    await page.evaluate("dispatchEvent(new Event('online'))")
    await eventually(lambda: page.evaluate("asked === 3"))
    assert len(sockets) == 1
    await page.evaluate("current = next; dispatchEvent(new Event('online'))")
    await eventually(lambda: page.evaluate("own.state === 'online'"))
    assert len(sockets) == 2
    await page.evaluate("own.token = next; own.close()")


async def test_what_others_write_throws_nothing(world: World) -> None:
    """A typing name that is an object, or a page long, in a channel that anybody may write to."""
    ada, bob = await world.tab("Ada"), await world.tab("Bob")
    errors: list[str] = []
    bob.on("pageerror", lambda error: errors.append(str(error)))
    for name in ("{toString: 1}", "['a']", "7", "null", "'x'.repeat(2000)"):
        await ada.evaluate(f"exchange.whisper('demo-thread-typing', 'typing', {{name: {name}}})")
    await ada.evaluate("exchange.whisper('demo-thread-typing', 'typing', {name: 'The last'})")
    await eventually(lambda: _says(bob, "#typing", "The last is writing"))
    assert errors == []


async def _count(page, least: int) -> bool:
    return len(await texts(page)) >= least


async def _shows(page, text: str) -> bool:
    return text in await texts(page)


async def _says(page, selector: str, text: str) -> bool:
    return text in (await page.locator(selector).text_content() or "")
