"""The wall before Prefect's server: which requests of browsers and programs reach the app behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from msgxc.console_guard import Guard, link
from msgxc.console_server import prepare_environment
from msgxc.errors import WrongSettings
from msgxc.settings import read_settings

OWN = {"host": "127.0.0.1:4200"}
JSON = {"content-type": "application/json"}


async def _reached(request: Request) -> PlainTextResponse:
    await request.body()
    return PlainTextResponse("reached")


APP = Starlette(routes=[Route("/{path:path}", _reached, methods=["GET", "HEAD", "POST", "PATCH", "DELETE"])])


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A program or a browser in front of the guard; the console is console.example too."""
    transport = httpx.ASGITransport(Guard(APP, ["console.example"]))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4200") as client:
        yield client


@pytest.mark.parametrize(
    "host", ["127.0.0.1:4200", "localhost:4200", "LOCALHOST", "console.example", "console.example:443"]
)
async def test_our_own_names_are_let_in(client: httpx.AsyncClient, host: str) -> None:
    """127.0.0.1, localhost and what the setting says, with any port."""
    assert (await client.get("/api/flows", headers={"host": host})).text == "reached"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:4200",
        "127.0.0.1.evil.example:4200",
        "localhost.evil.example",
        "evil-console.example",
        "console.example.",
        "127.0.0.1@evil.example",
        "evil.example#127.0.0.1",
        "0.0.0.0:4200",
        "",
    ],
)
async def test_a_name_that_is_not_ours_is_refused(client: httpx.AsyncClient, host: str) -> None:
    """DNS rebinding: the browser speaks to 127.0.0.1 and believes that it is somebody else."""
    assert (await client.get("/api/flows", headers={"host": host})).status_code == 400


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:8000",
        "http://127.0.0.1:8000",
        "http://localhost:4200",
        "https://evil.example",
        "http://127.0.0.1:4200.evil.example",
        "http://127.0.0.1:4200@evil.example",
        "http://127.0.0.1",
        "null",
        "",
        "file://",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
async def test_a_page_of_somebody_else_is_refused(
    client: httpx.AsyncClient, method: str, origin: str
) -> None:
    """Whatever it asks for, a preflight too; and no answer names its origin, or any."""
    answer = await client.request(method, "/api/flows", headers={**OWN, "origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


async def test_the_console_s_own_pages_are_let_in(client: httpx.AsyncClient) -> None:
    """By each of its names, behind TLS too."""
    for host, origin in (
        ("127.0.0.1:4200", "http://127.0.0.1:4200"),
        ("localhost:4200", "http://localhost:4200"),
        ("console.example", "https://console.example"),
    ):
        headers = {**JSON, "host": host, "origin": origin, "sec-fetch-site": "same-origin"}
        assert (await client.post("/api/flows/filter", headers=headers, content="{}")).text == "reached"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "CROSS-SITE"])
async def test_what_the_browser_says_of_a_foreign_page_counts_without_an_origin(
    client: httpx.AsyncClient, site: str
) -> None:
    """A script or picture of another page is refused; a link that somebody has followed is not."""
    headers = {**OWN, "sec-fetch-site": site}
    assert (await client.get("/api/flows", headers=headers)).status_code == 403
    assert (await client.get("/x", headers=headers | {"sec-fetch-mode": "no-cors"})).status_code == 403
    followed = headers | {"sec-fetch-mode": "navigate"}
    assert (await client.get("/v2/runs", headers=followed)).text == "reached"
    sent = await client.post("/api/flows", headers=followed | JSON, content="{}")
    assert sent.status_code == 403


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "",
    ],
)
async def test_a_body_that_needs_no_preflight_is_refused(
    client: httpx.AsyncClient, content_type: str | None
) -> None:
    """Prefect reads text/plain, and a body of no type, as JSON: neither gets there."""
    headers = {**OWN} if content_type is None else {**OWN, "content-type": content_type}
    for method in ("POST", "PATCH", "DELETE", "PUT"):
        answer = await client.request(method, "/api/flows/filter", headers=headers, content=b"{}")
        assert answer.status_code == 415, method


async def _chunks() -> AsyncIterator[bytes]:
    yield b"{}"


async def test_a_body_of_unknown_length_is_one(client: httpx.AsyncClient) -> None:
    """Chunked: it has no Content-Length, and is refused all the same when it does not say that it is JSON."""
    assert (await client.post("/api/x", headers=OWN, content=_chunks())).status_code == 415
    assert (await client.post("/api/x", headers=OWN | JSON, content=_chunks())).text == "reached"


async def test_a_request_without_a_body_needs_no_type(client: httpx.AsyncClient) -> None:
    """As Prefect's clients send their DELETE."""
    assert (await client.delete("/api/flows/1", headers=OWN)).text == "reached"
    assert (await client.post("/api/x", headers={**OWN, "content-length": "0"})).text == "reached"


async def test_nobody_may_frame_the_console_or_be_told_its_address(client: httpx.AsyncClient) -> None:
    """Every answer says so, a refusal and the page that takes the login included."""
    for path, host in (("/v2/", OWN), ("/open/v2/", OWN), ("/v2/", {"host": "evil.example"})):
        headers = (await client.get(path, headers=host)).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("headers", [{"origin": "http://localhost:8000"}, {"host": "evil.example"}])
def test_a_websocket_of_somebody_else_is_refused(headers: dict[str, str]) -> None:
    """Before the app behind the guard hears of it."""
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.append(scope["type"])

    sent: list[dict[str, Any]] = []

    async def told(message: Any) -> None:
        sent.append(message)

    async def nothing() -> Any:
        return {"type": "websocket.connect"}

    def ask(given: dict[str, str]) -> None:
        raw = [(name.encode(), value.encode()) for name, value in given.items()]
        scope = {
            "type": "websocket",
            "path": "/api/events/out",
            "headers": raw,
            "extensions": {"websocket.http.response": {}},
        }
        asyncio.run(Guard(app)(scope, nothing, told))

    ask(OWN | headers)
    assert not heard
    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] in (400, 403)
    ask(OWN | {"origin": "http://127.0.0.1:4200"})
    ask(OWN)
    assert heard == ["websocket", "websocket"]


def test_a_link_keeps_the_login_from_servers_and_logs() -> None:
    """It stands behind the #, which no browser sends."""
    assert link("http://127.0.0.1:4200", "msgxc:a/b#c", "/v2/runs") == (
        "http://127.0.0.1:4200/open/v2/runs#msgxc:a%2Fb%23c"
    )
    assert link("http://127.0.0.1:4200", "", "/v2/runs") == "http://127.0.0.1:4200/v2/runs"


@pytest.mark.parametrize("login", ["", "msgxc", "msgxc:", "msgxc:short", ":0123456789abcdef0123"])
def test_the_server_does_not_start_without_a_login(login: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """None, or one that can be guessed: one line, which does not repeat it."""
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", login)
    with pytest.raises(WrongSettings, match="at least 16") as refused:
        prepare_environment(read_settings(), services=True)
    assert "short" not in str(refused.value)


@pytest.mark.parametrize("hosts", ["http://console.example", "console.example:443", "a/b", "a\nb", "*"])
def test_a_host_name_is_a_name(hosts: str) -> None:
    """No scheme, no port, no pattern: each would let in more, or less, than it seems."""
    with pytest.raises(WrongSettings, match="MSGXC_CONSOLE_HOSTS"):
        read_settings(console_hosts=hosts)
