"""What routes are given: the exchange, the caller, and drafts made from forms."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from msgxc import ids
from msgxc.errors import MsgxcError
from msgxc.gateway.access import charge
from msgxc.gateway.auth import principal_of
from msgxc.gateway.forms import MessageForm, PublishForm
from msgxc.gateway.idempotency import Attempt
from msgxc.gateway.problems import Problem, document, of_error
from msgxc.messages.publishing import Spend
from msgxc.messages.records import Draft, Message, Principal
from msgxc.render import options
from msgxc.wiring import Exchange

#: The headers that name the message of a call whose answer is `true`, and its thread.
MESSAGE, THREAD = "Msgxc-Message", "Msgxc-Thread"


def exchange_of(request: Request) -> Exchange:
    """The exchange that the app stands on."""
    exchange: Exchange = request.app.state.exchange
    return exchange


Here = Annotated[Exchange, Depends(exchange_of)]
Caller = Annotated[Principal, Depends(principal_of)]


def purse_of(request: Request, caller: Caller) -> Spend:
    """What the caller's further units of work are paid with: gateway/rates.py. It raises TooMuch."""

    def spend(units: int) -> None:
        if units:
            charge(request, caller.account, units)

    return spend


Purse = Annotated[Spend, Depends(purse_of)]


def person_of(principal: Principal) -> UUID:
    """The caller's own uid. Raises Problem for a token that names no person."""
    if principal.uid is None:
        raise Problem(403, "person_needed", "This is for persons: the token names none.")
    return principal.uid


def uid(exchange: Exchange, named: str) -> UUID:
    """The uid or tid that is meant: a UUID, or a foreign id."""
    return ids.uid_of(exchange.key, named)


def draft(exchange: Exchange, form: MessageForm, request: Request, number: int = 0) -> Draft:
    """What the form asks for; under an Idempotency-Key it has the same id in every repetition. `number`: of
    the item, in a bulk form."""
    thread = form if isinstance(form, PublishForm) else None
    attempt: Attempt | None = getattr(request.state, "attempt", None)
    chosen = {name: value for name, value in form.push.items() if name != "image"}
    return Draft(
        text=form.msg,
        tid=uid(exchange, thread.tid) if thread else None,
        subject=form.subject or form.opts.subject,
        data=form.opts.data,
        url=form.url or form.opts.url,
        image=form.push.get("image", ""),
        options=options.said(chosen),
        parent=thread.pmid if thread else None,
        scheduled=form.scheduled,
        urgency=form.urgency,
        system=thread is not None and thread.sys,
        broadcast=thread is not None and thread.broadcast,
        ephemeral=thread is not None and thread.ephemeral,
        mid=attempt.mid(number) if attempt else None,
        again=attempt is not None and attempt.again,
    )


def told(response: Response, message: Message) -> bool:
    """`true`, as ever; which message it is, and where, stands in headers."""
    response.headers[MESSAGE], response.headers[THREAD] = str(message.mid), str(message.tid)
    return True


def refusal(error: MsgxcError) -> dict[str, object]:
    """The entry of an item that was refused, among the results of a bulk form."""
    problem = of_error(error)
    return {"ok": False, **document(problem.status_code, problem.code, str(problem.detail))}
