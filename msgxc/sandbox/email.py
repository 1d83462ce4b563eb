"""SendGrid's mail send as it looks on the wire: up to 1,000 personalizations a request. Pure.

Sources: SendGrid, "Mail Send" (fields and limits), "Errors" (messages and fields of the answers).
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from msgxc.sandbox.steering import Steer, Tries, Word, steer
from msgxc.sandbox.wire import Accepted, Answer, Refused, Request, Response, as_json, read_object

MAX_PERSONALIZATIONS = 1000
MAX_CUSTOM_ARGS = 10_000  # bytes
MAX_SEND_AT = 72 * 3600  # seconds from now

_FIELDS = frozenset(
    [
        "personalizations",
        "from",
        "reply_to",
        "reply_to_list",
        "subject",
        "content",
        "attachments",
        "template_id",
        "headers",
        "categories",
        "custom_args",
        "send_at",
        "batch_id",
        "asm",
        "ip_pool_name",
        "mail_settings",
        "tracking_settings",
    ]
)
_PERSONAL = frozenset(
    [
        "from",
        "to",
        "cc",
        "bcc",
        "subject",
        "headers",
        "substitutions",
        "dynamic_template_data",
        "custom_args",
        "send_at",
    ]
)
_ADDRESS = re.compile(r"[^\s@<>\",;:\\()\[\]]{1,64}@[^\s@<>\",;:\\()\[\]]+\.[^\s@<>\",;:\\()\[\].]{2,}")
_TYPE_ORDER = ("text/plain", "text/x-amp-html", "text/html")
_RESERVED = frozenset(
    [
        "x-sg-id",
        "x-sg-eid",
        "received",
        "dkim-signature",
        "content-type",
        "content-transfer-encoding",
        "to",
        "from",
        "subject",
        "reply-to",
        "cc",
        "bcc",
    ]
)
_HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html"

#: The word that decides for a whole request is the first of these that any recipient asks for.
_REFUSALS: dict[Word, tuple[int, str, str | None]] = {
    Word.REFUSES: (401, "The provided authorization grant is invalid, expired, or revoked", None),
    Word.EXPIRED: (401, "The provided authorization grant is invalid, expired, or revoked", None),
    Word.DOWN: (503, "Service Unavailable", None),
    Word.THROTTLED: (429, "too many requests", None),
    Word.TOOLARGE: (413, "The payload is too large.", None),
}


@dataclass(frozen=True, slots=True)
class Email:
    """One account's side of SendGrid."""

    api_key: str = field(repr=False)
    tries: Tries = field(default_factory=Tries)

    def answer(self, request: Request, now: float) -> Answer:
        """The answer to POST /v3/mail/send: 202 once all of it is queued, else none of it is."""
        try:
            self._check_access(request)
            accepted = tuple(_accept(request.body, now))
            wanted = [
                self.tries.now(steer(one.address), one.address, one.delivery or one.collapse)
                for one in accepted
            ]
            _check_steers(wanted, now)
        except Refused as refused:
            return Answer(refused.response)
        if any(one.word is Word.LOST for one in wanted):
            return Answer(None, accepted)
        answer = Response(202, (("x-message-id", uuid4().hex[:22]),))
        return Answer(answer, accepted, max(one.delay for one in wanted))

    def _check_access(self, request: Request) -> None:
        if request.path != "/v3/mail/send":
            raise _refused(404, "not found")
        if request.method != "POST":
            raise _refused(405, "method not allowed")
        given = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, f"Bearer {self.api_key}".encode()):
            raise _refused(*_REFUSALS[Word.REFUSES])
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise _refused(415, "Content-Type should be application/json.")


def _check_steers(wanted: list[Steer], now: float) -> None:
    words = [one.word for one in wanted]
    for word, refusal in _REFUSALS.items():
        if word in words:
            reset = ("x-ratelimit-reset", str(int(now) + 1))
            raise _refused(*refusal, *([reset] if word is Word.THROTTLED else []))
    if Word.BAD in words:
        at = f"personalizations.{words.index(Word.BAD)}.to.0.email"
        raise _refused(400, "Does not contain a valid address.", at)


def _accept(body: bytes, now: float) -> Iterator[Accepted]:
    mail: Any = read_object(body)
    if mail is None:
        raise _refused(400, "Bad Request")
    _only(mail, _FIELDS, "")
    _check_address(mail.get("from"), "from")
    _check_content(mail)
    _check_send_at(mail.get("send_at"), "send_at", now)
    people = mail.get("personalizations")
    if not isinstance(people, list) or not people:
        at = "personalizations"
        raise _refused(400, "The personalizations field is required and must have at least one.", at)
    if len(people) > MAX_PERSONALIZATIONS:
        raise _refused(400, "There is a limit of 1000 personalizations.", "personalizations")
    for index, person in enumerate(people):
        yield _accept_person(mail, person, f"personalizations.{index}", now)


