"""Sees to it that what was asked for is finished, canceled or paused, and that the console says so.

`python -m msgxc.reconciling`, kept running beside the workers: one is enough, several do no harm. Whether
anybody is at work on a campaign is read from its leases; what the operator wants, from the console's runs and
from the store, and the newer word counts (msgxc/run_care.py). A run that nobody is at work on is put back, as
the console's Retry does. PREFECT_API_URL and PREFECT_API_AUTH_STRING say where Prefect is.

A system that begins with all of its workers says when (MSGXC_WORKERS_SINCE): what a worker had before that,
nobody has any more.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx

from msgxc import campaigns, ids
from msgxc.campaign import (
    PLACEHOLDERS,
    CampaignSpec,
    Cohort,
    Sending,
    UrgentSending,
    asked,
    fill_name,
    name_form,
    slug,
    unpacked,
)
from msgxc.deploying import WORKERS_SINCE, Api
from msgxc.errors import MsgxcError, StoreUnavailable, WrongSettings, of_disk
from msgxc.fallback import FALLBACK, Following, fallback_key, fallback_spec, following
from msgxc.health import seen_file
from msgxc.ledger import Campaign, Control
from msgxc.messages.reading import latest
from msgxc.messages.succession import vacant
from msgxc.offering import MOST, RECENT, Listing, line_of, lists, offered
from msgxc.prefect_api import FLOW_OF_CAMPAIGNS, Console, newest
from msgxc.reports.tables import summary
from msgxc.run_care import (
    FINAL,
    GOES_ON,
    LEADING,
    OURS,
    PUT_BACK,
    Care,
    Run,
    Standing,
    Word,
    care,
    expired,
    last_word,
    lost,
    settled,
)
from msgxc.seat import LookedAfter, standing
from msgxc.urgency import levels
from msgxc.wiring import Exchange, open_exchange

LOOK_SECONDS = 3.0
#: A campaign whose run is to come is asked after so often; a run that dispatches has so long to come.
REST_SECONDS, PATIENCE_SECONDS, MOST_PATIENCE_SECONDS = 60.0, 10.0, 80.0
#: A run that is put back again and again has to wait, longer each time.
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 3600.0
#: One that has never come as far as to plan anything is left alone after this pause: something is wrong.
LAST_PAUSE = 480.0
#: Runs that have ended are looked at once; at the start those of a week, then those of the last minute.
BACK_SECONDS, AGAIN_SECONDS = 7 * 86_400.0, 60.0
#: A campaign whose run is lost is not sent by itself when its time was longer ago.
STALE_SECONDS = 86_400.0
#: What the forms offer is looked at so often, but costs no more than this share of the time; sizes alone are
#: brought up to date more rarely. A form is not changed while a schedule's run is due so soon: Prefect makes
#: those anew then.
OFFER_SECONDS, OFFER_SHARE, SIZES_SECONDS, DUE_SECONDS = 5.0, 0.02, 60.0, 20.0
#: So long it waits for the list of the latest messages; a longer look at them goes on beside all else.
LATEST_SECONDS = 1.0
#: Waiting runs are looked at so often for their names.
NAMES_SECONDS = 9.0
DISPATCH, FLOW_OF_FALLBACKS = "dispatch/dispatch", "fallback/fallback"


def say(line: str) -> None:
    """Tell the log."""
    print(line, flush=True)


def busy() -> float:
    """How many processes of this machine want each of its cores; at least 1, at most 4."""
    return min(4.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


@dataclass(slots=True)
class Reconciler:
    """Looks after the campaigns of one exchange. `api`: where their runs are; `workers_since`, `busy`: see
    care()."""

    exchange: Exchange
    api: Api
    say: Callable[[str], None] = say
    workers_since: float = 0.0
    busy: Callable[[], float] = busy
    console: Console = field(init=False)
    looked_after: LookedAfter = field(default_factory=LookedAfter)
    _tries: dict[str, tuple[float, float]] = field(
        default_factory=dict
    )  # not before, next pause: run or campaign
    _ended: dict[str, float] = field(default_factory=dict)  # runs that have ended, and need no further look
    _since: float | None = None  # when the runs that have ended were looked at last
    _closing: dict[UUID, asyncio.Task[Any]] = field(default_factory=dict)
    _dispatched: tuple[float, int] = (-1.0, 0)  # the vacancy that a run was asked for, and how often again
    _born: float = 0.0  # when Prefect's database was made
    _resting: dict[UUID, float] = field(default_factory=dict)  # campaigns that have a run to come
    _complained: bool = False
    _offer_at: float = 0.0  # when the forms are looked at next
    _sized: float = 0.0  # when the sizes in them were brought up to date
    _latest: tuple[str, ...] = ()  # messages, for the form that recalls
    _latest_at: float = 0.0  # when those are looked for next
    _looking: asyncio.Task[tuple[tuple[str, ...], float]] | None = None
    _names_at: float = 0.0
    _named: dict[str, tuple[str, ...]] = field(default_factory=dict)  # waiting runs -> name and tags

    def __post_init__(self) -> None:
        self.console = Console(self.api)

    async def look(self) -> None:
        """One look at everything. When Prefect or the store is away: the next look is soon."""
        with suppress(StoreUnavailable):
            for step in (
                self._see_to_dispatch,
                self._see_to_runs,
                self._see_to_campaigns,
                self._see_to_names,
                self._see_to_forms,
            ):
                try:
                    await step()
                    self._complained = False
                except httpx.HTTPError as error:
                    if not self._complained:
                        self.say(
                            f"Prefect cannot be asked: {type(error).__name__}; asked again, over and over"
                        )
                    self._complained = True
                    return

    async def close(self) -> None:
        """Wait for what is being closed, and hang up."""
        if self._looking:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        await asyncio.gather(*self._closing.values(), return_exceptions=True)
        self.console.close()

    # -- what the console shows

    async def _see_to_runs(self) -> None:
        """The runs that are under way, rest, or have ended since the last look."""
        now = self.exchange.clock()
        since = now - BACK_SECONDS if self._since is None else self._since - AGAIN_SECONDS
        current = await asyncio.to_thread(self.console.current)
        ended = await asyncio.to_thread(self.console.ended_since, since)
        self._ended = {run: at for run, at in self._ended.items() if at >= since}
        for run in [*current, *ended]:
            if self._ended.get(run.id) == run.state.at:
                continue
            try:
                done = await self._see_to(run)
            except httpx.HTTPStatusError as error:
                if error.response.is_server_error:
                    raise
                self.say(f"run {run.id} cannot be changed: {error.response.status_code}")
                done = True
            if done and run.state.type in FINAL:
                self._ended[run.id] = run.state.at
        self._since = now

    async def _see_to(self, run: Run) -> bool:
        """Do what is to be done about a run; False when it has to be looked at again."""
        name = await self._name(run) if run.flow in LEADING else ""
        campaign = await self._campaign(name) if name else None
        stands = await standing(self.exchange, campaign) if campaign else None
        said = await self._word(run) if self._matters(run, stands) else None
        now = self.exchange.clock()
        what = care(run, stands, said, now, self.workers_since, self.busy())
        return await self._do(what, run, campaign, stands, said)

    def _matters(self, run: Run, stands: Standing | None) -> bool:
        """Whether it has to be known what a person has said about the run: that is one more request."""
        if run.flow not in LEADING:
            return False
        if run.state.type in ("CRASHED", "FAILED"):
            return True
        attended = stands is not None and stands.attended(self.exchange.clock())
        return not attended and (
            run.state.type == "RUNNING" or (run.state.type == "PAUSED" and not run.state.suspended)
        )

    async def _word(self, run: Run) -> Word | None:
        states = await asyncio.to_thread(self.console.states, run.id)
        return last_word(states, schedule=bool(run.schedule))

    async def _name(self, run: Run) -> str:
        """What the campaign of a run is called; "": its parameters do not say."""
        try:
            given = unpacked(run.parameters)
            if run.flow == "fallback":
                return slug(str(given["campaign"])) + FALLBACK
            form = name_form(str(given["name"]))
        except (ValueError, KeyError):
            return ""
        if any(placeholder in form for placeholder in PLACEHOLDERS):
            zone = await asyncio.to_thread(self.console.zone, run) if run.schedule else ZoneInfo("UTC")
            return fill_name(form, datetime.fromtimestamp(run.due, zone))
        return form

    async def _campaign(self, name: str) -> Campaign | None:
        return await self.exchange.store.ledger.campaign(ids.campaign_id(self.exchange.key, name))

    async def _do(
        self, what: Care, run: Run, campaign: Campaign | None, stands: Standing | None, said: Word | None
    ) -> bool:
        """Do it, and say so; False when it has to be looked at again."""
        name = campaign.spec.name if campaign else run.name
        if what is Care.LOOK_AGAIN:
            return False
        if what is Care.LEAVE:
            # What somebody may still be at work on is looked at until nobody is; a cancel, until it is over.
            told = run.state.type != "CANCELLED" or (stands is not None and stands.finished)
            return stands is None or (told and not stands.attended(self.exchange.clock()))
        if what is Care.HOLD and campaign:
            await self._hold(campaign, f"its run has ended as {run.state.name}, and it is not over")
            return True
        known = what is Care.CANCEL and await self._call_off(run)
        if what in (Care.CANCEL, Care.END):
            if run.state.type != "CANCELLED" and (
                stands is None or not stands.attended(self.exchange.clock())
            ):
                await asyncio.to_thread(self.console.end, run)
            return not known  # once it is over, its state is to have the numbers
        if what is Care.TELL:
            said_of = summary(await campaigns.report(self.exchange, name))
            await asyncio.to_thread(self.console.tell_canceled, run, f"{OURS}canceled: {said_of}")
            return True
        if what is Care.SUSPEND:
            if campaign and stands and said and settled(stands, said) is not stands.control:
                await campaigns.set_control(self.exchange, name, said.control)
            if await asyncio.to_thread(self.console.suspend, run):
                self.say(f"{name}: paused, and nobody was at work on it; Resume goes on")
            return True
        if what is Care.RESUME:
            if await asyncio.to_thread(self.console.resume, run):
                self.say(f"{name}: goes on, as it was asked to")
            return True
        await self._put_back(run, name, planned=campaign is not None)
        return True

    async def _put_back(self, run: Run, name: str, *, planned: bool) -> None:
        """At once the first time, then ever later. That its start took long, on a busy machine, is no death:
        one that follows does not wait for it."""
        tries = f"{run.id} {run.state.type}" if run.state.type == "PENDING" else run.id
        if not planned and run.flow in LEADING and self._tries.get(tries, (0.0, 0.0))[1] > LAST_PAUSE:
            self.say(f"{name}: its run dies again and again before it has planned anything; it is left so")
            return
        at = self._next_try(tries)
        if await asyncio.to_thread(self.console.put_back, run, at, PUT_BACK):
            self.say(f"{name}: its run was {run.state.name}, and nobody was at work on it; put back")

    async def _call_off(self, run: Run) -> bool:
        """The console has canceled a run: so is its campaign, also one that nobody has begun. False: it could
        have none."""
        name = await self._name(run)
        try:
            if run.flow == "fallback":
                spec = await fallback_spec(self.exchange, name.removesuffix(FALLBACK))
            else:
                how = UrgentSending if self.console.urgent(run) else Sending
                spec = asked({**run.parameters, "name": name}, how)
        except MsgxcError:
            return False  # Such a run would have been refused: there is nothing to cancel.
        if spec and await campaigns.call_off(self.exchange, spec):
            self.say(f"{name}: canceled in the console, and nobody was there to hear it; canceled for good")
        return spec is not None

    # -- what the store says

    async def _see_to_campaigns(self) -> None:
        """The campaigns that are not over, and that no run will bring to their end."""
        born = await asyncio.to_thread(self.console.born)
        if born != self._born:  # another database: what was known of its runs is not true any more
            self._born, self._resting = born, {}
        for campaign in await self.looked_after.look(self.exchange):
            if campaign.finished:
                await self._see_to_fallback(campaign)
                continue
            stands, now = await standing(self.exchange, campaign), self.exchange.clock()
            if stands.control is Control.PAUSE or stands.attended(now) or not self._may(campaign.spec.name):
                self._resting.pop(campaign.id, None)
                continue
            if stands.control is Control.RUN and now < self._resting.get(campaign.id, 0.0):
                continue
            runs = await asyncio.to_thread(self.console.named, campaign.spec.name)
            runs = [run for run in runs if not run.far(now, REST_SECONDS)]
            if stands.control is Control.CANCEL:
                await self._close(campaign, [run for run in runs if run.state.type not in FINAL])
            elif run := newest(runs):
                if run.state.type in FINAL:
                    await self._see_to(run)
                else:
                    self._resting[campaign.id] = now + REST_SECONDS
            else:
                what = lost(stands, campaign.created.timestamp(), born, now)
                await self._without_run(what, campaign, stands)

    async def _without_run(self, what: Care, campaign: Campaign, stands: Standing) -> None:
        """The console has no run of it at all."""
        due = campaign.spec.sending.not_before
        stale = due and self.exchange.clock() - due.timestamp() > STALE_SECONDS
        if what is Care.START and stale and stands.told <= stands.held:
            await self._hold(campaign, f"its run is lost, and it was due on {due:%F %R %Z}")
        elif what is Care.HOLD:
            await self._hold(campaign, "its run was removed from the console")
        elif what is Care.START:
            self._next_try(campaign.spec.name)
            made = campaign.created.timestamp()
            key = f"again {campaign.id} {made:.0f} {stands.held:.0f} {stands.told:.0f}"
            if await asyncio.to_thread(self._start, campaign, key):
                self.say(f"{campaign.spec.name}: the console knew no run of it; started again")

    async def _hold(self, campaign: Campaign, why: str) -> None:
        await campaigns.set_control(self.exchange, campaign.spec.name, Control.PAUSE)
        self.say(f"{campaign.spec.name}: paused, because {why}; msgxc campaigns resume goes on")

    async def _close(self, campaign: Campaign, runs: list[Run]) -> None:
        """A canceled campaign that nobody is at work on: note its end, and let no run begin for it."""
        for run in runs:
            if run.state.type in ("SCHEDULED", "PAUSED"):
                await asyncio.to_thread(self.console.end, run)
        if campaign.id not in self._closing:
            closing = asyncio.create_task(campaigns.finish(self.exchange, campaign.id))
            self._closing[campaign.id] = closing
            closing.add_done_callback(lambda done: self._closed(campaign, done))

    def _closed(self, campaign: Campaign, done: asyncio.Task[bool]) -> None:
        del self._closing[campaign.id]
        if not done.cancelled() and done.exception() is None:
            self.say(f"{campaign.spec.name}: canceled; nobody was at work on it any more")

    async def _see_to_fallback(self, parent: Campaign) -> None:
        """Have the fallback run that should have begun, unless Prefect has a run of it that still can."""
        stands = await following(self.exchange, parent)
        if stands is Following.NONE:
            self.looked_after.settle(parent.id)
        name = parent.spec.name + FALLBACK
        if stands is not Following.LATE or not self._may(name):
            return
        run = newest(await asyncio.to_thread(self.console.named, name))
        if run is None:
            parameters, queue = {"campaign": parent.spec.name}, self._queue(parent)
            await asyncio.to_thread(
                self.console.start, FLOW_OF_FALLBACKS, parameters, fallback_key(parent), queue, GOES_ON
            )
            self.say(f"{name}: it was due and had not begun; started")
            self._next_try(name)
        elif run.state.type in FINAL - {"CRASHED"} and not expired(run.state):
            self.looked_after.settle(parent.id)

    def _start(self, campaign: Campaign, key: str) -> str:
        """Ask for a run of a campaign that is there."""
        spec = campaign.spec
        deployment, parameters = (
            FLOW_OF_CAMPAIGNS,
            spec.model_dump(mode="json", exclude={"parent", "thread", "message"}),
        )
        if spec.parent:
            deployment, parameters = FLOW_OF_FALLBACKS, {"campaign": spec.parent}
        return self.console.start(deployment, parameters, key, self._queue(campaign), GOES_ON)

    def _queue(self, campaign: Campaign) -> str:
        return levels(self.exchange.settings)[campaign.spec.sending.urgency].queue

    # -- what the console shows before anything runs

    async def _see_to_names(self) -> None:
        """Waiting runs are called as their campaigns will be, and tagged with cohort and template."""
        now = self.exchange.clock()
        if now < self._names_at:
            return
        self._names_at = now + NAMES_SECONDS
        waiting = await asyncio.to_thread(self.console.waiting, sorted(LEADING))
        named: dict[str, tuple[str, ...]] = {}
        for run in waiting:
            wanted = self._named.get(run.id) or await self._name_and_tags(run)
            named[run.id] = wanted
            name, *tags = wanted
            if name and (run.name != name or not set(tags) <= set(run.tags)):
                with suppress(httpx.HTTPStatusError):  # It is gone: its schedule was changed.
                    await asyncio.to_thread(
                        self.console.name, run, name, [*dict.fromkeys([*run.tags, *tags])]
                    )
        self._named = named

    async def _name_and_tags(self, run: Run) -> tuple[str, ...]:
        """An empty one alone: its parameters do not say, and the run itself will."""
        name = await self._name(run)
        if not name:
            return ("",)
        parent = await self._campaign(name.removesuffix(FALLBACK)) if run.flow == "fallback" else None
        if parent:
            return name, *tags_of(parent.spec, parent.spec.fallback.template)
        with suppress(MsgxcError):
            return name, *tags_of(asked({**run.parameters, "name": name}))
        return (name,)

    async def _see_to_forms(self) -> None:
        """The drop-downs of the forms are those templates, cohorts, threads and campaigns that there are."""
        now = self.exchange.clock()
        if now < self._offer_at:
            return
        messages, begun = await self._messages(), time.perf_counter()
        listing = replace(await listing_of(self.exchange), messages=messages)
        self._offer_at = now + max(OFFER_SECONDS, (time.perf_counter() - begun) / OFFER_SHARE)
        for form in await asyncio.to_thread(self.console.forms):
            before = form["parameter_openapi_schema"]
            after = offered(before, listing)
            fresh = lists(after) != lists(before)
            if after == before or not (fresh or now - self._sized >= SIZES_SECONDS):
                continue
            due = await asyncio.to_thread(self.console.waiting, sorted(LEADING), now + DUE_SECONDS)
            if any(run.schedule and run.deployment == form["id"] for run in due):
                continue
            await asyncio.to_thread(self.console.offer, form["id"], after)
            self._sized = now if not fresh else self._sized

    async def _messages(self) -> tuple[str, ...]:
        """The latest ones, as far as is known: to read very many takes long, and nothing waits for that."""
        now = self.exchange.clock()
        if self._looking is None:
            if now < self._latest_at:
                return self._latest
            self._looking = asyncio.create_task(messages_of(self.exchange))
        if (await asyncio.wait([self._looking], timeout=LATEST_SECONDS))[0]:
            looked, self._looking = self._looking, None
            self._latest, took = looked.result()
            self._latest_at = now + max(OFFER_SECONDS, took / OFFER_SHARE)
        return self._latest

    # -- dispatch

    async def _see_to_dispatch(self) -> None:
        """Nobody drains triage: a run is asked for at once, and another one when that one does not come."""
        since = await vacant(self.exchange)
        if since is None:
            return
        now = self.exchange.clock()
        asked_for, tries = self._dispatched
        patience = min(PATIENCE_SECONDS * 2**tries, MOST_PATIENCE_SECONDS)
        if asked_for == since and any(
            run.state.type == "SCHEDULED" or now - run.state.at < patience
            for run in await asyncio.to_thread(self.console.on_its_way, "dispatch")
        ):
            return
        tries = tries + 1 if asked_for == since else 0
        self._dispatched = since, tries
        key = f"dispatch {since:.3f} {tries}"
        await asyncio.to_thread(self.console.start, DISPATCH, {}, key, None, GOES_ON)

    # -- how often

    def _may(self, what: str) -> bool:
        """Whether it is long enough since it was tried last."""
        return self.exchange.clock() >= self._tries.get(what, (0.0, 0.0))[0]

    def _next_try(self, what: str) -> float:
        """When it may be tried now: at once, then ever later."""
        now = self.exchange.clock()
        not_before, pause = self._tries.get(what, (now, FIRST_PAUSE))
        self._tries[what] = now + pause, min(2 * pause, LONGEST_PAUSE)
        return max(now, not_before)


def tags_of(spec: CampaignSpec, template: str = "") -> list[str]:
    """What a campaign's run is found by. `template`: of its fallback."""
    cohorts = [f"cohort:{spec.audience.to.cohort}"] if isinstance(spec.audience.to, Cohort) else []
    return [*cohorts, f"template:{template or spec.template}"]


