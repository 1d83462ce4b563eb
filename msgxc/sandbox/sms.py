"""Twilio's message resource as it looks on the wire: one text message a request. Pure.

Sources: Twilio, "Messages resource" (fields, states), "Error and warning dictionary" (codes).
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from msgxc.gsm7 import segments
from msgxc.sandbox.steering import Tries, Word, steer_cell
from msgxc.sandbox.wire import Accepted, Answer, Refused, Request, Response, as_json

MAX_BODY = 1600  # characters
MAX_VALIDITY = 36_000  # seconds

_E164 = re.compile(r"\+[1-9]\d{6,14}")
_SENDER = re.compile(
    r"\+[1-9]\d{4,14}|\d{3,8}|MG[0-9a-fA-F]{32}|(?=.*[A-Za-z])[A-Za-z0-9 &+_-]{1,11}|whatsapp:\+\d+|rcs:\S+"
)

_REFUSALS: dict[Word, tuple[int, int, str]] = {
    Word.BAD: (400, 21211, "Invalid 'To' Phone Number"),
    Word.GONE: (400, 21614, "'To' number is not a valid mobile number"),
    Word.GONEOLD: (400, 21614, "'To' number is not a valid mobile number"),
    Word.STOP: (400, 21610, "Attempt to send to unsubscribed recipient"),
    Word.TOOLARGE: (400, 21617, "The concatenated message body exceeds the 1600 character limit"),
    Word.REFUSES: (401, 20003, "Authenticate"),
    Word.EXPIRED: (401, 20003, "Authenticate"),
    Word.THROTTLED: (429, 20429, "Too Many Requests"),
    Word.DOWN: (503, 20503, "Service Unavailable"),
}


@dataclass(frozen=True, slots=True)
class Sms:
    """One account's side of Twilio."""

    account_sid: str
    auth_token: str = field(repr=False)
    tries: Tries = field(default_factory=Tries)

    def answer(self, request: Request, now: float) -> Answer:
        """The answer to POST /2010-04-01/Accounts/<sid>/Messages.json: 201 once it is queued."""
        try:
            form = self._form(request)
            accepted = _accept(form)
            wanted = self.tries.now(steer_cell(accepted.address), accepted.address, accepted.delivery)
            if (refusal := _REFUSALS.get(wanted.word)) is not None:
                raise _refused(*refusal)
        except Refused as refused:
            return Answer(refused.response)
        if wanted.word is Word.LOST:
            return Answer(None, (accepted,))
        return Answer(self._queued(form, now), (accepted,), wanted.delay)

    def _form(self, request: Request) -> dict[str, str]:
        account = f"/2010-04-01/Accounts/{self.account_sid}"
        given = request.headers.get("authorization", "").encode("latin-1")
        right = b"Basic " + b64encode(f"{self.account_sid}:{self.auth_token}".encode())
        if not hmac.compare_digest(given, right):
            raise _refused(401, 20003, "Authenticate")
        if request.path != f"{account}/Messages.json":
            raise _refused(404, 20404, "The requested resource was not found")
        if request.method != "POST":
            raise _refused(405, 20004, "Method not allowed")
        fields = parse_qs(request.body.decode("utf-8", "replace"), keep_blank_values=True)
        return {name: values[-1] for name, values in fields.items()}

    def _queued(self, form: dict[str, str], now: float) -> Response:
        sid, at = f"SM{uuid4().hex}", format_datetime(datetime.fromtimestamp(now, UTC))
        uri = f"/2010-04-01/Accounts/{self.account_sid}/Messages/{sid}"
        service = form.get("MessagingServiceSid")
        body = {
            "account_sid": self.account_sid,
            "api_version": "2010-04-01",
            "body": form["Body"],
            "date_created": at,
            "date_sent": None,
            "date_updated": at,
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": form.get("From"),
            "messaging_service_sid": service,
            "num_media": "0",
            "num_segments": "0" if service else str(segments(form["Body"])),
            "price": None,
            "price_unit": "USD",
            "sid": sid,
            "status": "accepted" if service else "queued",
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": form["To"],
            "uri": f"{uri}.json",
        }
        return as_json(201, body)


def _accept(form: dict[str, str]) -> Accepted:
    if not (to := form.get("To", "")):
        raise _refused(400, 21604, "A 'To' phone number is required.")
    if not (sender := form.get("MessagingServiceSid") or form.get("From", "")):
        raise _refused(400, 21603, "A 'From' phone number is required.")
    if not _SENDER.fullmatch(sender):
        raise _refused(400, 21212, "Invalid 'From' Phone Number")
    channel, _, number = to.rpartition(":")
    if channel != sender.rpartition(":")[0]:
        raise _refused(400, 21910, "Invalid 'From' and 'To' pair")
    if not _E164.fullmatch(number):
        raise _refused(400, 21211, "Invalid 'To' Phone Number")
    if not (text := form.get("Body", "")):
        raise _refused(400, 21602, "Message body is required.")
    if len(text) > MAX_BODY:
        raise _refused(*_REFUSALS[Word.TOOLARGE])
    callback, ttl = _callback(form), _validity(form)
    return Accepted(channel="sms", address=number, delivery=callback, ttl=ttl, text=text)


def _callback(form: dict[str, str]) -> str:
    """The delivery id in the status callback's query, "" when there is none."""
    if not (url := form.get("StatusCallback", "")):
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise _refused(400, 21609, "Invalid 'StatusCallback' URL")
    return parse_qs(parts.query).get("delivery", [""])[0]


def _validity(form: dict[str, str]) -> int | None:
    if not (given := form.get("ValidityPeriod", "")):
        return None
    if not (given.isascii() and given.isdigit() and 1 <= int(given) <= MAX_VALIDITY):
        raise _refused(400, 20001, "ValidityPeriod is out of range")
    return int(given)


def _refused(status: int, code: int, message: str) -> Refused:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return Refused(as_json(status, {"code": code, "message": message, "more_info": more, "status": status}))
