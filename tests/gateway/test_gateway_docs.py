"""docs/api.md and docs/receipts.md: every curl example runs; /docs stands alone; msgxc token and serve."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from gateway_world import KEY, World

from msgxc import ids, links
from msgxc.gateway.auth import make_token
from msgxc.messages.records import Role
from msgxc.model import Channel
from msgxc.settings import ROOT, Settings
from msgxc.wiring import Exchange

BLOCKS = re.compile(r"```bash\n(.*?)```", re.DOTALL)
FORGOTTEN = links.Handle(uuid4(), uuid4(), uuid4(), Channel.WEBPUSH)


def examples(page: str) -> list[str]:
    """The curl lines of a page that speak to the gateway."""
    text = (ROOT / "docs" / page).read_text()
    return [
        line
        for block in BLOCKS.findall(text)
        for line in block.splitlines()
        if re.match(r"curl .*\$BASE", line)
    ]


def test_the_examples_run(served: tuple[Settings, int]) -> None:
    """In their order, as they stand there: each is answered with 200."""
    settings, port = served
    exchange = Exchange(settings, KEY, None, None)  # type: ignore[arg-type]
    ann, operator = (ids.uid_of(KEY, name) for name in ("ann", "operator"))
    environment = {
        **os.environ,
        "BASE": f"http://127.0.0.1:{port}",
        "TOKEN": make_token(exchange, ann, frozenset({Role.USER}), 60),
        "ADMIN": make_token(exchange, operator, frozenset({Role.ADMIN}), 60),
        "RECEIPT": links.receipt(KEY, FORGOTTEN),
    }
    lines = examples("api.md") + examples("receipts.md")
    assert len(lines) > 12
    for line in lines:
        command = line.replace("curl ", "curl -w '\\n%{http_code}' ", 1)
        done = subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
        )
        assert done.stdout.endswith("\n200"), (line, done.stdout, done.stderr)


def test_every_call_is_in_the_page() -> None:
    """docs/api.md names each route of the API."""
    from msgxc.gateway.access import ACCESS

    text = (ROOT / "docs" / "api.md").read_text()
    for _, path in ACCESS:
        name = path.removeprefix("/api/v2/")
        if path.startswith("/api/v2/") and name not in ("connect/{vid}/{sid}", "receipts", "push/key"):
            assert name.removeprefix("reports/") in text or name.removesuffix("/bulk") in text, name


class Loads(HTMLParser):
    """What a page would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe", "object"):
            self.found.append(tag)


async def test_docs_need_no_other_server(world: World) -> None:
    """One page, no script, nothing fetched; every operation of the description is on it."""
    page = await world.client.get("/docs")
    assert page.status_code == 200
    assert (await world.client.get("/", follow_redirects=True)).url.path == "/docs"
    assert Loads(page.text).found == []
    for path in (await world.client.get("/openapi.json")).json()["paths"]:
        assert path in page.text


async def test_the_description_says_who_may_call_and_what_may_be_answered(world: World) -> None:
    """Security where a token is needed, problems on every operation, Idempotency-Key on sends."""
    document = (await world.client.get("/openapi.json")).json()
    publish = document["paths"]["/api/v2/publish"]["post"]
    assert publish["security"] == [{"token": []}]
    assert "application/problem+json" in publish["responses"]["default"]["content"]
    assert [one["name"] for one in publish["parameters"]] == ["Idempotency-Key"]
    assert "security" not in document["paths"]["/api/v2/ping"]["get"]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


# -- the commands


def test_serve_answers_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """`msgxc serve` with a token of `msgxc token`: a call works; SIGTERM ends it in good order, with 0."""
    from msgxc.ports import free_port

    port = free_port(0)
    environment = {
        **os.environ,
        "MSGXC_HOME": str(tmp_path),
        "MSGXC_SECRET_KEY": KEY.decode(),
        "MSGXC_BUS": "memory",
        "MSGXC_SANDBOX": "true",
    }
    program = str(Path(sys.executable).with_name("msgxc"))
    subprocess.run([program, "schema", "apply"], env=environment, check=True, capture_output=True)
    token = subprocess.run(
        [program, "token", "ann"], env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()
    server = subprocess.Popen(
        [program, "serve", "--port", str(port)], env=environment, stdout=subprocess.PIPE
    )
    try:
        login = {"Authorization": f"Bearer {token}"}
        answer = _asked(f"http://127.0.0.1:{port}/api/v2/unread", login)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=120)
    assert server.returncode in (0, -signal.SIGTERM)


def _asked(url: str, headers: dict[str, str]) -> httpx.Response:
    end = time.monotonic() + 120
    while True:
        try:
            return httpx.get(url, headers=headers, timeout=30)
        except httpx.TransportError:
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.mark.parametrize("words", [["token"], ["token", "ann", "--role", "root"]])
def test_a_token_for_nobody_is_refused(tmp_path: Path, words: list[str]) -> None:
    """One line, status 2."""
    environment = {**os.environ, "MSGXC_HOME": str(tmp_path), "MSGXC_SECRET_KEY": KEY.decode()}
    program = str(Path(sys.executable).with_name("msgxc"))
    subprocess.run([program, "schema", "apply"], env=environment, check=True, capture_output=True)
    done = subprocess.run([program, *words], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
