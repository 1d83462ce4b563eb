"""Links that people follow: unsubscribe, preferences, tracked links, the handover to the app."""

from __future__ import annotations

from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from urllib.parse import parse_qs, quote, urlsplit
from uuid import UUID, uuid4

import pytest
from gateway_world import PUBLIC, World
from hypothesis import given
from hypothesis import strategies as st

from msgxc import links
from msgxc.errors import WrongInput
from msgxc.ledger import Mark
from msgxc.model import Channel, Email, Push, Recipient
from msgxc.tracking import tracked

HANDLE = links.Handle(uuid4(), uuid4(), uuid4(), Channel.EMAIL)
KEY = b"k" * 32


async def read(world: World, person: Recipient) -> Recipient:
    """The person as they stand now."""
    return (await world.exchange.store.directory.get([person.uid]))[person.uid]


def path(url: str) -> str:
    """A link of ours without the host."""
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def own(link: Callable[[str, str], str], world: World, campaign: UUID, person: Recipient) -> str:
    """Somebody's own link, without the host."""
    return path(link(PUBLIC, links.token(world.exchange.key, campaign, person.uid)))


# -- unsubscribe (RFC 8058)


@pytest.mark.parametrize(
    "sent",
    [
        {"data": {"List-Unsubscribe": "One-Click"}},
        {"files": {"List-Unsubscribe": (None, "One-Click")}},
        {"content": b""},
    ],
)
async def test_one_click_unsubscribes_at_once(world: World, sent: dict) -> None:
    """A POST without login, cookie or redirect takes the consent back; as a form, multipart or empty."""
    person = await world.person(consents=frozenset({"marketing", "product"}))
    handle = await world.delivery(person, Channel.EMAIL)
    url = own(links.unsubscribe, world, handle.campaign, person)
    answer = await world.client.post(url, **sent)
    assert answer.status_code == 200
    assert (await read(world, person)).consents == {"product"}
    assert (await world.client.post(url, **sent)).status_code == 200


async def test_looking_changes_nothing(world: World) -> None:
    """GET and HEAD show a page: scanners of mail follow every link."""
    person = await world.person(consents=frozenset({"marketing"}))
    handle = await world.delivery(person, Channel.EMAIL)
    url = own(links.unsubscribe, world, handle.campaign, person)
    answer = await world.client.get(url)
    assert answer.status_code == 200
    assert 'method="post"' in answer.text
    assert (await read(world, person)).consents == {"marketing"}


async def test_a_service_email_is_turned_off_as_a_channel(world: World) -> None:
    """It needs no consent that could be taken back, so emails end altogether; other channels stay."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL, purpose="service")
    await world.client.post(own(links.unsubscribe, world, handle.campaign, person))
    assert (await read(world, person)).channels == frozenset(Channel) - {Channel.EMAIL}


async def test_of_a_forgotten_campaign_every_consent_is_taken_back(world: World) -> None:
    """The link of an old email still means: no more of this."""
    person = await world.person(consents=frozenset({"marketing", "product"}))
    await world.client.post(own(links.unsubscribe, world, uuid4(), person))
    assert (await read(world, person)).consents == frozenset()


@pytest.mark.parametrize("kind", ["u", "p"])
async def test_links_that_are_not_ours_lead_to_a_page_that_says_so(world: World, kind: str) -> None:
    """Cut off, forged, of an erased person: 404 and a page, never an error of ours."""
    good = links.token(world.exchange.key, uuid4(), uuid4())
    for token in ("x", good, good[:-1], "A" * 59, "é", "%00", "a" * 3000):
        for method in ("GET", "POST"):
            answer = await world.client.request(method, f"/{kind}/{token}")
            assert answer.status_code == 404
            assert "not valid" in answer.text


# -- preferences


class Boxes(HTMLParser):
    """The ticked boxes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ticked: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        having = dict(attrs)
        if tag == "input" and "checked" in having:
            self.ticked.add(str(having["value"]))


async def test_the_preference_page_shows_and_saves(world: World) -> None:
    """What is ticked is what holds; consents that the page does not show stay."""
    person = await world.person(consents=frozenset({"marketing", "own"}), channels=frozenset({Channel.SMS}))
    url = own(links.preferences, world, uuid4(), person)
    page = await world.client.get(url)
    assert Boxes(page.text).ticked == {"sms", "marketing"}
    ticks = [("channel", "email"), ("channel", "apns"), ("purpose", "tracking"), ("purpose", "admin")]
    body = "&".join(f"{name}={value}" for name, value in [*ticks, ("channel", "nonsense")])
    saved = await world.client.post(url, content=body)
    assert Boxes(saved.text).ticked == {"email", "apns", "tracking"}
    found = await read(world, person)
    assert found.consents == {"tracking", "own"}
    assert found.channels == {Channel.EMAIL, Channel.APNS}
    await world.client.post(url, content="&".join(f"channel={channel}" for channel in Channel))
    assert (await read(world, person)).channels is None


async def test_pages_are_for_their_person_alone(world: World) -> None:
    """No script, no frame, no referrer, not kept: their address is a key. Nothing of the person is shown."""
    person = await world.person()
    page = await world.client.get(own(links.preferences, world, uuid4(), person))
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert "<script" not in page.text
    assert person.email not in page.text


