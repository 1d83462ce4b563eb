"""Who answers for a campaign, what is done when nobody does, and what has to wait."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import pytest_asyncio
from conftest_engine import NEVER, Ground, crowd, enlist, spec

from msgxc import campaigns
from msgxc.campaigns import Planned
from msgxc.deploying import Api
from msgxc.errors import ProviderBlocked
from msgxc.ledger import SEALING, SEAT, Campaign, Control
from msgxc.reconciling import Reconciler
from msgxc.seat import QUIET_SECONDS, abandoned, seated
from msgxc.settings import Settings
from msgxc.store.cassandra import CassandraSettings, CassandraStore
from msgxc.store.ports import Store
from msgxc.wiring import Exchange


@pytest_asyncio.fixture
async def planned(exchange: Exchange, ground: Ground) -> Planned:
    """A sealed campaign to sixty people."""
    await enlist(exchange, ground, crowd(60))
    found = await campaigns.plan(exchange, spec("seat"))
    await campaigns.seal(exchange, found.id)
    return found


def later(exchange: Exchange, seconds: float) -> Exchange:
    """The same exchange as it will be in so many seconds."""
    return replace(exchange, clock=lambda: exchange.clock() + seconds)


async def test_nobody_is_missed_before_it_begins(exchange: Exchange, planned: Planned) -> None:
    """A campaign that waits for its time, or for an operator's word, is not abandoned."""
    assert await abandoned(later(exchange, 10_000)) == []


async def test_a_killed_run_is_missed(exchange: Exchange, planned: Planned, settings: Settings) -> None:
    """Whoever answers for a campaign is missed once the lease is over, and not before."""
    now = exchange.clock()
    assert await exchange.store.ledger.claim(planned.id, SEAT, "dead", now, now + settings.lease_seconds)
    assert await abandoned(exchange) == []
    assert await abandoned(later(exchange, settings.lease_seconds)) == []
    (found,) = await abandoned(later(exchange, settings.lease_seconds + QUIET_SECONDS + 0.1))
    assert found.campaign.id == planned.id


async def test_a_sealing_that_was_cut_off_is_missed(exchange: Exchange, ground: Ground) -> None:
    """A run that was killed while it wrote the audience is missed too."""
    found, now = await campaigns.plan(exchange, spec("half-sealed")), exchange.clock()
    assert await exchange.store.ledger.claim(found.id, SEALING, "dead", now, now + 1)
    assert [it.campaign.id for it in await abandoned(later(exchange, 1 + QUIET_SECONDS + 0.1))] == [found.id]


@pytest.mark.parametrize("end", ["paused", "canceled", "finished", "blocked"])
async def test_what_is_to_rest_is_not_missed(exchange: Exchange, planned: Planned, end: str) -> None:
    """A campaign that is over, held, or refused by a provider waits for a person."""
    if end == "blocked":
        with pytest.raises(ProviderBlocked):
            async with seated(exchange, planned.id):
                raise ProviderBlocked("403")
    else:
        async with seated(exchange, planned.id):
            assert await abandoned(later(exchange, QUIET_SECONDS)) == []
    if end in ("paused", "canceled"):
        await campaigns.set_control(
            exchange, planned.name, Control.PAUSE if end == "paused" else Control.CANCEL
        )
    if end == "finished":
        await campaigns.send_rest(exchange, planned, stop=NEVER)
        assert await campaigns.finish(exchange, planned.id)
    assert await abandoned(later(exchange, 1000)) == []


async def test_a_second_run_has_no_seat_and_works(
    exchange: Exchange, planned: Planned, ground: Ground
) -> None:
    """A campaign that is started twice is sent by both; one of them answers for it."""
    async with seated(exchange, planned.id), seated(exchange, planned.id):
        await campaigns.send_slice(exchange, planned.id, 0, planned.shards, stop=NEVER)
    assert set(ground.by_person().values()) == {1}


