"""A gateway process, its exchange and a real headless Chromium, as the browser tests use them."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, CDPSession, Page, async_playwright

from msgxc.sandbox.subscriber import SUBSCRIBER_AUTH, SUBSCRIBER_P256DH
from msgxc.wiring import Exchange

#: Chromium has no push service here: its subscription is one of the sandbox's, everything else is real.
SUBSCRIPTION = """(() => {
  const made = { endpoint: "%(endpoint)s", toJSON: () => ({ endpoint: "%(endpoint)s", expirationTime: null,
    keys: { p256dh: "%(p256dh)s", auth: "%(auth)s" } }) };
  let subscribed = null;
  PushManager.prototype.getSubscription = async () => subscribed;
  PushManager.prototype.subscribe = async ({ userVisibleOnly, applicationServerKey }) => {
    if (!userVisibleOnly || applicationServerKey.length !== 65) throw new Error("wrong options");
    return (subscribed = made);
  };
})()"""


def subscription(endpoint: str) -> str:
    """A script that gives the browser a push subscription."""
    return SUBSCRIPTION % {"endpoint": endpoint, "p256dh": SUBSCRIBER_P256DH, "auth": SUBSCRIBER_AUTH}


class World:
    """`exchange` is this process's own, on the same store and bus as the gateway."""

    def __init__(self, url: str, exchange: Exchange, browser: Browser) -> None:
        self.url = url
        self.exchange = exchange
        self.browser = browser

    async def tab(self, name: str, script: str = "", **options: Any) -> Page:
        """A browser of its own, in which somebody has joined the demo thread."""
        context = await patient_context(self.browser, **options)
        await context.grant_permissions(["notifications"], origin=self.url)
        if script:
            await context.add_init_script(script)
        page = await context.new_page()
        await page.goto(f"{self.url}/demo")
        await page.fill("#name", name)
        await page.click("text=Join the thread")
        await page.wait_for_selector("#state[data-state=online]")
        return page


async def patient_context(browser: Browser, **options: Any) -> BrowserContext:
    """Its tabs wait for a busy machine."""
    context = await browser.new_context(**options)
    context.set_default_timeout(120_000)
    return context


@cache
def _chromium() -> str:
    script = Path(__file__).parents[2] / "servers" / "chromium.sh"
    return subprocess.run([script, "path"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The one on the path, or the one that CHROMIUM names."""
    path = await asyncio.to_thread(_chromium)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"], timeout=120_000
        )
        try:
            yield browser
        finally:
            await browser.close()


async def say(page: Page, text: str) -> None:
    """Write a message as a person does."""
    await page.fill("#text", text)
    await page.press("#text", "Enter")


async def texts(page: Page) -> list[str]:
    """What the thread shows."""
    return [text.strip() for text in await page.locator("#messages .text").all_text_contents()]


async def eventually(look: Callable[[], Awaitable[Any]], seconds: float = 60) -> Any:
    """What `look` answers, once it is true."""
    end = time.monotonic() + seconds
    while not (found := await look()):
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.05)
    return found


async def worker(context: BrowserContext, page: Page) -> tuple[CDPSession, str]:
    """The browser's own end of the service worker: a session, and the registration's id."""
    session = await context.new_cdp_session(page)
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def updated(event: dict[str, Any]) -> None:
        for one in event["registrations"]:
            if not one["isDeleted"] and not found.done():
                found.set_result(one["registrationId"])

    session.on("ServiceWorker.workerRegistrationUpdated", updated)
    await session.send("ServiceWorker.enable")
    return session, await asyncio.wait_for(found, 60)


def home_of(folder: Path) -> Path:
    """A folder for an exchange."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder
