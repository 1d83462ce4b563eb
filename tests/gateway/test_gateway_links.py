"""Links that people follow: unsubscribe, preferences, tracked links, the handover to the app."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from gateway_world import PUBLIC, World
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from msgxc import ids, links
from msgxc.campaign import Audience, CampaignSpec, Sending, Subscribers
from msgxc.errors import WrongInput
from msgxc.ledger import Campaign, Mark
from msgxc.model import Channel, Email, Push, Recipient, Subscription
from msgxc.people import import_people
from msgxc.store.ports import Suppression
from msgxc.tracking import tracked

HANDLE = links.Handle(uuid4(), uuid4(), uuid4(), Channel.EMAIL)
KEY = b"k" * 32
NOW = datetime(2026, 11, 30, tzinfo=UTC)


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


async def test_whoever_comes_again_is_not_asked_again(world: World) -> None:
    """The link of a purpose, of a service and of a thread: asked once, told afterwards; by whose name it is
    that stands above the emails."""
    world.exchange.settings = world.exchange.settings.model_copy(update={"email_from_name": "Shop & Co"})
    person = await world.person(consents=frozenset({"marketing"}))
    for purpose in ("marketing", "service"):
        handle = await world.delivery(person, Channel.EMAIL, purpose=purpose)
        url = own(links.unsubscribe, world, handle.campaign, person)
        first = await world.client.get(url)
        assert 'method="post"' in first.text
        assert "from Shop &amp; Co." in first.text
        await world.client.post(url)
        again = await world.client.get(url)
        assert "You are unsubscribed" in again.text
        assert 'method="post"' not in again.text


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


async def test_no_click_is_lost(world: World, tmp_path: Path) -> None:
    """40 people follow the links of two emails at the same moment, while a file about all of them is imported
    that says nothing of consents, and one that says they agree: nobody consents to anything afterwards, and
    each page has said so."""
    people = [await world.person(consents=frozenset({"marketing", "product"})) for _ in range(40)]
    said, agree = tmp_path / "said.csv", tmp_path / "agree.csv"
    said.write_text("uid,name\n" + "".join(f"{p.uid},Bea\n" for p in people))
    agree.write_text("uid,consents\n" + "".join(f"{p.uid},marketing;product\n" for p in people))
    clicks = []
    for person in people:
        for purpose in ("marketing", "product"):
            handle = await world.delivery(person, Channel.EMAIL, purpose=purpose)
            clicks.append(world.client.post(own(links.unsubscribe, world, handle.campaign, person)))
    exchange = world.exchange
    files = [
        import_people(file, exchange.store, exchange.key, now=NOW, refused=tmp_path / f"{n}.refused")
        for n, file in enumerate((said, agree, said, agree))
    ]
    answers = await asyncio.gather(*clicks, *files)
    assert {answer.status_code for answer in answers[: len(clicks)]} == {200}
    found = await exchange.store.directory.get([p.uid for p in people])
    assert [(p.name, p.consents) for p in found.values()] == [("Bea", frozenset())] * 40


async def test_a_file_gives_back_what_it_can_prove(world: World, tmp_path: Path) -> None:
    """An import after the click says how many consents stay withdrawn, also the second time, when nothing is
    new; with the time at which they agreed again it counts, with one before the click it does not, and one in
    the future is refused."""
    person = await world.person(consents=frozenset({"marketing"}))
    handle = await world.delivery(person, Channel.EMAIL)
    await world.client.post(own(links.unsubscribe, world, handle.campaign, person))
    (said,) = await world.exchange.store.directory.said(person.uid)
    assert (said.item, said.act, said.how, said.link) == (
        "consent:marketing",
        "withdrawn",
        "one_click",
        handle.campaign,
    )
    soon = datetime.now(UTC) + timedelta(seconds=2)
    for consented, now, expected in (
        ("", soon, (0, 1, 1, 0)),
        (said.at - timedelta(seconds=1), soon, (0, 1, 1, 0)),
        (soon + timedelta(seconds=1), soon, (0, 0, 0, 1)),
        (soon, soon, (1, 0, 0, 0)),
        ("", soon, (0, 1, 0, 0)),
    ):
        file, store = tmp_path / "in.csv", world.exchange.store
        file.write_text(f"uid,consents,consented\n{person.uid},marketing,{consented}\n")
        done = await import_people(file, store, world.exchange.key, now=now, refused=tmp_path / "r.csv")
        assert (done.updated, done.unchanged, done.kept, done.refused) == expected
    assert (await read(world, person)).consents == {"marketing"}


async def test_a_thread_is_left_by_email_alone(world: World) -> None:
    """Its emails end, its other channels and other emails stay; a file that subscribes them again, and coming
    into the thread once more, change nothing of it."""
    person, thread = await world.person(), await world.thread(open=True)
    await world.exchange.store.threads.enter([Subscription(thread.tid, person.uid)])
    campaign = uuid4()
    spec = CampaignSpec(
        name="t",
        template="welcome",
        thread=thread.tid,
        audience=Audience(to=Subscribers(thread=thread.tid)),
        sending=Sending(channels=(Channel.EMAIL,)),
    )
    await world.exchange.store.ledger.create(Campaign(campaign, spec, 4, NOW))
    url = own(links.unsubscribe, world, campaign, person)
    assert "You will no longer get emails about this thread" in (await world.client.get(url)).text
    await world.client.post(url)
    assert "You no longer get emails about this thread" in (await world.client.get(url)).text
    for _ in range(2):
        held = await world.exchange.store.threads.subscriptions(thread.tid, [person.uid])
        assert held[person.uid].channels == frozenset(Channel) - {Channel.EMAIL}
        assert (await read(world, person)).channels is None
        await world.post("subscribe", {"tid": str(thread.tid)}, world.login(person.uid))
        await world.exchange.store.threads.enter([Subscription(thread.tid, person.uid)])


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


def form(page: httpx.Response, *ticks: str, without: str = "") -> str:
    """What a browser sends for a page whose person ticks these besides, and one fewer."""
    shown = [f"was={quote(value)}" for value in re.findall(r'name="was" value="([^"]*)"', page.text)]
    on = (Boxes(page.text).ticked | set(ticks)) - {without}
    fields = [f"{'channel' if one in set(Channel) else 'purpose'}={one}" for one in sorted(on)]
    return "&".join([*shown, *fields])


async def asked_at(world: World, person: Recipient) -> list[tuple[str, frozenset[Channel] | None]]:
    """The confirmations that were sent to somebody: the path of the link, by which channel."""
    own = ids.own_thread(world.exchange.key, person.uid)
    said = await world.exchange.store.messages.history(own)
    return [(path(message.url), message.channels) for message in said if "/c/" in message.url]


async def test_what_is_taken_away_holds_at_once(world: World) -> None:
    """Unticked is off when the page says so; consents that the page does not show stay. A form without what
    it had shown means all of it; a page that was left open takes nothing back and turns nothing on."""
    person = await world.person(
        consents=frozenset({"marketing", "product", "own"}), channels=frozenset({Channel.SMS, Channel.EMAIL})
    )
    handle = await world.delivery(person, Channel.EMAIL)
    url = own(links.preferences, world, handle.campaign, person)
    first = await world.client.get(url)
    assert Boxes(first.text).ticked == {"sms", "email", "marketing", "product"}
    saved = await world.client.post(url, content=form(first, without="marketing"))
    assert Boxes(saved.text).ticked == {"sms", "email", "product"}
    stale = await world.client.post(url, content=form(first, without="sms"))
    assert Boxes(stale.text).ticked == {"email", "product"}
    assert (await read(world, person)).consents == {"product", "own"}
    assert await asked_at(world, person) == []
    await world.client.post(url, content="channel=email&purpose=admin&channel=nonsense&was=nonsense")
    assert (await read(world, person)).consents == {"product", "own"}
    await world.client.post(url, content="channel=email")
    found = await read(world, person)
    assert (found.consents, found.channels) == ({"own"}, {Channel.EMAIL})
    said = await world.exchange.store.directory.said(person.uid)
    assert {(s.act, s.how, s.link) for s in said} == {("withdrawn", "page", handle.campaign)}


async def test_what_is_added_holds_when_it_is_confirmed(world: World) -> None:
    """Whoever has the email may ask; a message goes to the person, with a link whose page changes nothing and
    whose button does. What was asked, confirmed and taken back stands in the log, in order."""
    person = await world.person(consents=frozenset({"own"}), channels=frozenset({Channel.EMAIL}))
    handle = await world.delivery(person, Channel.EMAIL)
    url = own(links.preferences, world, handle.campaign, person)
    answer = await world.client.post(url, content=form(await world.client.get(url), "marketing", "sms"))
    assert "We have sent you an email" in answer.text
    assert "Saved" not in answer.text
    assert Boxes(answer.text).ticked == {"email"}
    before = await read(world, person)
    ((link, channels),) = await asked_at(world, person)
    assert channels == {Channel.EMAIL}
    page = await world.client.get(link)
    assert "Offers and news" in page.text
    assert "Text message" in page.text
    assert await read(world, person) == before
    done = await world.client.post(link)
    assert "Confirmed" in done.text
    after = await read(world, person)
    assert (after.consents, after.channels) == ({"own", "marketing"}, {Channel.EMAIL, Channel.SMS})
    said = await world.exchange.store.directory.said(person.uid)
    assert {(s.item, s.act, s.how, s.link) for s in said} == {
        (item, act, how, handle.campaign)
        for item in ("consent:marketing", "channel:sms")
        for act, how in (("asked", "page"), ("given", "confirmation"))
    }
    assert [s.act for s in said] == ["asked", "asked", "given", "given"]
    await world.client.post(own(links.unsubscribe, world, handle.campaign, person))
    again = await world.client.post(link)
    assert "Still off: Offers and news" in again.text
    assert (await read(world, person)).consents == {"own"}


async def test_a_withdrawal_between_asking_and_confirming_wins(world: World) -> None:
    """Asked, then unsubscribed, then the confirmation is pressed: it stays off, and the page says so."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    url = own(links.preferences, world, handle.campaign, person)
    await world.client.post(url, content=form(await world.client.get(url), "marketing"))
    ((link, _),) = await asked_at(world, person)
    await world.client.post(own(links.unsubscribe, world, handle.campaign, person))
    assert "Nothing was turned on" in (await world.client.post(link)).text
    assert (await read(world, person)).consents == frozenset()