# -- tracked links


def email(html: str) -> Email:
    """An email with this HTML."""
    return Email("s", html, "text")


async def test_a_tracked_link_notes_the_click_and_leads_on(world: World) -> None:
    """For somebody who consents; the opening too."""
    person = await world.person(consents=frozenset({"tracking"}))
    handle = await world.delivery(person, Channel.EMAIL)
    html = '<p><a class="x" href="https://shop.example.com/a?b=1&amp;c=2">go</a></p></body>'
    written = tracked(email(html), PUBLIC, world.exchange.key, handle)
    assert isinstance(written, Email)
    link, picture = (
        written.html.split('href="')[1].split('"')[0],
        written.html.split('src="')[1].split('"')[0],
    )
    answer = await world.client.get(path(unescape(link)))
    assert (answer.status_code, answer.headers["location"]) == (302, "https://shop.example.com/a?b=1&c=2")
    assert (await world.client.get(path(picture))).headers["content-type"] == "image/gif"
    row = await world.row(handle)
    assert row is not None
    assert {Mark.OPENED, Mark.CLICKED} <= set(row.marks)


async def test_there_is_no_open_redirect(world: World) -> None:
    """Another target, another delivery's signature, a target without any: 404, no Location."""
    handle = await world.delivery(await world.person(), Channel.EMAIL)
    link = links.tracked(PUBLIC, world.exchange.key, handle, "https://shop.example.com/")
    token = urlsplit(link).path.rpartition("/")[2]
    for target in (
        "https://evil.example.com/",
        "//evil.example.com",
        "javascript:alert(1)",
        "https://shop.example.com",
    ):
        answer = await world.client.get(f"/l/{token}?to={quote(target, safe='')}")
        assert answer.status_code == 404
        assert "location" not in answer.headers
    receipt = links.receipt(world.exchange.key, handle)
    assert (await world.client.get(f"/l/{receipt}?to=https%3A%2F%2Fevil.example.com")).status_code == 404


def test_links_of_ours_and_other_content_stay_as_they_are() -> None:
    """Unsubscribe and preferences are no clicks to count; a push is not touched; text is not either."""
    own = f'<a href="{PUBLIC}/u/abc">leave</a><a href="mailto:x@example.com">mail</a><a name="top">top</a>'
    written = tracked(email(own), PUBLIC, KEY, HANDLE)
    assert isinstance(written, Email)
    assert written.html.startswith(own)
    assert written.text == "text"
    push = Push("t", "b", url="https://x.example.com")
    assert tracked(push, PUBLIC, KEY, HANDLE) is push


@given(st.text(max_size=300))
def test_any_target_comes_back_as_it_was(target: str) -> None:
    """What was signed is what is read; nothing else is."""
    link = links.tracked(PUBLIC, KEY, HANDLE, target)
    token = urlsplit(link).path.rpartition("/")[2]
    if target and target[0] < "\ud800":
        (read_back,) = parse_qs(urlsplit(link).query, keep_blank_values=True)["to"]
        assert links.read_tracked(KEY, token, read_back) == HANDLE
    with pytest.raises(WrongInput):
        links.read_tracked(KEY, token, target + "x")


@given(st.text(max_size=200))
def test_no_text_is_a_token(text: str) -> None:
    """Whatever is sent as a token is refused in order."""
    for reads in (links.read_receipt, links.read_token, lambda key, one: links.read_tracked(key, one, "")):
        with pytest.raises(WrongInput):
            reads(KEY, text)


# -- the app


async def test_the_app_is_named_to_both_systems(world: World) -> None:
    """As the settings say; nothing, when they say nothing."""
    apple, android = "/.well-known/apple-app-site-association", "/.well-known/assetlinks.json"
    assert (await world.client.get(apple)).json() == {"applinks": {"details": []}}
    assert (await world.client.get(android)).json() == []
    world.exchange.settings = world.exchange.settings.model_copy(
        update={"apple_app_ids": "TEAM.org.example.app", "android_app": "org.example.app AA:BB"}
    )
    found = (await world.client.get(apple)).json()["applinks"]["details"]
    assert found == [{"appIDs": ["TEAM.org.example.app"], "components": [{"/": "/a/*"}]}]
    (found,) = (await world.client.get(android)).json()
    assert found["target"]["package_name"] == "org.example.app"
    assert found["target"]["sha256_cert_fingerprints"] == ["AA:BB"]


async def test_who_has_no_app_gets_a_page(world: World) -> None:
    """It offers the app and the web page of the settings; a path that could lead elsewhere is none."""
    world.exchange.settings = world.exchange.settings.model_copy(
        update={"app_scheme": "example", "app_fallback": "https://www.example.org/app"}
    )
    page = await world.client.get("/a/thread/7")
    assert 'href="example://thread/7"' in page.text
    assert 'href="https://www.example.org/app/thread/7"' in page.text
    for odd in ("..%2f..", '"><script>', "a%0d%0ab", "é"):
        assert (await world.client.get(f"/a/{odd}")).status_code == 404
