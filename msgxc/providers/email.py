"""Email through SendGrid's client: one request carries up to 1,000 recipients (personalizations).

The client says where a request goes and with which headers. It blocks and opens a connection for each, so the
requests leave over kept ones. There is no idempotency key: a lost answer is DOUBT.
Rules: twilio.com/docs/sendgrid, "Mail Send", its errors and limitations; RFC 8058 (one-click unsubscribe).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sendgrid import SendGridAPIClient

from msgxc.errors import WrongSettings
from msgxc.http2 import Patience
from msgxc.model import Channel, Email, Outcome, Outgoing, Reason, Receipt
from msgxc.providers import wire
from msgxc.providers.email_batch import BATCH, FEW, Joined, by_shape, join, lots
from msgxc.providers.email_document import document
from msgxc.providers.email_draft import draft
from msgxc.providers.late import Said, nearly, then
from msgxc.providers.mailbox import mailbox
from msgxc.providers.one_url import OneUrl
from msgxc.providers.waiting import rate_limit_reset, retry_after

if TYPE_CHECKING:
    from msgxc.sandbox.endpoints import Endpoints
    from msgxc.settings import Settings

# -- settings -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EmailSettings:
    """`connections` requests are under way at once; `timeout` is in seconds, for a whole batch."""

    api_key: str = field(repr=False)
    sender: str
    sender_name: str = ""
    url: str = "https://api.sendgrid.com"
    ca: Path | None = None
    timeout: float = 10.0
    connections: int = 100


def from_settings(settings: Settings) -> EmailSettings | None:
    """The settings of the real provider; None when there is no API key. Raises WrongSettings."""
    key = settings.sendgrid_api_key.get_secret_value()
    if not key:
        return None
    if not settings.email_from:
        raise WrongSettings("MSGXC_EMAIL_FROM: needed because MSGXC_SENDGRID_API_KEY is set")
    if not (key.isascii() and key.isprintable()):
        raise WrongSettings("MSGXC_SENDGRID_API_KEY: holds characters that no key has")
    if mailbox(settings.email_from) != settings.email_from:
        raise WrongSettings("MSGXC_EMAIL_FROM: not an email address")
    return EmailSettings(
        key, settings.email_from, settings.email_from_name, timeout=settings.provider_timeout
    )


def from_sandbox(endpoints: Endpoints, timeout: float) -> EmailSettings:
    """The settings of a running sandbox."""
    at = endpoints.email
    return EmailSettings(at.api_key, at.sender, "Sandbox", at.url, endpoints.ca, timeout)


# -- wire ---------------------------------------------------------------------------------------------------

WRONG_ADDRESS = Receipt(Outcome.REFUSED, Reason.INVALID_ADDRESS, code="400")
CONTENT_LIMIT = 20_000_000  # bytes of one email; a request has 30 MB with everything
_NAMED = re.compile(r"personalizations[.\[](\d+)")

#: The HTTP status says it all; what 500, 502 and 504 answer may have been accepted.
STATUSES: Mapping[int, tuple[Outcome, Reason]] = {
    **dict.fromkeys((400, 404, 405, 415), (Outcome.REFUSED, Reason.MALFORMED)),
    **dict.fromkeys((401, 403), (Outcome.BLOCKED, Reason.CREDENTIALS)),
    413: (Outcome.REFUSED, Reason.TOO_LARGE),
    429: (Outcome.LATER, Reason.THROTTLED),
    503: (Outcome.LATER, Reason.UNAVAILABLE),
    **dict.fromkeys((500, 502, 504), (Outcome.DOUBT, Reason.UNAVAILABLE)),
}


def refusal(outgoing: Outgoing, to: str) -> Receipt | None:
    """The receipt that refuses a delivery here; None when it may leave. `to`: its mailbox, "" for none."""
    content, leave = outgoing.content, outgoing.unsubscribe
    if not isinstance(content, Email) or not content.subject.strip():
        return wire.MALFORMED
    if not leave.isprintable() or any(map(leave.__contains__, " <>")):
        return wire.MALFORMED
    if not to:
        return wire.INVALID_ADDRESS
    if not content.shape.size and not any(content.values):
        return wire.MALFORMED
    return None if wire.fits(content.values, CONTENT_LIMIT - content.shape.size) else wire.TOO_LARGE


def receipt(answer: wire.Answer, now: datetime) -> Receipt:
    """SendGrid's answer in our words, for everybody that the request carried."""
    if answer.status == 202:
        ref = next((value for name, value in answer.headers.items() if name.lower() == "x-message-id"), "")
        return Receipt(Outcome.ACCEPTED, ref=ref)
    if answer.status not in STATUSES:
        return wire.unreadable(answer.status)
    outcome, reason = STATUSES[answer.status]
    wait = retry_after(answer.headers, now) or rate_limit_reset(answer.headers, now)
    wait = wait if outcome is Outcome.LATER else None
    return Receipt(outcome, reason, str(answer.status), retry_after=wait)