async def test_what_has_to_wait_holds_up_nobody(exchange: Exchange, ground: Ground) -> None:
    """A shard that another process holds: its slice is left at once, the next ones go out, and send_rest
    stays until it is free and finished."""
    people = crowd(250)
    await enlist(exchange, ground, people)
    found = await campaigns.plan(exchange, spec("waiting"))
    await campaigns.seal(exchange, found.id)
    now, ledger = exchange.clock(), exchange.store.ledger
    held = await ledger.claim(found.id, 0, "another", now, now + 1000)
    assert held
    for first, last in found.slices:
        await campaigns.send_slice(exchange, found.id, first, last, stop=NEVER, patient=False)
    theirs = set(await ledger.members(found.id, 0))
    assert set(ground.by_person()) == {person.uid for person in people} - theirs
    rest = asyncio.create_task(campaigns.send_rest(exchange, found, stop=NEVER))
    await asyncio.sleep(0.2)
    assert not rest.done()
    await ledger.release(held, exchange.clock())
    await rest
    assert set(ground.by_person()) == {person.uid for person in people}
    assert set(ground.by_person().values()) == {1}
    assert await campaigns.finish(exchange, found.id)


async def test_parts_have_their_share_of_the_throttle(exchange: Exchange, ground: Ground) -> None:
    """Two runs at a half each are together as fast as the campaign may be."""
    await enlist(exchange, ground, crowd(200))
    found = await campaigns.plan(exchange, spec("halves", per_second=100))
    await campaigns.seal(exchange, found.id)
    half = found.shards // 2
    halves = [
        await campaigns.part(exchange, "halves", whole, 0.5) for whole in ((0, half), (half, found.shards))
    ]
    begun = asyncio.get_running_loop().time()
    await asyncio.gather(*(campaigns.send_rest(exchange, one, stop=NEVER) for one in halves))
    assert 1.6 < asyncio.get_running_loop().time() - begun < 6
    assert set(ground.by_person().values()) == {1}
    assert len(ground.by_person()) == 200


# -- the reconciler, against what Prefect would answer


class Prefect:
    """Answers as Prefect's API does, and keeps what it was asked for."""

    def __init__(self, newest: str) -> None:
        self.started: list[dict[str, Any]] = []
        prefect = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({"id": "d1", "path": self.path})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.endswith("/flow_runs/filter"):
                    return self._answer([{"state_type": newest, "id": "r0"}] if newest else [])
                if "parameters" in body:  # not a run that dispatches, which is asked for besides
                    prefect.started.append(body)
                return self._answer({"id": "r1"})

            def _answer(self, body: object) -> None:
                content = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.api = Api(f"http://127.0.0.1:{self.server.server_port}/api", "a:b")
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def prefect(request: pytest.FixtureRequest) -> Iterator[Prefect]:
    """A Prefect whose newest run of the campaign is in the state of the parameter."""
    answers = Prefect(getattr(request, "param", "CRASHED"))
    yield answers
    answers.server.shutdown()
    answers.server.server_close()


@pytest_asyncio.fixture
async def dead(exchange: Exchange, planned: Planned) -> AsyncIterator[Exchange]:
    """The exchange when its campaign's run has been dead for a while."""
    async with seated(exchange, planned.id):
        pass
    yield later(exchange, QUIET_SECONDS + 1)


async def test_it_is_started_again_once(dead: Exchange, planned: Planned, prefect: Prefect) -> None:
    """An abandoned campaign gets one new run, with its own parameters, and not one at every look."""
    reconciler = Reconciler(dead, prefect.api, say=lambda _: None)
    for _ in range(3):
        await reconciler.look()
    (asked,) = prefect.started
    assert asked["parameters"]["name"] == planned.name
    assert asked["work_queue_name"] == "normal"
    again = spec("seat").model_validate(asked["parameters"])
    assert (await campaigns.plan(dead, again)).id == planned.id


@pytest.mark.parametrize("prefect", ["CANCELLED"], indirect=True)
async def test_a_cancel_after_death_counts(dead: Exchange, planned: Planned, prefect: Prefect) -> None:
    """The operator cancels a run whose process is gone: the campaign is canceled, not started again."""
    await Reconciler(dead, prefect.api, say=lambda _: None).look()
    assert prefect.started == []
    assert await dead.store.ledger.control(planned.id) is Control.CANCEL


# -- a fallback that is missing


@pytest_asyncio.fixture
async def closed(exchange: Exchange, ground: Ground) -> AsyncIterator[Exchange]:
    """The exchange an hour after a campaign was closed whose fallback nobody has scheduled."""
    await enlist(exchange, ground, crowd(10))
    found = await campaigns.plan(exchange, spec("closed", fallback=True))
    await campaigns.seal(exchange, found.id)
    await campaigns.send_rest(exchange, found, stop=NEVER)
    assert await campaigns.finish(exchange, found.id)
    yield later(exchange, 3600)


