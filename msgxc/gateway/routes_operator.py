"""What operators and services ask for: messages to persons, and how things stand."""

from __future__ import annotations

from heapq import nlargest
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from msgxc.errors import MsgxcError, WrongInput
from msgxc.gateway import forms
from msgxc.gateway.calling import Caller, Here, draft, refusal, told, uid
from msgxc.gateway.idempotency import IdempotentRoute
from msgxc.gateway.problems import Problem
from msgxc.ledger import Campaign
from msgxc.messages import joining, publishing
from msgxc.messages.records import Kind, Message
from msgxc.model import Thread
from msgxc.store import migrations
from msgxc.wiring import Exchange

FOR_EVER = 400 * 86_400.0  # seconds that a revocation is kept: no token may count for longer
LISTED = 200

router = APIRouter(prefix="/api/v2", tags=["operators and services"])
sends = APIRouter(prefix="/api/v2", tags=["operators and services"], route_class=IdempotentRoute)


@sends.post("/send")
async def send(
    form: forms.SendForm, exchange: Here, caller: Caller, request: Request, response: Response
) -> bool:
    """Say something to one person. Its id is in the header Msgxc-Message."""
    asked = draft(exchange, form, request)
    return told(response, await publishing.send(exchange, caller, asked, uid(exchange, form.uid)))


@sends.post("/send/bulk")
async def send_bulk(form: forms.BulkSends, exchange: Here, caller: Caller, request: Request) -> forms.Results:
    """Say something to each of several persons; one that is refused does not hold up the others."""
    results: list[dict[str, object]] = []
    for number, item in enumerate(form.items):
        try:
            asked = draft(exchange, item, request, number)
            message = await publishing.send(exchange, caller, asked, uid(exchange, item.uid))
            results.append({"ok": True, "mid": str(message.mid)})
        except MsgxcError as error:
            results.append(refusal(error))
    return forms.Results(results=results)


@sends.post("/multicast")
async def multicast(
    form: forms.MulticastForm, exchange: Here, caller: Caller, request: Request, response: Response
) -> bool:
    """Say something to some people."""
    asked, uids = draft(exchange, form, request), [uid(exchange, one) for one in form.uids]
    return told(response, await publishing.multicast(exchange, caller, asked, uids))


@sends.post("/broadcast")
async def broadcast(
    form: forms.MessageForm, exchange: Here, caller: Caller, request: Request, response: Response
) -> bool:
    """Say something to everybody."""
    asked = draft(exchange, form, request)
    return told(response, await publishing.broadcast(exchange, caller, asked))


@router.post("/execute/message")
async def execute(form: forms.ExecuteForm, exchange: Here, caller: Caller) -> bool:
    """Send a stored message now. Another `qid` than the first one's is refused with 409."""
    await publishing.execute(exchange, caller, uid(exchange, form.tid), form.mid, form.qid)
    return True


@router.post("/threads")
async def found(form: forms.FoundForm, exchange: Here) -> bool:
    """Make a thread, or change it."""
    await joining.found(
        exchange, _thread(exchange, form, await exchange.store.threads.get(uid(exchange, form.tid)))
    )
    return True


def _thread(exchange: Exchange, form: forms.FoundForm, before: Thread | None) -> Thread:
    """The thread as the form has it; what a form does not say stays as it was."""
    tid = uid(exchange, form.tid)
    kept = before or Thread(tid)
    return Thread(
        tid=tid,
        name=form.name or kept.name,
        owner=uid(exchange, form.owner) if form.owner else kept.owner,
        admins=frozenset(uid(exchange, one) for one in form.admins) or kept.admins,
        publishers=frozenset(uid(exchange, one) for one in form.publishers) or kept.publishers,
        open=form.open,
        open_to_publish=form.open_to_publish,
        channels=kept.channels,
        fallback=kept.fallback,
        child_channels=kept.child_channels,
        urgency=form.urgency,
        archived=form.archived,
        system=kept.system,
        ephemeral=form.ephemeral,
        template=kept.template,
    )


@router.post("/revoke")
async def revoke(form: forms.RevokeForm, exchange: Here) -> bool:
    """Have tokens count no more: one, or all of a person that were issued until now."""
    if (form.jti is None) == (form.uid is None):
        raise WrongInput("either jti or uid")
    now, gateway = exchange.clock(), exchange.store.gateway
    if form.jti is not None:
        await gateway.revoke(f"jti:{form.jti}", now + FOR_EVER, now + FOR_EVER)
    elif form.uid is not None:
        await gateway.revoke(f"uid:{uid(exchange, form.uid)}", now, now + FOR_EVER)
    return True


# -- how things stand


@router.get("/reports/messages_recent")
async def messages_recent(
    exchange: Here, limit: Annotated[int, Query(ge=1, le=LISTED)] = 50
) -> forms.Upcoming:
    """The messages that were sent last, the newest first: ids, counts and times, no text."""
    newest: list[tuple[int, dict[str, object]]] = []
    async for page in exchange.store.ledger.campaigns(messages=True):
        some = [(c.id.int, _sent(c)) for c in page]
        newest = nlargest(limit, [*newest, *some], key=lambda one: one[0])
    return forms.Upcoming(messages=[one for _, one in newest])


def _sent(campaign: Campaign) -> dict[str, object]:
    return {
        "mid": str(campaign.id),
        "tid": str(campaign.spec.thread) if campaign.spec.thread else None,
        "created": campaign.created.isoformat(),
        "people": campaign.seal.count if campaign.seal else None,
        "control": campaign.control.value,
        "finished": campaign.finished and campaign.finished.isoformat(),
    }


@router.get("/reports/messages_upcoming")
async def messages_upcoming(
    exchange: Here, limit: Annotated[int, Query(ge=1, le=LISTED)] = 50
) -> forms.Upcoming:
    """The messages that wait for their time, the next one first."""
    waiting = [
        item async for page in exchange.store.triage.scan() for item in page if item.kind is Kind.SCHEDULED
    ]
    found = []
    for item in sorted(waiting, key=lambda one: one.due)[:limit]:
        message = await exchange.store.messages.get(item.tid, item.mid)
        if message is not None and message.canceled is None:
            found.append(_waiting(message))
    return forms.Upcoming(messages=found)


def _waiting(message: Message) -> dict[str, object]:
    return {
        "mid": str(message.mid),
        "tid": str(message.tid),
        "created": message.created.isoformat(),
        "scheduled": message.scheduled and message.scheduled.isoformat(),
        "urgency": int(message.urgency),
        "to": message.to.value,
    }


@router.get("/status/dbver")
async def dbver(exchange: Here) -> int:
    """The version of the store's schema (503 when the store is away)."""
    await exchange.store.gateway.revoked(["status"])
    folder = migrations.schema_folder()
    if exchange.settings.store == "cassandra":
        return len(migrations.read_steps(folder, ".cql"))
    return len(migrations.read_steps(folder / "sqlite", ".sql"))


@router.get("/status/xasver")
async def xasver() -> str:
    """The version of msgxc."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("msgxc")
    except PackageNotFoundError:
        raise Problem(503, "unknown_version", "msgxc is not installed as a package.") from None