async def listing_of(exchange: Exchange) -> Listing:
    """What there is to choose from now."""
    store, templates = exchange.store, tuple[str, ...]()
    with suppress(WrongSettings):  # There is no such folder, for now: the forms keep what they have.
        templates = exchange.templates.names()
    threads: list[str] = []
    async for some in store.threads.scan():
        threads += [str(thread.tid) for thread in some if not thread.archived]
        if len(threads) > MOST:
            threads = []
            break
    found = [campaign async for page in store.ledger.campaigns() for campaign in page]
    newest_first = sorted(found, key=lambda campaign: campaign.created, reverse=True)[:RECENT]
    return Listing(
        templates=templates,
        cohorts=await store.cohorts.sizes(),
        threads=tuple(sorted(threads)),
        campaigns=tuple(campaign.spec.name for campaign in newest_first if not campaign.spec.parent),
    )


async def messages_of(exchange: Exchange) -> tuple[tuple[str, ...], float]:
    """The latest messages that can be taken back, as a drop-down shows them; and how many seconds it took."""
    begun = time.perf_counter()
    lines = [
        line_of(message, campaign)
        for message, campaign in await latest(exchange, RECENT)
        if not (message.canceled or message.recalled)
    ]
    return tuple(lines), time.perf_counter() - begun


async def run(api: Api, workers_since: float) -> None:
    """Look every LOOK_SECONDS until SIGTERM or Ctrl-C."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with open_exchange() as exchange:
        reconciler = Reconciler(exchange, api, workers_since=workers_since)
        while not ended.is_set():
            await reconciler.look()
            with suppress(OSError):  # A full disk: then it looks on unseen.
                seen_file(exchange.settings).touch()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), LOOK_SECONDS)
        await reconciler.close()


def main() -> int:
    """Run until ended; 1, with one line, when it cannot."""
    api = Api(os.environ.get("PREFECT_API_URL", ""), os.environ.get("PREFECT_API_AUTH_STRING", ""))
    try:
        asyncio.run(run(api, float(os.environ.get(WORKERS_SINCE, "0"))))
    except MsgxcError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(of_disk(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
