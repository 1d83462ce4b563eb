"""Without the login nothing comes out of the console or gets into it; with it, one link opens it."""

from __future__ import annotations

import asyncio
import http.server
import re
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import prefect.server.api.server as prefect_server
import psutil
import pytest
from fastapi.routing import APIWebSocketRoute
from flow_console import PrefectConsole
from prefect.client.orchestration import PrefectClient
from prefect.workers.process import ProcessJobConfiguration
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from msgxc.deploying import JOB_TEMPLATE, POOL
from msgxc.system import System

sys.path.append(str(Path(__file__).parent.parent / "browser"))

from browser_world import chromium, patient_context

#: Asked by docker and load balancers; they say yes, and nothing else.
OPEN = {"/api/health", "/api/ready"}


@pytest.fixture(scope="module")
def operations(console: PrefectConsole) -> list[tuple[str, str]]:
    """Every method of every path of Prefect's API, with something in place of each parameter."""
    described = console.json("GET", "/openapi.json")["paths"]
    found = []
    for path, methods in described.items():
        made = "/api" + re.sub(r"\{[^}]*\}", str(uuid4()), path.removeprefix("/api"))
        found += [(method.upper(), made) for method in methods]
    assert len(found) > 150
    return found


@pytest.mark.parametrize(
    "login",
    [
        None,
        "",
        "Basic",
        "Basic !",
        "Bearer x",
        "Basic " + b64encode(b"msgxc:").decode(),
        "Basic " + b64encode(b"admin:admin").decode(),
        "Basic " + b64encode("msgxc:\u00e9".encode()).decode(),
    ],
)
def test_nothing_is_answered_without_the_login(
    system: System, operations: list[tuple[str, str]], login: str | None
) -> None:
    """401 on every operation, whatever is said instead of the login; also on a path that looks like an open
    one."""
    headers = {} if login is None else {"Authorization": login}
    like_open = ["/variables/name/health", "/flows/ready", "//health", "/health/", "/docs", "/openapi.json"]
    tricks = [("POST", "/api/health"), *(("GET", f"/api{it}") for it in like_open)]
    with httpx.Client(base_url=system.url, headers=headers, timeout=60) as client:
        assert client.get("/openapi.json").status_code in (401, 404)
        for method, path in [*operations, *tricks]:
            if method == "GET" and path in OPEN:
                continue
            body = {"json": {}} if method in ("POST", "PUT", "PATCH") else {}
            answer = client.request(method, path, **body)
            assert answer.status_code == 401, (method, path, answer)


def _websockets() -> set[str]:
    routers = prefect_server.API_ROUTERS
    return {
        route.path for router in routers for route in router.routes if isinstance(route, APIWebSocketRoute)
    }


@pytest.mark.parametrize("path", sorted(_websockets()))
async def test_no_websocket_opens_without_the_login(system: System, path: str) -> None:
    """Nothing comes before the login, and a wrong one, or none, ends it; a foreign page is refused before."""
    url = system.api.replace("http://", "ws://") + re.sub(r"\{[^}]*\}", POOL, path)
    for first in (
        '{"type": "auth"}',
        '{"type": "auth", "token": "msgxc:wrong"}',
        '{"type": "auth", "token": null}',
        '{"type": "filter"}',
    ):
        assert await _heard(url, first, subprotocols=["prefect"]) is None
    with pytest.raises(InvalidStatus):
        await _heard(url)
    for origin in ("http://localhost:9", "null"):
        with pytest.raises(InvalidStatus):
            await _heard(url, origin=origin, subprotocols=["prefect"])


async def _heard(url: str, *said: str, **options: Any) -> str | bytes | None:
    """The first thing that a websocket says; None: it was closed before. Raises InvalidStatus."""
    async with connect(url, open_timeout=60, **options) as socket, asyncio.timeout(60):
        try:
            for each in said:
                await socket.send(each)
            return await socket.recv()
        except ConnectionClosed:
            return None


