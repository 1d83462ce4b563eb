"""Webhooks of providers, receipts of devices and browsers: verified, stored, answered; merged afterwards."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response

from msgxc import ids, links
from msgxc.errors import WrongInput
from msgxc.gateway import forms
from msgxc.gateway.calling import Here
from msgxc.gateway.misses import missed
from msgxc.gateway.problems import Problem
from msgxc.providers.sms import CALLBACK_PATH
from msgxc.receipts import sendgrid, twilio
from msgxc.receipts.intake import Intake
from msgxc.store.gateway import News, Received
from msgxc.wiring import Exchange

router = APIRouter(tags=["receipts"])
REPLY_PATH = f"{CALLBACK_PATH}/reply"
EMPTY_TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response/>'
FIELDS = 200  # of a form: Twilio's have about 30

_public_key = lru_cache(maxsize=4)(sendgrid.public_key)


def intake_of(request: Request) -> Intake:
    """The way into the inbox, of this process."""
    intake: Intake = request.app.state.intake
    return intake


def _now(exchange: Exchange) -> datetime:
    return datetime.fromtimestamp(exchange.clock(), UTC)


@router.post("/hooks/sendgrid", status_code=204, response_class=Response)
async def sendgrid_events(request: Request, exchange: Here) -> None:
    """SendGrid's event webhook. Signed events only (MSGXC_SENDGRID_WEBHOOK_KEY)."""
    key = exchange.settings.sendgrid_webhook_key.get_secret_value()
    if not key:
        raise Problem(403, "webhook_off", "This exchange takes no events of SendGrid.")
    body, headers = await request.body(), request.headers
    given = headers.get(sendgrid.TIMESTAMP, ""), headers.get(sendgrid.SIGNATURE, "")
    now = _now(exchange)
    if not (sendgrid.is_fresh(given[0], now) and sendgrid.is_signed(_public_key(key), *given, body)):
        raise missed(request) or Problem(
            403, "signature", "The signature does not fit, or is older than five minutes."
        )
    await intake_of(request).take(sendgrid.receipts(exchange.key, body, now))


@router.post(CALLBACK_PATH, status_code=204, response_class=Response)
async def twilio_status(request: Request, exchange: Here) -> None:
    """Twilio's status callback for one text message."""
    form = await _twilio_form(request, exchange)
    try:
        handle = links.read_receipt(exchange.key, request.query_params.get("receipt", ""))
    except WrongInput:
        handle = None
    await intake_of(request).take(twilio.status(exchange.key, handle, form, _now(exchange)))


@router.post(REPLY_PATH)
async def twilio_reply(request: Request, exchange: Here) -> Response:
    """A text message to us: STOP and START count, everything else is passed over."""
    form = await _twilio_form(request, exchange)
    await intake_of(request).take(twilio.reply(exchange.key, form, _now(exchange)))
    return Response(EMPTY_TWIML, media_type="application/xml")


async def _twilio_form(request: Request, exchange: Exchange) -> dict[str, str]:
    """The form, if Twilio signed it for the public URL. Raises Problem."""
    token = exchange.settings.twilio_auth_token.get_secret_value()
    if not token:
        raise Problem(403, "webhook_off", "This exchange takes no callbacks of Twilio.")
    try:
        text = (await request.body()).decode()
        form = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS, errors="strict")
    except ValueError:
        raise Problem(400, "bad_request", "Not a form.") from None
    query = request.scope["query_string"].decode("latin-1")
    url = exchange.settings.public_url.rstrip("/") + request.url.path + (f"?{query}" if query else "")
    if not twilio.is_signed(token, url, form, request.headers.get(twilio.SIGNATURE, "")):
        raise missed(request) or Problem(403, "signature", "The signature does not fit.")
    return dict(form)


@router.post("/api/v2/receipts")
async def receipts(form: forms.Receipts, request: Request, exchange: Here) -> bool:
    """What a device or a browser tells of a delivery, by the token that came with the message.

    No login: who holds the token may report on this one delivery. Repetitions change nothing.
    """
    items = form.items if isinstance(form, forms.ReceiptForms) else [form]
    try:
        handles = [links.read_receipt(exchange.key, item.receipt) for item in items]
    except WrongInput:
        problem = missed(request)
        if problem is not None:
            raise problem from None
        raise
    told = zip(handles, items, strict=True)
    await intake_of(request).take([of_handle(exchange, handle, News(item.event)) for handle, item in told])
    return True


def of_handle(exchange: Exchange, handle: links.Handle, news: News, code: str = "") -> Received:
    """News of one delivery, as it stands in the inbox."""
    identity = ids.receipt_id(exchange.key, "device", f"{handle.delivery}\0{news}")
    named: dict[str, Any] = {"campaign": handle.campaign, "uid": handle.uid, "delivery": handle.delivery}
    return Received(identity, news, handle.channel, _now(exchange), **named, code=code)