async def test_nobody_is_flooded_with_confirmations(world: World) -> None:
    """Thirty at the same moment, for this and that: one message in ten minutes, five a day, and each page
    says what came of it."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    url = own(links.preferences, world, handle.campaign, person)
    # Well inside of ten minutes of the clock, whenever this test begins.
    real, begun = world.exchange.clock, world.exchange.clock()
    world.exchange.clock = lambda: begun // 600 * 600 + 60 + real() - begun
    page, now = await world.client.get(url), world.exchange.clock()
    kinds = ("marketing", "product", "tracking")
    answers = await asyncio.gather(
        *(world.client.post(url, content=form(page, kinds[n % 3])) for n in range(30))
    )
    assert {"We have asked you already" in a.text or "We have sent you" in a.text for a in answers} == {True}
    assert len(await asked_at(world, person)) == 1
    for slot in range(1, 9):
        world.exchange.clock = lambda slot=slot: now + slot * 601
        await world.client.post(url, content=form(page, "product"))
    assert len(await asked_at(world, person)) == 5


async def test_a_confirmation_has_an_age_and_is_ours(world: World) -> None:
    """After a day its link leads nowhere; cut off or changed it never led anywhere, nor do other tokens."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    url = own(links.preferences, world, handle.campaign, person)
    await world.client.post(url, content=form(await world.client.get(url), "marketing"))
    ((link, _),) = await asked_at(world, person)
    token = link.removeprefix("/c/")
    others = (token[:-1], ("B" if token[0] == "A" else "A") + token[1:], url.removeprefix("/p/"), "x", "é")
    for one in others:
        assert [(await world.client.request(m, f"/c/{one}")).status_code for m in ("GET", "POST")] == [
            404
        ] * 2
    now = world.exchange.clock()
    world.exchange.clock = lambda: now + 86_500
    assert (await world.client.post(link)).status_code == 404
    assert (await read(world, person)).consents == frozenset()
    world.exchange.clock = lambda: now + 3_600
    assert (await world.client.post(link)).status_code == 200
    assert (await read(world, person)).consents == {"marketing"}


