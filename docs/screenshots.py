"""The pictures of the README, from the running system: `make up`, `make demo` beside it, then this.

    python docs/screenshots.py

Needs a Chromium (`servers/chromium.sh`). The example people are made up, so the pictures show nobody.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from msgxc.deploying import Api
from msgxc.settings import read_settings
from msgxc.system import attached

IMAGES = Path(__file__).parent / "img"
WIDTH = 1280


def main() -> None:
    """Take them all, of the demo's last campaign."""
    system = attached(read_settings())
    url = system.url
    run, report, deployment = _find(Api(system.api, system.login))
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 1000}, locale="en-GB", timezone_id="UTC")
        page.goto(system.page("/v2/"))  # from here on the browser has the login
        page.wait_for_url(f"{url}/v2/dashboard**")
        _form(page, f"{url}/v2/deployments/deployment/{deployment}/run")
        _shot(page, f"{url}/v2/runs/flow-run/{run}?tab=Artifacts", "run")
        _shot(page, f"{url}/v2/artifacts/artifact/{report}", "artifacts", height=1450)
        _chat(browser, f"{system.gateway}/demo")
        browser.close()


def _find(api: Api) -> tuple[str, str, str]:
    """The last demo run, its report, the deployment."""
    runs = {"name": {"like_": "demo-"}, "state": {"type": {"any_": ["COMPLETED"]}}}
    flow = {"name": {"any_": ["campaign"]}}
    with api.client() as http:
        run = _first(http, "/flow_runs/filter", {"flow_runs": runs, "flows": flow, "sort": "START_TIME_DESC"})
        wanted = {"flow_run_id": {"any_": [run["id"]]}, "key": {"like_": "report-%"}}
        report = _first(http, "/artifacts/filter", {"artifacts": wanted})
    return run["id"], report["id"], run["deployment_id"]


def _first(http: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    found = http.post(path, json={**body, "limit": 1}).raise_for_status().json()
    if not found:
        raise SystemExit("there is no finished demo: run `make demo` beside `make up`")
    return dict(found[0])


def _form(page: Page, url: str) -> None:
    """The form, filled in as an operator would."""
    page.set_viewport_size({"width": WIDTH, "height": 3000})  # so that nothing scrolls
    page.goto(url)
    page.get_by_role("button", name="Submit").wait_for()
    page.locator("textarea").first.fill("weekly-{date}")
    page.get_by_text("Select", exact=True).first.click()
    page.get_by_text("spring-sale", exact=True).last.click()
    page.get_by_text("Select", exact=True).first.click()  # the cohort's; the template's shows its choice now
    page.get_by_text("newsletter", exact=True).last.click()
    page.wait_for_timeout(500)
    clip: Any = {"x": 0, "y": 0, "width": WIDTH, "height": 1330}
    page.screenshot(path=IMAGES / "console-form.png", clip=clip)


def _shot(page: Page, url: str, name: str, *, height: int = 1020) -> None:
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.goto(url)
    page.wait_for_timeout(5000)  # The time line draws itself after everything else.
    page.screenshot(path=IMAGES / f"console-{name}.png")


def _chat(browser: Browser, url: str) -> None:
    """Two people in the demo's thread, as one of them sees it."""
    ada, grace = (_joined(browser, url, name) for name in ("Ada", "Grace"))
    for page, text in (
        (ada, "Has the train to Hamburg left?"),
        (grace, "Not yet: ten minutes late, platform 7."),
        (ada, "Then I can still make it. Thank you!"),
    ):
        page.fill("#text", text)
        page.press("#text", "Enter")
        page.wait_for_timeout(700)
    ada.screenshot(path=IMAGES / "demo.png")


def _joined(browser: Browser, url: str, name: str) -> Page:
    context = browser.new_context(
        viewport={"width": 760, "height": 520}, device_scale_factor=2, locale="en-GB", timezone_id="UTC"
    )
    page = context.new_page()
    page.goto(url)
    page.fill("#name", name)
    page.click("text=Join the thread")
    page.wait_for_selector("#state[data-state=online]")
    return page


def _chromium() -> str:
    script = Path(__file__).parents[1] / "servers" / "chromium.sh"
    found = subprocess.run([script, "path"], check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return found.stdout.strip()


if __name__ == "__main__":
    main()
