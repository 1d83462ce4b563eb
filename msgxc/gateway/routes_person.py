"""What any caller may ask for: enlist, publish, subscribe, read (in a thread: messages/rights.py)."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from msgxc.errors import MsgxcError
from msgxc.gateway import forms
from msgxc.gateway.calling import Caller, Here, Purse, draft, person_of, refusal, told, uid
from msgxc.gateway.idempotency import IdempotentRoute
from msgxc.messages import joining, publishing, reading
from msgxc.messages.records import Join, frame
from msgxc.people import choosing, enlisting
from msgxc.wiring import Exchange

router = APIRouter(prefix="/api/v2", tags=["people and threads"])
sends = APIRouter(prefix="/api/v2", tags=["people and threads"], route_class=IdempotentRoute)

# -- devices


@router.post("/enlist")
async def enlist(form: forms.DeviceForm, exchange: Here, caller: Caller, response: Response) -> bool:
    """Register the caller's phone or browser. It comes first among their devices, and leaves whoever had
    enlisted it before (then the header Msgxc-Moved says `true`)."""
    if isinstance(form, forms.NativeForm):
        device = enlisting.native(form.os, form.token)
    else:
        device = enlisting.browser(form.endpoint, form.keys.model_dump())
    if await enlisting.enlist(exchange, person_of(caller), device):
        response.headers["Msgxc-Moved"] = "true"
    return True


@router.post("/delist")
async def delist(form: forms.EndForm, exchange: Here, caller: Caller) -> bool:
    """Take the caller's phone or browser off them, as at a logout: nothing is pushed to it any more. One that
    was not theirs stays whose it is."""
    system, token = (form.os, form.token) if isinstance(form, forms.NativeForm) else ("", form.endpoint)
    await enlisting.delist(exchange, person_of(caller), system, token)
    return True


@router.post("/choices")
async def choices(form: forms.ChoicesForm, exchange: Here, caller: Caller) -> forms.ChoicesAnswer:
    """What the caller consents to and by which channels they are reached: their login is the confirmation."""
    held = await choosing.choose(exchange, person_of(caller), form.given, form.withdrawn)
    return forms.ChoicesAnswer(held=sorted(held))


# -- messages


@sends.post("/publish")
async def publish(
    form: forms.PublishForm,
    exchange: Here,
    caller: Caller,
    spend: Purse,
    request: Request,
    response: Response,
) -> bool:
    """Say something in a thread. Its id is in the header Msgxc-Message."""
    asked = draft(exchange, form, request)
    return told(response, await publishing.publish(exchange, caller, asked, spend))


@sends.post("/publish/bulk")
async def publish_bulk(
    form: forms.Bulk, exchange: Here, caller: Caller, spend: Purse, request: Request
) -> forms.Results:
    """Say several things; one that is refused does not hold up the others."""
    spend(len(form.items) - 1)
    results: list[dict[str, object]] = []
    for number, item in enumerate(form.items):
        try:
            asked = draft(exchange, item, request, number)
            message = await publishing.publish(exchange, caller, asked, spend)
            results.append({"ok": True, "mid": str(message.mid), "tid": str(message.tid)})
        except MsgxcError as error:
            results.append(refusal(error))
    return forms.Results(results=results)


@router.get("/threads/{tid}/messages")
async def history(
    tid: forms.Id,
    exchange: Here,
    caller: Caller,
    before: Annotated[UUID | None, Query(description="Cursor: older than that message.")] = None,
    after: Annotated[UUID | None, Query(description="Cursor: newer than that message.")] = None,
    limit: Annotated[int, Query(ge=1, le=reading.PAGE)] = 50,
) -> forms.Page:
    """A page of a thread: the newest first, with `after` the oldest first. Take `next` as the next cursor."""
    page = await reading.history(
        exchange, caller, uid(exchange, tid), before=before, after=after, limit=limit
    )
    more = str(page[-1].mid) if len(page) == limit else None
    return forms.Page(messages=[frame(message) for message in page], next=more)


@router.post("/read")
async def read(form: forms.ReadForm, exchange: Here, caller: Caller) -> bool:
    """The caller has seen everything up to this message: it is not pushed to them any more."""
    tid, mid = uid(exchange, form.tid), form.mid
    await reading.mark_read(exchange, person_of(caller), tid, mid, form.device, caller)
    return True


@router.get("/unread")
async def unread(exchange: Here, caller: Caller, spend: Purse) -> list[forms.UnreadThread]:
    """How much is unread in each of the caller's threads."""
    found = await reading.unread(exchange, person_of(caller), spend)
    return [
        forms.UnreadThread(tid=str(one.tid), count=one.count, last=str(one.last) if one.last else None)
        for one in found
    ]