def at_fault(answer: wire.Answer) -> set[int]:
    """Which personalizations a 400 names; it accepted none, so that the others may be sent again."""
    errors = wire.from_json(answer.body).get("errors") if answer.status == 400 else None
    fields = [str(e.get("field")) for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []
    return {int(found[1]) for field_ in fields if (found := _NAMED.match(field_)) and len(found[1]) < 5}


# -- sending ------------------------------------------------------------------------------------------------

THREADS = 2  # in which emails that share no shape are compared; 1,000 of them take about 0.1 s of one


class SendGridEmail:
    """Sends emails, up to 1,000 in a request."""

    channel = Channel.EMAIL
    batch = BATCH

    def __init__(self, settings: EmailSettings, clock: Callable[[], datetime] = wire.utc_now) -> None:
        self._settings, self._clock = settings, clock
        logging.getLogger("python_http_client").setLevel(logging.INFO)  # below: addresses and the key
        request = draft(SendGridAPIClient(settings.api_key, host=settings.url).client, {})
        self._mail_send = OneUrl(
            request.full_url,
            dict(request.header_items()),
            ca=settings.ca,
            connections=settings.connections,
            timeout=settings.timeout,
            spare=True,
        )
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sendgrid")

    async def send(self, batch: Sequence[Outgoing], patience: Patience | None = None) -> list[Said]:
        """One receipt for each delivery, in order; with `patience`, a future for each of those whose request
        is late. What one request carries is late together."""
        receipts: dict[int, Said] = {}
        to = [mailbox(outgoing.target.address) for outgoing in batch]
        for index, outgoing in enumerate(batch):
            if refused := refusal(outgoing, to[index]):
                receipts[index] = refused
        until = asyncio.get_running_loop().time() + self._settings.timeout
        rest = [index for index in range(len(batch)) if index not in receipts]
        parted = await asyncio.gather(*(self._parted(batch, to, lot) for lot in lots(batch, rest)))
        requests = [request for some in parted for request in some]
        ends = await nearly([self._request(carried, body, until) for carried, body in requests], patience)
        for (carried, _), end in zip(requests, ends, strict=True):
            if isinstance(end, asyncio.Future):
                receipts.update((index, then(end, itemgetter(index))) for index in carried)
            else:
                receipts.update(end)
        return [receipts[index] for index in range(len(batch))]

    async def close(self) -> None:
        """Close the connections and end the threads; a later send opens new ones."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sendgrid")
        await self._mail_send.close()

    async def _parted(
        self, batch: Sequence[Outgoing], to: Sequence[str], lot: Sequence[int]
    ) -> list[tuple[list[int], dict[str, Any]]]:
        """What may share requests, as few of them: whom each carries, and its body. `lot` holds indexes into
        `batch`."""
        these, boxes = [batch[index] for index in lot], [to[index] for index in lot]
        emails: list[Any] = [outgoing.content for outgoing in these]
        joined, rest = by_shape(emails)
        joined += await self._joined(emails, rest)
        return [
            ([lot[member] for member in one.members], document(these, boxes, one, self._settings))
            for one in joined
        ]

    async def _joined(self, emails: Sequence[Email], rest: Sequence[int]) -> list[Joined]:
        """Emails that have to be compared: many in a thread, so that nothing else waits for it."""
        if len(rest) <= FEW:
            return join(emails, rest)
        return await asyncio.get_running_loop().run_in_executor(self._threads, join, emails, rest)

    async def _request(self, lot: Sequence[int], body: dict[str, Any], until: float) -> dict[int, Receipt]:
        """One request; in halves when it is too large, and again without those whom a refusal names."""
        receipts: dict[int, Receipt] = {}
        todo = [list(zip(lot, body["personalizations"], strict=True))]
        while todo:
            some = todo.pop()
            said, bad = await self._call({**body, "personalizations": [person for _, person in some]}, until)
            if said.reason is Reason.TOO_LARGE and len(some) > 1:
                todo += [some[: len(some) // 2], some[len(some) // 2 :]]
                continue
            receipts.update((index, WRONG_ADDRESS if n in bad else said) for n, (index, _) in enumerate(some))
            todo += (
                [[pair for n, pair in enumerate(some) if n not in bad]] if 0 < len(bad) < len(some) else []
            )
        return receipts

    async def _call(self, body: dict[str, Any], until: float) -> tuple[Receipt, set[int]]:
        """One answer: the receipt for all, and which personalizations it names as the fault."""
        (end,) = await self._mail_send.send([wire.to_json(body)], until)
        bad = at_fault(end) if isinstance(end, wire.Answer) else set()
        said = wire.ended(end, receipt, self._clock())
        return said, bad & set(range(len(body["personalizations"])))
