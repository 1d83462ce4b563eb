"""Text messages through Twilio: over our own HTTP/1.1 (sms_lean.py), or through its client (sms_library.py).

There is no idempotency key: whatever may have been accepted is DOUBT. Rules: twilio.com/docs, "Messages
resource", "Error and warning dictionary".
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlsplit

from twilio.rest import Client

from msgxc.errors import WrongSettings
from msgxc.http2 import Patience, Result
from msgxc.model import Channel, Outcome, Outgoing, Reason, Receipt, Sms
from msgxc.providers import wire
from msgxc.providers.keys import all_or_none
from msgxc.providers.late import Said, then
from msgxc.providers.sms_lean import Lean
from msgxc.providers.sms_library import Library
from msgxc.providers.waiting import retry_after

if TYPE_CHECKING:
    from msgxc.sandbox.endpoints import Endpoints
    from msgxc.settings import Settings

# -- settings -----------------------------------------------------------------------------------------------

CONNECTIONS = 100  # at most; a slow call has one of its own as long as it takes
CALLBACK_PATH = "/hooks/twilio"  # where the exchange takes status callbacks, below its public URL


@dataclass(frozen=True, slots=True)
class SmsSettings:
    """`sender` is one that `SENDER` knows; `callback` gets `?delivery=`, "" for none."""

    account_sid: str
    auth_token: str = field(repr=False)
    sender: str
    callback: str = ""
    url: str = "https://api.twilio.com"
    ca: Path | None = None
    timeout: float = 10.0
    connections: int = 100
    transport: Literal["lean", "library"] = "lean"
    #: What follows from the sender: its form field, and what `To` begins with to be of the same channel.
    sender_field: str = field(init=False)
    prefix: str = field(init=False)

    def __post_init__(self) -> None:
        found = SENDER.fullmatch(self.sender)
        service, channel = (found["service"], found["channel"]) if found else (None, None)
        object.__setattr__(self, "sender_field", "MessagingServiceSid" if service else "From")
        object.__setattr__(self, "prefix", channel or "")


def from_settings(settings: Settings) -> SmsSettings | None:
    """The settings of the real provider; None when no credentials are set. Raises WrongSettings.

    There is no callback while the public URL is this machine's own: Twilio refuses such a URL (21609).
    """
    token = settings.twilio_auth_token.get_secret_value()
    named = {
        "MSGXC_TWILIO_ACCOUNT_SID": settings.twilio_account_sid,
        "MSGXC_TWILIO_AUTH_TOKEN": token,
        "MSGXC_TWILIO_FROM": settings.twilio_from,
    }
    if not all_or_none(named):
        return None
    if not re.fullmatch(r"AC[0-9a-f]{32}", settings.twilio_account_sid):
        raise WrongSettings("MSGXC_TWILIO_ACCOUNT_SID: AC and 32 hexadecimal digits")
    if not SENDER.fullmatch(settings.twilio_from):
        raise WrongSettings(
            "MSGXC_TWILIO_FROM: a number as +15005550006, a short code of 3 to 8 digits, a name of up to 11 "
            "letters, digits and blanks with a letter among them, a messaging service as MG and 32 "
            "hexadecimal digits, whatsapp:+15005550006, or rcs: and the agent's name"
        )
    host = urlsplit(settings.public_url).hostname or ""
    public = "." in host and not host.replace(".", "").isdigit()
    return SmsSettings(
        account_sid=settings.twilio_account_sid,
        auth_token=token,
        sender=settings.twilio_from,
        callback=settings.public_url.rstrip("/") + CALLBACK_PATH if public else "",
        timeout=settings.provider_timeout,
        connections=min(settings.in_flight + settings.slow_calls, CONNECTIONS),
        transport=settings.transport,
    )


def from_sandbox(endpoints: Endpoints, timeout: float) -> SmsSettings:
    """The settings of a running sandbox; it notes the delivery in the callback and never calls it."""
    at, callback = endpoints.sms, f"https://callback.sandbox.invalid{CALLBACK_PATH}"
    return SmsSettings(
        at.account_sid, at.auth_token, at.sender, callback, at.url, endpoints.ca, timeout=timeout
    )


# -- wire ---------------------------------------------------------------------------------------------------

NUMBER = re.compile(r"\+[1-9][0-9]{1,14}")  # E.164
#: What Twilio takes as `From`: a number, a short code, an alphanumeric sender, a channel address; and the
#: messaging service, which has a field of its own. Messages resource; "Alphanumeric Sender ID".
SENDER = re.compile(
    r"\+[1-9][0-9]{4,14}|[0-9]{3,8}|(?=[^A-Za-z]*[A-Za-z])(?! )[A-Za-z0-9 &+_-]{1,11}(?<! )"
    r"|(?P<service>MG[0-9a-fA-F]{32})|(?P<channel>whatsapp:|rcs:)(\+[1-9][0-9]{4,14}|(?<=rcs:)[A-Za-z0-9_.-]{1,100})"
)
TEXT_LIMIT = 1600  # characters
VALIDITY = (6, 36_000)  # seconds that a message may wait in Twilio's queue; more than 5 is advised

_INVALID = (Outcome.DEAD, Reason.INVALID_ADDRESS)
_OURS = (Outcome.REFUSED, Reason.MALFORMED)
_REJECTED = (Outcome.REFUSED, Reason.REJECTED)
_BLOCKED = (Outcome.BLOCKED, Reason.CREDENTIALS)
_THROTTLED = (Outcome.LATER, Reason.THROTTLED)
_MISMATCH = (Outcome.REFUSED, Reason.MISMATCH)  # of everybody: then our sender is the wrong one

#: Twilio's error codes; they change, so for the others the HTTP status holds.
CODES: Mapping[int, tuple[Outcome, Reason]] = {
    14107: _THROTTLED,  # too many messages a second
    20003: _BLOCKED,  # authentication
    20005: _BLOCKED,  # account not active
    20403: _BLOCKED,
    20429: _THROTTLED,
    21211: _INVALID,  # `To` is no phone number
    21212: _BLOCKED,  # `From` is no phone number
    21408: _REJECTED,  # this country is not enabled
    21602: _OURS,  # no body
    21603: _BLOCKED,  # no `From`
    21604: _OURS,  # no `To`
    21606: _MISMATCH,  # `From` is not ours, or cannot send to this destination
    21608: _REJECTED,  # a trial account sends to verified numbers only
    21609: _OURS,  # the callback is no URL
    21610: (Outcome.REFUSED, Reason.STOPPED),  # the person replied STOP
    21611: _THROTTLED,  # the sender's queue is full
    21612: _MISMATCH,  # no route from this sender to this number
    21614: _INVALID,  # not a mobile number
    21617: (Outcome.REFUSED, Reason.TOO_LARGE),
    21635: _INVALID,  # a landline
    21659: _MISMATCH,  # `From` is not a Twilio number, or a short code of another country
    21660: _BLOCKED,  # `From` belongs to another account
    21910: _MISMATCH,  # `From` and `To` are not of the same channel
    21703: _BLOCKED,  # the messaging service has no senders
}
STATUSES: Mapping[int, tuple[Outcome, Reason]] = {
    400: _OURS,
    401: _BLOCKED,
    403: _BLOCKED,
    404: _BLOCKED,  # no such account
    408: (Outcome.LATER, Reason.UNAVAILABLE),  # the request did not arrive whole (RFC 9110 section 15.5.9)
    413: (Outcome.REFUSED, Reason.TOO_LARGE),
    429: _THROTTLED,
}


def form(outgoing: Outgoing, settings: SmsSettings) -> dict[str, str] | Receipt:
    """The form fields for one delivery; or the receipt that refuses it here."""
    content, number = outgoing.content, outgoing.target.address
    if not isinstance(content, Sms) or not content.text.strip():
        return wire.MALFORMED
    if not NUMBER.fullmatch(number):
        return wire.INVALID_ADDRESS
    if len(content.text) > TEXT_LIMIT:
        return wire.TOO_LARGE
    fields = {
        "To": settings.prefix + number,
        settings.sender_field: settings.sender,
        "Body": wire.clean(content.text),
        "ValidityPeriod": str(min(max(outgoing.ttl, VALIDITY[0]), VALIDITY[1])),
    }
    if settings.callback:
        token = f"&receipt={wire.form_value(outgoing.receipt)}" if outgoing.receipt else ""
        fields["StatusCallback"] = f"{settings.callback}?delivery={outgoing.delivery}{token}"
    return fields


def receipt(answer: wire.Answer, now: datetime) -> Receipt:
    """Twilio's answer in our words. A 5xx may have sent."""
    said = wire.from_json(answer.body)
    if answer.status in (200, 201):
        return _created(said, answer.status)
    if answer.status >= 500:
        return Receipt(Outcome.DOUBT, Reason.UNAVAILABLE, code=str(answer.status))
    code = said.get("code")
    known = CODES.get(code) if isinstance(code, int) else None
    outcome, reason = known or STATUSES.get(answer.status, _REJECTED)
    wait = retry_after(answer.headers, now) if outcome is Outcome.LATER else None
    return Receipt(
        outcome, reason, str(code) if isinstance(code, int) else str(answer.status), retry_after=wait
    )


