"""A real exchange for each test: the embedded store in a folder of its own, the session's real sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from msgspec import structs

from msgxc import campaigns
from msgxc.campaign import Audience, CampaignSpec, Everyone, Fallback, Sending
from msgxc.ledger import Row
from msgxc.model import Channel, Device, Recipient
from msgxc.sandbox.journal import Accepted, read
from msgxc.sandbox.launch import Sandbox
from msgxc.sandbox.subscriber import SUBSCRIBER_AUTH, SUBSCRIBER_P256DH, push_endpoint
from msgxc.settings import Settings, read_settings
from msgxc.store.records import batches
from msgxc.wiring import Exchange, apply_schema, open_exchange

HERE = Path(__file__).parent
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
NEVER = threading.Event()


def device(channel: Channel, word: str) -> Device:
    """A device whose address steers the sandbox."""
    if channel is Channel.WEBPUSH:
        return Device(channel, push_endpoint(word), SINCE, SUBSCRIBER_P256DH, SUBSCRIBER_AUTH)
    return Device(channel, word, SINCE)


def person(*devices: Device, **more: object) -> Recipient:
    """Somebody who consented to marketing."""
    usual = Recipient(
        uuid4(), "Ada 🌱 Lovelace", lang="en", devices=devices, consents=frozenset({"marketing"})
    )
    return structs.replace(usual, **more)  # type: ignore[arg-type]


def crowd(count: int, channel: Channel = Channel.APNS, word: str = "ok") -> list[Recipient]:
    """So many people with one device each, every token its own."""
    return [person(device(channel, f"{word}-{uuid4().hex}")) for _ in range(count)]


def spec(name: str, *, fallback: bool = False, **sending: object) -> CampaignSpec:
    """A campaign to everyone with the tests' own template."""
    return CampaignSpec(
        name=name,
        template="hello",
        audience=Audience(to=Everyone()),
        sending=Sending(**sending),  # type: ignore[arg-type]
        fallback=Fallback(enabled=fallback, after_minutes=0),
    )


@dataclass
class Ground:
    """What the provider has really accepted, for one exchange's people: the sandbox's own journal."""

    journal: Path
    tokens: dict[str, UUID]
    begins: int = 0  # where in the journal: what others were sent before is not read again and again

    def add(self, people: Iterable[Recipient]) -> None:
        """These are ours."""
        for someone in people:
            for each in someone.devices:
                self.tokens[each.token] = someone.uid
            for address in filter(None, (someone.email, someone.cell)):
                self.tokens[address] = someone.uid

    def accepted(self) -> list[Accepted]:
        """What was accepted for our people, in order."""
        return [entry for entry in read(self.journal, self.begins) if entry.address in self.tokens]

    def by_person(self) -> Counter[UUID]:
        """How many messages each of our people was sent."""
        return Counter(self.tokens[entry.address] for entry in self.accepted())


@pytest.fixture
def home(tmp_path: Path, sandbox: Sandbox) -> Path:
    """The folder of an exchange, with the session's sandbox and a template."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "sandbox").symlink_to(sandbox.directory, target_is_directory=True)
    template = tmp_path / "templates" / "hello"
    template.mkdir(parents=True)
    (template / "push.json").write_text(json.dumps({"title": "Hi {{ first_name }}", "body": "It is time."}))
    (template / "sms.txt").write_text("Hi {{ first_name }}")
    (template / "em.subject.txt").write_text("Hi {{ first_name }}")
    (template / "em.html").write_text("<p>Hi {{ first_name }}</p>")
    return folder


@pytest.fixture
def settings(home: Path) -> Settings:
    """Small windows. A busy machine is no fault: calls and leases last; where one is to run out, `brief`."""
    return read_settings(
        _env_file=None,
        home=home,
        templates=home.parent / "templates",
        shard_size=50,
        slice_size=200,
        window=20,
        in_flight=10,
        flush=5,
        lease_seconds=120,
        provider_timeout=60,
        attempts=3,
    )


def brief(settings: Settings) -> Settings:
    """The same with a lease that runs out while a test waits."""
    return settings.model_copy(update={"lease_seconds": 6, "provider_timeout": 3})


@pytest_asyncio.fixture
async def exchange(settings: Settings) -> AsyncIterator[Exchange]:
    """The exchange, open."""
    await apply_schema(settings)
    async with open_exchange(settings) as opened:
        yield opened


@pytest.fixture
def ground(sandbox: Sandbox) -> Ground:
    """The provider's side of the truth."""
    journal = sandbox.endpoints.journal
    return Ground(journal, {}, journal.stat().st_size if journal.exists() else 0)


async def enlist(exchange: Exchange, ground: Ground, people: list[Recipient]) -> None:
    """Put people into the directory."""
    for some in batches(people, 500):
        await exchange.store.directory.put(some)
    ground.add(people)


async def rows_of(exchange: Exchange, name: str) -> list[Row]:
    """All rows of a campaign."""
    campaign = await campaigns.campaign_named(exchange, name)
    return [r for n in range(campaign.shards) for r in await exchange.store.ledger.rows(campaign.id, n)]


async def send(exchange: Exchange, what: CampaignSpec) -> campaigns.Planned:
    """Plan, seal and send a campaign in this process, to its end."""
    planned = await campaigns.plan(exchange, what)
    await campaigns.seal(exchange, planned.id)
    for first, last in planned.slices:
        await campaigns.send_slice(exchange, planned.id, first, last, stop=NEVER, patient=False)
    await campaigns.send_slice(exchange, planned.id, 0, planned.shards, stop=NEVER)
    await campaigns.finish(exchange, planned.id)
    return planned


def start_process(
    settings: Settings, what: CampaignSpec, failpoints: str = "", **more: object
) -> subprocess.Popen[bytes]:
    """The same in a process of its own, which may be killed. `more`: further settings."""
    chosen = settings.model_dump(mode="json", exclude_defaults=True) | more
    env = {
        **os.environ,
        **{f"MSGXC_{name}".upper(): str(value) for name, value in chosen.items()},
        "MSGXC_FAILPOINTS": failpoints,
    }
    command = [sys.executable, str(HERE / "send_process.py"), what.model_dump_json()]
    return subprocess.Popen(command, env=env)
