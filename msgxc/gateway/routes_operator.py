"""What operators and services ask for: messages to persons, and how things stand."""

from __future__ import annotations

from datetime import UTC, datetime
from heapq import nlargest
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from msgxc import ids, revocation
from msgxc.errors import MsgxcError, WrongInput
from msgxc.gateway import forms
from msgxc.gateway.calling import Caller, Here, Purse, draft, refusal, told, uid
from msgxc.gateway.idempotency import IdempotentRoute
from msgxc.gateway.problems import Problem
from msgxc.ledger import Campaign
from msgxc.messages import joining, publishing
from msgxc.messages.records import PEOPLE, Kind, Message
from msgxc.messages.triage import is_over
from msgxc.privacy import erasure
from msgxc.store import migrations
from msgxc.wiring import Exchange

LISTED = 200

router = APIRouter(prefix="/api/v2", tags=["operators and services"])
sends = APIRouter(prefix="/api/v2", tags=["operators and services"], route_class=IdempotentRoute)


@sends.post("/send")
async def send(
    form: forms.SendForm, exchange: Here, caller: Caller, request: Request, response: Response
) -> bool:
    """Say something to one person. Its id is in the header Msgxc-Message, its thread in Msgxc-Thread: cancel
    and recall want both."""
    asked = draft(exchange, form, request)
    return told(response, await publishing.send(exchange, caller, asked, uid(exchange, form.uid)))


@sends.post("/send/bulk")
async def send_bulk(
    form: forms.BulkSends, exchange: Here, caller: Caller, spend: Purse, request: Request
) -> forms.Results:
    """Say something to each of several persons; one that is refused does not hold up the others."""
    spend(len(form.items) - 1)
    results: list[dict[str, object]] = []
    for number, item in enumerate(form.items):
        try:
            asked = draft(exchange, item, request, number)
            message = await publishing.send(exchange, caller, asked, uid(exchange, item.uid))
            results.append({"ok": True, "mid": str(message.mid), "tid": str(message.tid)})
        except MsgxcError as error:
            results.append(refusal(error))
    return forms.Results(results=results)


@sends.post("/multicast")
async def multicast(
    form: forms.MulticastForm,
    exchange: Here,
    caller: Caller,
    spend: Purse,
    request: Request,
    response: Response,
) -> bool:
    """Say something to some people: those named, of a cohort, or of a rule; at most 10,000."""
    asked = draft(exchange, form, request)
    if form.uids is not None:
        uids = [uid(exchange, one) for one in form.uids]
    else:
        uids = await publishing.meant(exchange, caller, cohort=form.cohort, where=form.where)
    spend(publishing.cost_of(len(uids)))
    return told(response, await publishing.multicast(exchange, caller, asked, uids))


@sends.post("/broadcast")
async def broadcast(
    form: forms.MessageForm,
    exchange: Here,
    caller: Caller,
    spend: Purse,
    request: Request,
    response: Response,
) -> bool:
    """Say something to everybody."""
    spend(publishing.cost_of(PEOPLE))
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
    await joining.found(exchange, uid(exchange, form.tid), _said(exchange, form))
    return True


def _said(exchange: Exchange, form: forms.FoundForm) -> dict[str, Any]:
    """The fields that the form has something to say about, also where that is nobody or nothing."""
    said = {name: getattr(form, name) for name in form.model_fields_set - {"tid"}}
    if said.get("fallback"):
        said["fallback"] = tuple(dict.fromkeys(said["fallback"]))
    if said.get("owner"):
        said["owner"] = uid(exchange, said["owner"])
    for name in said.keys() & {"admins", "publishers"}:
        said[name] = frozenset(uid(exchange, one) for one in said[name])
    return said


@router.post("/revoke")
async def revoke(form: forms.RevokeForm, exchange: Here) -> bool:
    """Have tokens count no more: one, or all of a person or a service that were issued until now. Their
    websockets end."""
    issuer = form.issuer or exchange.settings.jwt_issuer
    named = [f"jti:{form.jti}"] if form.jti else []
    named += [f"uid:{uid(exchange, form.uid)}"] if form.uid else []
    named += [f"svc:{ids.service_id(exchange.key, issuer, form.service)}"] if form.service else []
    if len(named) != 1:
        raise WrongInput("either jti, uid or service")
    await revocation.revoke(exchange, named[0], datetime.fromtimestamp(exchange.clock(), UTC))
    return True


@router.post("/erase")
async def erase(form: forms.PersonForm, exchange: Here) -> bool:
    """Erase a person for good, also one without a record: what is known of them, what they said, their tokens
    and open websockets. Their uid is refused from then on (403 `erased`). Reads all messages: it may take
    minutes. May be repeated."""
    await erasure.erase(exchange, uid(exchange, form.uid))
    return True


@router.post("/readmit")
async def readmit(form: forms.PersonForm, exchange: Here) -> bool:
    """Let somebody who was erased come back, as somebody new."""
    await erasure.readmit(exchange, uid(exchange, form.uid))
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
        "tid": str(message.tid) if (message := campaign.spec.message) else None,
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
    found: list[dict[str, object]] = []
    for item in sorted(waiting, key=lambda one: one.due):
        if len(found) == limit:
            break
        message = await exchange.store.messages.get(item.tid, item.mid)
        # One that was executed, or taken back, keeps its place in the queue until its time.
        if message is not None and message.joined is None and not is_over(message):
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