def _created(said: Mapping[str, object], status: int) -> Receipt:
    """201 tells of a message, which may have failed already."""
    sid, error = said.get("sid"), said.get("error_code")
    if not isinstance(sid, str):
        return wire.unreadable(status)
    if isinstance(error, int):
        outcome, reason = CODES.get(error, _REJECTED)
        return Receipt(outcome, reason, str(error), ref=sid)
    return Receipt(Outcome.ACCEPTED, ref=sid)


# -- sending ------------------------------------------------------------------------------------------------


class TwilioSms:
    """Sends text messages."""

    channel = Channel.SMS
    batch = 1

    def __init__(self, settings: SmsSettings, clock: Callable[[], datetime] = wire.utc_now) -> None:
        self._settings, self._clock = settings, clock
        uri = f"{settings.url}/2010-04-01/Accounts/{quote(settings.account_sid)}/Messages.json"
        self._over = (Library if settings.transport == "library" else Lean)(
            Client(settings.account_sid, settings.auth_token),
            uri,
            ca=settings.ca,
            connections=settings.connections,
            timeout=settings.timeout,
        )

    async def send(self, batch: Sequence[Outgoing], patience: Patience | None = None) -> list[Said]:
        """One receipt for each delivery, in order; with `patience`, a future for those that are late."""
        until = asyncio.get_running_loop().time() + self._settings.timeout
        wanted = [form(outgoing, self._settings) for outgoing in batch]
        to_send = [one for one in wanted if not isinstance(one, Receipt)]
        ends = iter(await self._over.send(to_send, until, patience))
        return [one if isinstance(one, Receipt) else self._said(next(ends)) for one in wanted]

    def _said(self, end: Result | asyncio.Future[Result]) -> Said:
        if isinstance(end, asyncio.Future):
            return then(end, lambda said: wire.ended(said, receipt, self._clock()))
        return wire.ended(end, receipt, self._clock())

    async def close(self) -> None:
        """Close the connections; a later send opens new ones."""
        await self._over.close()