async def test_the_login_opens_the_websockets(system: System) -> None:
    """The same handshake with the login: so the refusals above are because of it."""

    url = system.api.replace("http://", "ws://") + "/events/out"
    said = f'{{"type": "auth", "token": "{system.login}"}}'
    assert "auth_success" in str(await _heard(url, said, subprotocols=["prefect"]))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 400),
        ({"origin": "http://localhost:9999"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_the_login_alone_does_not_make_a_request_ours(
    console: PrefectConsole, headers: dict[str, str], status: int
) -> None:
    """A browser that knows the login is asked by a page of somebody else: no run is made of it, and nothing
    read."""
    path = f"/deployments/{console.deployment()['id']}/create_flow_run"
    ours = {"flows": {"name": {"any_": ["campaign"]}}}
    runs = console.json("POST", "/flow_runs/count", ours)
    body = b'{"parameters": {"name": "foreign", "template": "spring-sale"}}'
    answer = console.http.post(path, content=body, headers={"content-type": "application/json"} | headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers
    assert console.json("POST", "/flow_runs/count", ours) == runs


def test_who_may_start_a_run_may_not_choose_its_command(console: PrefectConsole) -> None:
    """Nor its environment, its folder, its name: such a request is refused."""
    deployment = console.deployment()["id"]
    for wanted in ("command", "env", "working_dir", "env.PATH", "labels", "name"):
        job = {wanted: "touch /tmp/x"}
        asked = {"name": "x", "template": "spring-sale", "audience": {"to": {"kind": "everyone"}}}
        body = {"parameters": asked, "job_variables": job}
        answer = console.request("POST", f"/deployments/{deployment}/create_flow_run", body)
        assert answer.status_code == 422, wanted
    pool = console.json("GET", f"/work_pools/{POOL}")
    assert pool["base_job_template"] == JOB_TEMPLATE


async def test_the_worker_takes_nothing_from_a_run(system: System) -> None:
    """Prefect's process worker makes of our template its own command, whatever a run or deployment says."""
    asked = {"command": "touch /tmp/x", "env": {"A": "b"}, "working_dir": "/", "env.C": "d"}
    async with PrefectClient(system.api, auth_string=system.login) as client:
        make = partial(ProcessJobConfiguration.from_template_and_values, dict(JOB_TEMPLATE), client=client)
        made = await make(asked)
        assert made == await make({})
    assert made.command is None
    assert made.env == {}
    assert made.working_dir is None


#: What a page of somebody else can try. It writes down whatever it gets.
HOSTILE = """
const api = "%(api)s", got = [], path = "/deployments/%(deployment)s/create_flow_run";
const json = {"Content-Type": "application/json"}, plain = {"Content-Type": "text/plain"};
const run = JSON.stringify({parameters: {name: "hostile", template: "spring-sale"}});
const tries = [
  () => fetch(api + "/deployments/filter", {method: "POST", headers: json, body: "{}"}),
  () => fetch(api + path, {method: "POST", headers: json, body: run}),
  () => fetch(api + path, {method: "POST", headers: plain, body: run, mode: "no-cors"}),
  () => fetch(api + path, {method: "POST", body: new Blob([run]), mode: "no-cors"}),
  () => fetch(api + "/flows/count", {method: "POST", credentials: "include", mode: "no-cors"}),
  () => fetch(api.replace("127.0.0.1", "localhost") + "/deployments/filter", {method: "POST", body: "{}"}),
  () => fetch(api + path, {method: "POST", body: run, mode: "no-cors"}),
];
(async () => {
  for (const each of tries) {
    try { const answer = await each(); got.push(answer.type === "opaque" ? "opaque" : await answer.text()); }
    catch (error) { got.push("refused"); }
  }
  const form = document.createElement("form");
  form.action = api + path; form.method = "POST"; form.enctype = "text/plain"; form.target = "sink";
  const field = document.createElement("input");
  field.name = run.slice(0, -1) + ', "x": "'; field.value = '"}';
  form.append(field); document.body.append(form); form.submit();
  const frame = document.createElement("iframe");
  const drawn = new Promise((done) => { frame.onload = done; });  // comes for one that is blocked, too
  frame.src = "%(console)s/v2/deployments"; document.body.append(frame);
  await drawn;
  const socket = new WebSocket(api.replace("http", "ws") + "/events/out", "prefect");
  got.push(await new Promise((done) => {
    socket.onopen = () => done("open"); socket.onerror = () => done("refused");
  }));
  try { got.push(frame.contentWindow.localStorage.getItem("prefect-password") || "nothing"); }
  catch (error) { got.push("refused"); }
  document.title = JSON.stringify(got);
})();
"""


@pytest.fixture
def hostile(console: PrefectConsole) -> Iterator[str]:
    """The URL of such a page, on another port of this machine."""
    system = console.system
    values = {"api": system.api, "deployment": console.deployment()["id"], "console": system.url}
    page = f'<body><iframe name="sink"></iframe><script>{HOSTILE % values}</script></body>'.encode()

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


async def test_a_hostile_page_gets_nothing_through(console: PrefectConsole, hostile: str) -> None:
    """Opened in the browser in which the operator has the console open, with its login: it reads nothing,
    starts nothing, draws no console in a frame."""
    async with chromium() as browser:
        context = await patient_context(browser)
        operator = await context.new_page()
        await operator.goto(console.system.page("/v2/deployments"))
        await operator.get_by_text("campaign-urgent").first.wait_for()
        page = await context.new_page()
        blocked: list[str] = []
        page.on("console", lambda message: blocked.append(message.text))
        await page.goto(hostile)
        await page.wait_for_function("document.title.startsWith('[')", timeout=120_000)
        got = await page.evaluate("JSON.parse(document.title)")
        async with asyncio.timeout(120):
            while not blocked:
                await asyncio.sleep(0.1)
    assert len(got) == 9
    assert set(got) <= {"refused", "opaque"}, got
    assert any("frame" in text.lower() for text in blocked), blocked
    wanted = {"sort": "EXPECTED_START_TIME_DESC", "limit": 200}
    runs = console.json("POST", "/flow_runs/filter", wanted)
    assert all(run["parameters"].get("name") not in ("hostile", "foreign") for run in runs)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("page", ["/v2/deployments", "/deployments"])
async def test_one_link_opens_either_console(system: System, page: str, host: str) -> None:
    """The link that `make up` prints, with a path: the deployments are there, and the login is no longer in
    the address. The browser asks no other host."""
    async with chromium() as browser:
        tab = await (await patient_context(browser)).new_page()
        others: list[str] = []
        tab.on("requestfinished", lambda request: others.append(request.url))
        await tab.goto(system.page(page).replace("127.0.0.1", host))
        await tab.get_by_text("campaign-urgent").first.wait_for()
        assert page in tab.url
        assert system.login.partition(":")[2] not in tab.url
        assert "#" not in tab.url
        own = f"http://{host}:{system.url.rpartition(':')[2]}/"
        assert [url for url in others if not url.startswith((own, "data:", "blob:"))] == []
        await tab.reload()  # it is remembered
        await tab.get_by_text("campaign-urgent").first.wait_for()


async def test_a_wrong_link_says_so_and_harms_nothing(system: System) -> None:
    """Somebody sends the operator a link with another login: the right one stays."""
    async with chromium() as browser:
        context = await patient_context(browser)
        tab = await context.new_page()
        await tab.goto(system.page("/v2/deployments"))
        await tab.get_by_text("campaign-urgent").first.wait_for()
        await tab.goto(f"{system.url}/open/v2/runs#msgxc:wrong")
        await tab.get_by_text("not the console's").wait_for()
        await tab.goto(f"{system.url}/v2/deployments")
        await tab.get_by_text("campaign-urgent").first.wait_for()


KNOW_IT = {"server", "worker", "worker-urgent", "reconciler"}


def test_the_login_is_in_no_other_process_and_no_log(console: PrefectConsole) -> None:
    """Whoever reads a log does not learn it; the sandbox and the gateway have no use for it."""
    home, secret = console.system.settings.home, console.system.login.partition(":")[2]
    for file in (home / "log").iterdir():
        assert secret not in file.read_text(errors="replace"), file.name
    assert console.system.supervisor
    for child in console.system.supervisor.children:
        environment = psutil.Process(child.process.pid).environ()
        assert (secret in str(environment)) == (child.name in KNOW_IT), child.name
        assert secret not in str(psutil.Process(child.process.pid).cmdline())
    for name in ("secrets.json", "system.json"):
        assert (home / name).stat().st_mode & 0o777 == 0o600


def test_no_file_of_the_system_can_be_read_by_others(system: System) -> None:
    """The store, the logs, Prefect's own files, the sandbox: each is its owner's alone; so is the folder."""
    home = system.settings.home
    files = [home, *(path for path in home.rglob("*") if not path.is_symlink())]
    assert len(files) > 20
    assert [str(path) for path in files if path.exists() and path.stat().st_mode & 0o077] == []