def _accept_person(mail: Any, person: Any, at: str, now: float) -> Accepted:
    if not isinstance(person, dict):
        raise _refused(400, "Invalid type. Expected: object.", at)
    _only(person, _PERSONAL, f"{at}.")
    _check_recipients(person, at)
    _check_send_at(person.get("send_at"), f"{at}.send_at", now)
    custom = _texts(mail, "custom_args", "") | _texts(person, "custom_args", f"{at}.")
    headers = _headers(mail, "") | _headers(person, f"{at}.")
    if len(json.dumps(custom)) > MAX_CUSTOM_ARGS:
        raise _refused(400, "The custom_args may not be larger than 10000 bytes.", f"{at}.custom_args")
    subject = person.get("subject", mail.get("subject"))
    if not mail.get("template_id") and not (isinstance(subject, str) and subject):
        raise _refused(400, "The subject is required.", "subject")
    return Accepted(
        channel="email",
        address=person["to"][0]["email"],
        delivery=custom.get("delivery", ""),
        collapse=headers.get("message-id", ""),
        subject=str(subject or ""),
    )


def _check_recipients(person: Any, at: str) -> None:
    """`to` has somebody in it, every address is one, and none occurs twice."""
    seen: set[str] = set()
    if not isinstance(person.get("to"), list) or not person["to"]:
        raise _refused(400, "The to array is required for all personalization objects.", f"{at}.to")
    for kind in ("to", "cc", "bcc"):
        if not isinstance(people := person.get(kind, []), list):
            raise _refused(400, "Invalid type. Expected: array.", f"{at}.{kind}")
        for index, one in enumerate(people):
            address = _check_address(one, f"{at}.{kind}.{index}").lower()
            if address in seen:
                raise _refused(400, "Each email address of a personalization should be unique.", at)
            seen.add(address)


def _check_address(one: Any, at: str) -> str:
    address = one.get("email") if isinstance(one, dict) else None
    if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
        raise _refused(400, "Does not contain a valid address.", f"{at}.email")
    return address


def _check_content(mail: Any) -> None:
    """At least one part, none empty, and plain text before HTML; a template needs none."""
    parts = mail.get("content")
    if not parts and mail.get("template_id"):
        return
    if not isinstance(parts, list) or not parts:
        raise _refused(
            400, "Unless a valid template_id is provided, the content parameter is required.", "content"
        )
    types = []
    for index, part in enumerate(parts):
        if not isinstance(part, dict) or not part.get("value") or not isinstance(part["value"], str):
            message = "The content value must be a string at least one character in length."
            raise _refused(400, message, f"content.{index}.value")
        types.append(str(part.get("type", "")))
    known = [_TYPE_ORDER.index(kind) for kind in types if kind in _TYPE_ORDER]
    if known != sorted(known):
        message = "If present, text/plain must be first, followed by text/html."
        raise _refused(400, message, "content")


def _check_send_at(send_at: Any, at: str, now: float) -> None:
    if send_at is None:
        return
    if not isinstance(send_at, int) or isinstance(send_at, bool):
        raise _refused(400, "Invalid type. Expected: integer.", at)
    if send_at > now + MAX_SEND_AT:
        raise _refused(400, "Scheduling more than 72 hours in advance is forbidden.", at)


def _headers(of: Any, at: str) -> dict[str, str]:
    """Own headers by lower-case name; those that SendGrid writes itself are refused."""
    headers = {name.lower(): value for name, value in _texts(of, "headers", at).items()}
    if taken := headers.keys() & _RESERVED:
        raise _refused(400, f"The headers include a reserved one: {min(taken)}.", f"{at}headers")
    return headers


def _texts(of: Any, name: str, at: str) -> dict[str, str]:
    found = of.get(name, {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _refused(400, "Invalid type. Expected: object of strings.", f"{at}{name}")
    return found


def _only(of: Any, known: frozenset[str], at: str) -> None:
    for name in of:
        if name not in known:
            raise _refused(400, f"Additional property {name} is not allowed", f"{at}{name}")


def _refused(status: int, message: str, at: str | None = None, *headers: tuple[str, str]) -> Refused:
    error = {"message": message, "field": at, "help": f"{_HELP}#message.{at}" if at else None}
    return Refused(as_json(status, {"errors": [error]}, *headers))