@pytest.mark.parametrize("prefect", ["", "CRASHED"], indirect=True)
async def test_a_missing_fallback_is_started_once(closed: Exchange, prefect: Prefect) -> None:
    """The run that was to schedule it has died, or the fallback's own run has before it began: it is asked
    for, under one key, and not at every look."""
    for _ in range(3):
        await Reconciler(closed, prefect.api, say=lambda _: None).look()
    assert len(prefect.started) == 3  # each is a reconciler of its own; Prefect makes one run of a key
    assert len({asked["idempotency_key"] for asked in prefect.started}) == 1
    assert prefect.started[0]["parameters"] == {"campaign": "closed"}
    reconciler = Reconciler(closed, prefect.api, say=lambda _: None)
    for _ in range(3):
        await reconciler.look()
    assert len(prefect.started) == 4


@pytest.mark.parametrize("prefect", ["SCHEDULED", "RUNNING", "CANCELLED", "FAILED"], indirect=True)
async def test_a_fallback_that_has_a_run_is_left_to_it(closed: Exchange, prefect: Prefect) -> None:
    """It waits for a worker, is at work, or a person has ended it or has to look at it: no second one."""
    await Reconciler(closed, prefect.api, say=lambda _: None).look()
    assert prefect.started == []


async def test_a_fallback_that_has_begun_is_not_missed(closed: Exchange, prefect: Prefect) -> None:
    """Nor is one whose time has not come, nor one of a campaign that has none."""
    second = await campaigns.fallback_spec(closed, "closed")
    assert second
    early = replace(closed, clock=lambda: closed.clock() - 3500)
    await Reconciler(early, prefect.api, say=lambda _: None).look()
    await campaigns.plan(closed, second)
    await Reconciler(closed, prefect.api, say=lambda _: None).look()
    assert prefect.started == []


async def test_a_fallback_is_due_when_everything_is_sent(exchange: Exchange, ground: Ground) -> None:
    """Not before the last shard is finished; then once, under one key; never for a campaign that is canceled
    or has none."""
    await enlist(exchange, ground, crowd(10))
    found = await campaigns.plan(exchange, spec("due", fallback=True))
    await campaigns.seal(exchange, found.id)
    assert await campaigns.fallback_due(exchange, "due") is None
    await campaigns.send_rest(exchange, found, stop=NEVER)
    first, again = [await campaigns.fallback_due(exchange, "due") for _ in range(2)]
    assert first
    assert again
    assert first.key == again.key
    assert (first.at.timestamp() - exchange.clock()) == pytest.approx(0, abs=60)
    await campaigns.set_control(exchange, "due", Control.CANCEL)
    assert await campaigns.fallback_due(exchange, "due") is None


async def test_prefect_away_is_no_end(dead: Exchange, planned: Planned, prefect: Prefect) -> None:
    """While Prefect cannot be asked nothing happens; at the next look it is asked again."""
    said: list[str] = []
    reconciler = Reconciler(dead, Api("http://127.0.0.1:9/api"), say=said.append)
    await reconciler.look()
    reconciler.api = prefect.api
    await reconciler.look()
    assert len(prefect.started) == 1
    assert len([line for line in said if line.startswith("seat:")]) == 2


@pytest.mark.parametrize("kind", ["sqlite", "cassandra"])
async def test_a_forgotten_name_is_new(
    exchange: Exchange, cassandra_settings: CassandraSettings, kind: str
) -> None:
    """After retention has removed a campaign its name can be used again: no lease of the old one is left."""
    store: Store = exchange.store if kind == "sqlite" else CassandraStore(cassandra_settings)
    await store.open()
    found = await campaigns.plan(exchange, spec("forgotten"))
    made = Campaign(found.id, spec("forgotten"), 3, datetime.now(UTC))
    await store.ledger.create(made)
    for shard in (SEAT, SEALING, 0):
        lease = await store.ledger.claim(found.id, shard, "old", 1.0, 2.0)
        assert lease
        await store.ledger.finish(lease)
    await store.ledger.forget(found.id)
    for shard in (SEAT, SEALING, 0):
        assert await store.ledger.claim(found.id, shard, "new", 3.0, 4.0)
    if kind == "cassandra":
        await store.close()