@pytest.mark.parametrize("why", ["nowhere", "suppressed", "muted", "old", "forgotten"])
async def test_where_nobody_can_be_asked_it_says_so(world: World, why: str) -> None:
    """No address, one that bounced, every channel off, an email of long ago, a campaign that is forgotten:
    nothing is sent and nothing turned on, and the page says what else to do."""
    person = await world.person(channels=frozenset() if why == "muted" else None)
    if why == "nowhere":
        person = structs.replace(person, email="", cell="")
        await world.exchange.store.directory.put([person])
    handle = await world.delivery(person, Channel.EMAIL)
    if why == "suppressed":
        key, at = world.exchange.key, datetime.now(UTC)
        places = ((Channel.EMAIL, person.email), (Channel.SMS, person.cell))
        await world.exchange.store.directory.suppress(
            [Suppression(ids.address_hash(key, c, a), c, "bounced", at) for c, a in places]
        )
    campaign = uuid4() if why == "forgotten" else handle.campaign
    url = own(links.preferences, world, campaign, person)
    page, now = await world.client.get(url), world.exchange.clock()
    if why == "old":
        world.exchange.clock = lambda: now + 91 * 86_400
    answer = await world.client.post(url, content=form(page, "marketing"))
    assert "Not turned on: Offers and news" in answer.text
    assert await asked_at(world, person) == []
    assert await world.exchange.store.directory.said(person.uid) == []
    assert (await read(world, person)).consents == frozenset()