@router.post("/cancel")
async def cancel(form: forms.MessageRef, exchange: Here, caller: Caller) -> bool:
    """Nothing of the message leaves any more. By its sender, admins of the thread, operators."""
    await publishing.cancel(exchange, caller, uid(exchange, form.tid), form.mid)
    return True


@router.post("/recall")
async def recall(
    form: forms.MessageRef, exchange: Here, caller: Caller, spend: Purse
) -> forms.RecalledAnswer:
    """Take a message back as far as it can be; counts where it found the people."""
    found = await publishing.recall(exchange, caller, uid(exchange, form.tid), form.mid, spend)
    return forms.RecalledAnswer(
        unsent=found.unsent, withdrawn=found.withdrawn, seen=found.seen, beyond=found.beyond
    )


# -- threads


@router.post("/subscribe")
async def subscribe(form: forms.ThreadForm, exchange: Here, caller: Caller) -> bool:
    """Come into a thread that is open, or that one was invited to."""
    await joining.subscribe(exchange, caller, uid(exchange, form.tid), _other(exchange, form))
    return True


@router.post("/subscribe/bulk")
async def subscribe_bulk(
    form: forms.BulkThreads, exchange: Here, caller: Caller, spend: Purse
) -> forms.Results:
    """Come into several threads."""
    spend(len(form.items) - 1)
    results: list[dict[str, object]] = []
    for item in form.items:
        try:
            await subscribe(item, exchange, caller)
            results.append({"ok": True})
        except MsgxcError as error:
            results.append(refusal(error))
    return forms.Results(results=results)


@router.post("/unsubscribe")
async def unsubscribe(form: forms.ThreadForm, exchange: Here, caller: Caller) -> bool:
    """Leave a thread."""
    await joining.unsubscribe(exchange, caller, uid(exchange, form.tid), _other(exchange, form))
    return True


@router.post("/prefer")
async def prefer(form: forms.PreferForm, exchange: Here, caller: Caller) -> bool:
    """By which channels the caller wants the messages of a thread."""
    await joining.prefer(exchange, caller, uid(exchange, form.tid), form.channels)
    return True


@router.post("/join")
async def join(form: forms.ThreadForm, exchange: Here, caller: Caller) -> bool:
    """Ask to join a closed thread (the old `msec`). true: the caller is in now; false: admins are asked."""
    return await joining.ask(exchange, caller, uid(exchange, form.tid)) is None


@router.post("/invite")
async def invite(form: forms.InviteForm, exchange: Here, caller: Caller) -> bool:
    """Invite somebody (admins). true: they had asked, and are in now; false: they are asked."""
    tid, whom = uid(exchange, form.tid), uid(exchange, form.uid)
    return await joining.invite(exchange, caller, tid, whom) is None


@router.post("/accept")
async def accept(form: forms.ThreadForm, exchange: Here, caller: Caller) -> bool:
    """Accept one's invitation or, with `uid`, somebody's request (admins)."""
    await joining.accept(exchange, caller, uid(exchange, form.tid), _other(exchange, form))
    return True


@router.post("/refuse")
async def refuse(form: forms.ThreadForm, exchange: Here, caller: Caller) -> bool:
    """As accept, but no."""
    await joining.refuse(exchange, caller, uid(exchange, form.tid), _other(exchange, form))
    return True


@router.get("/threads/{tid}/joins")
async def joins(tid: forms.Id, exchange: Here, caller: Caller) -> list[forms.JoinEntry]:
    """Requests and invitations of a thread (admins)."""
    return [_entry(one) for one in await joining.joins(exchange, caller, uid(exchange, tid))]


def _other(exchange: Exchange, form: forms.ThreadForm) -> UUID | None:
    """Whom else it is about, if not the caller."""
    return uid(exchange, form.uid) if form.uid else None


def _entry(one: Join) -> forms.JoinEntry:
    return forms.JoinEntry(tid=str(one.tid), uid=str(one.uid), state=one.state, at=one.at)