async def test_by_a_login_it_holds_at_once(world: World, uid: UUID) -> None:
    """The app's own page: the login is the confirmation. Only for oneself, and only what is shown."""
    person = await world.person(consents=frozenset({"own", "product"}), channels=frozenset({Channel.SMS}))
    login = world.login(person.uid)
    given = {"given": ["consent:marketing", "channel:email"], "withdrawn": ["consent:product"]}
    answer = await world.post("choices", given, login)
    assert answer.json() == {"held": ["channel:email", "channel:sms", "consent:marketing"]}
    assert (await world.post("choices", {}, login)).json() == answer.json()
    assert (await read(world, person)).consents == {"own", "marketing"}
    said = await world.exchange.store.directory.said(person.uid)
    assert {(s.item, s.act, s.how) for s in said} == {
        ("consent:marketing", "given", "app"),
        ("channel:email", "given", "app"),
        ("consent:product", "withdrawn", "app"),
    }
    both = ["channel:sms"]
    for wrong in ({"given": ["consent:own"]}, {"given": ["x"]}, {"given": both, "withdrawn": both}):
        assert (await world.post("choices", wrong, login)).status_code == 422
    assert (await world.post("choices", {}, world.login(uid))).status_code == 404


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
    for looked_at in (path(unescape(link)), path(picture)):
        assert (await world.client.head(looked_at)).status_code in (200, 302)
    assert await world.row(handle) is None  # scanners ask so
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


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("id=1&region=3", "id=1&region=3"),
        ("id=1&copy=2&lt=3&amp=4", "id=1&copy=2&lt=3&amp=4"),
        ("a=1&amp;amp;b=2", "a=1&amp;b=2"),
        ("a=1&amp;region=3&notit;x", "a=1&region=3&notit;x"),
        ("a=&copy;&reg", "a=\u00a9\u00ae"),
        ("a=&#65;&#x42;&#67", "a=ABC"),
        ("a=\n1\t2", "a=12"),
    ],
)
def test_a_target_is_read_as_an_attribute(written: str, meant: str) -> None:
    """By the HTML standard's rule for references in attributes: `&region=3` is no `\u00ae`."""
    tracked_ = tracked(email(f'<a href="https://shop.example/?{written}">go</a>'), PUBLIC, KEY, HANDLE)
    assert isinstance(tracked_, Email)
    query = urlsplit(unescape(tracked_.html.split('href="')[1].split('"')[0])).query
    assert parse_qs(query)["to"] == [f"https://shop.example/?{meant}"]


@pytest.mark.parametrize(
    ("letters", "wrapped"), [("x" * 4_200, True), ("x" * 9_000, False), ("é" * 1_400, False)]
)
async def test_what_is_wrapped_is_taken_back(world: World, letters: str, wrapped: bool) -> None:
    """A link that becomes longer than every server takes stays as it is; any other leads on."""
    handle, target = (
        await world.delivery(await world.person(), Channel.EMAIL),
        f"https://shop.example/{letters}",
    )
    written = tracked(email(f'<a href="{target}">go</a>'), PUBLIC, world.exchange.key, handle)
    assert isinstance(written, Email)
    link = unescape(written.html.split('href="')[1].split('"')[0])
    assert (link != target) == wrapped
    if wrapped:
        answer = await world.client.get(path(link))
        assert (answer.status_code, answer.headers["location"]) == (302, target)


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
    asked = await world.client.get("/a/thread/7?x=1&y=%C3%A9")
    assert 'href="example://thread/7?x=1&amp;y=%C3%A9"' in asked.text
    assert 'href="https://www.example.org/app/thread/7?x=1&amp;y=%C3%A9"' in asked.text
    for odd in ("..%2f..", '"><script>', "a%0d%0ab", "é"):
        assert (await world.client.get(f"/a/{odd}")).status_code == 404
